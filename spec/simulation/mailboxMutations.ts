import type { Mutation } from './mutations.ts'

/** A seed of a world of messages. */
const messages = (seed: number) => ({ world: 'messages', seed }) as const

/** Promises of the mailboxes, each broken at one place, which shows that the simulator would see it. */
export const mailboxMutations: readonly Mutation[] = [
  {
    fault: 'a mailbox that is read anew has what was removed from it',
    file: 'lib/storage/mailboxes/replay.ts',
    before: 'for (const seq of seqs) ledger.take(user, seq)',
    after: 'for (const seq of seqs.slice(1)) ledger.take(user, seq)',
    shownBy: messages(1),
  },
  {
    fault: 'a mailbox that is read anew offers what was set aside',
    file: 'lib/storage/mailboxes/replay.ts',
    before: 'if (ledger.get(user, seq)) ledger',
    after: 'if (Number.isNaN(seq)) ledger',
    shownBy: messages(19),
  },
  {
    fault: 'a place in a mailbox is given twice after a restart',
    file: 'lib/storage/mailboxes/replay.ts',
    before: 'ledger.lastSeq = Math.max(ledger.lastSeq, seq)',
    after: 'ledger.lastSeq = Math.max(ledger.lastSeq, seq - 1)',
    shownBy: messages(3),
  },
  {
    fault: 'moving what counts forgets ids',
    file: 'lib/storage/mailboxes/segmentCopier.ts',
    before: 'if (id.storedAt < this.#ledger.idsBefore ||',
    after: 'if (id.storedAt > 0 ||',
    shownBy: messages(1),
  },
  {
    fault: 'moving what counts forgets what was set aside',
    file: 'lib/storage/mailboxes/segmentCopier.ts',
    before: 'if (this.#ledger.mailbox(user)?.isAside(seq)) add(',
    after: 'if (Number.isNaN(seq)) add(',
    shownBy: messages(61),
  },
  {
    fault: 'nobody knows where a message was moved',
    file: 'lib/storage/journal/compaction.ts',
    before: 'this.#ledger.locate(message, place)',
    after: 'void [message, place]',
    shownBy: messages(20),
  },
  {
    fault: 'a message is read before it is durable',
    file: 'lib/storage/mailboxes/messageReader.ts',
    before: 'if (!held.isDurable) break',
    after: '',
    shownBy: messages(2),
  },
  {
    fault: 'an id is used for two messages',
    file: 'lib/storage/mailboxes/messageAppender.ts',
    before: "if (former !== fingerprint) throw new OspError('id-reused')",
    after: '',
    shownBy: messages(11),
  },
  {
    fault: 'one sender fills what all have in common',
    file: 'lib/runtime/share.ts',
    before: '(own === 0 || shareReserve(own + more, percent) <= free)',
    after: 'true',
    shownBy: 'spec/testing/storage.spec.ts',
  },
  {
    fault: 'messages expire when the wall clock jumps',
    file: 'lib/core/ageClock.ts',
    before: 'Math.min(jump, mostJumpMs)',
    after: 'jump',
    shownBy: messages(43),
  },
]
