import type { Mutation } from './mutations.ts'

/** A seed of a world of messages. */
const messages = (seed: number) => ({ world: 'messages', seed }) as const

/**
 * Of messages: the first two are faults that were found, and mended; the others are promises of the protocol, each broken at
 * one place, which shows that the simulator would see it.
 */
export const messageMutations: readonly Mutation[] = [
  {
    fault: 'a message that a failed flush has perhaps stored is refused for want of room',
    file: 'lib/storage/journal/groupCommit.ts',
    before: 'if (this.#doubt) return group',
    after: '',
    shownBy: messages(757),
  },
  {
    fault: 'receipts of only one window are kept',
    file: 'lib/client/messages/receipts.ts',
    before: 'const windows = 8',
    after: 'const windows = 1',
    shownBy: 'spec/client/messages/receivers.spec.ts',
  },
  {
    fault: 'a message is acknowledged before it is durable',
    file: 'lib/server/messages/msgApp.ts',
    before: 'await this.#mailroom.post({ sender: caller.user, id, content }, recipients)',
    after: 'void this.#mailroom.post({ sender: caller.user, id, content }, recipients).catch(() => {})',
    shownBy: messages(1),
  },
  {
    fault: 'a take-over leaves the former holder its link',
    file: 'lib/server/messages/msgApp.ts',
    before: "caller, 'superseded')\n      this.#supersede(former, caller)",
    after: "caller, 'superseded')\n      this.#hush(former)",
    shownBy: messages(13),
  },
  {
    fault: 'a program takes back what was taken over from it',
    file: 'lib/server/messages/msgApp.ts',
    before: 'if (listening && this.#superseded.has(user, caller.session))',
    after: 'if (Number.isNaN(flags))',
    shownBy: messages(23),
  },
  {
    fault: 'whoever does not listen any more is sent messages',
    file: 'lib/server/messages/msgApp.ts',
    before: '    this.#mailroom.stop(user)\n',
    after: '',
    shownBy: messages(56),
  },
  {
    fault: 'what an earlier run of the server has delivered comes as if for the first time',
    file: 'lib/server/messages/delivery.ts',
    before: '(seq <= this.#host.oldSeq ? 1 : 0)',
    after: '0',
    shownBy: messages(23),
  },
  {
    fault: 'what an earlier link has delivered comes as if for the first time',
    file: 'lib/server/messages/delivery.ts',
    before: 'this.#attempts.get(seq) ??',
    after: 'undefined ??',
    shownBy: messages(23),
  },
  {
    fault: 'a removal makes room in the window before it is durable',
    file: 'lib/server/messages/delivery.ts',
    before: 'this.#acknowledged.push(sent)\n',
    after: 'this.#acknowledged.push(sent)\n    this.#gone([sent])\n',
    shownBy: messages(3),
  },
  {
    fault: 'deliveries begin behind the first message',
    file: 'lib/server/messages/delivery.ts',
    before: '#lastRead = 0',
    after: '#lastRead = 1',
    shownBy: messages(1),
  },
  {
    fault: 'a delivery that no memory was left for is forgotten',
    file: 'lib/server/messages/deliveryBudget.ts',
    before: 'for (const each of starved) this.#ready(each)',
    after: '',
    shownBy: 'spec/server/messages/deliveryService.spec.ts',
  },
  {
    fault: 'a message is acknowledged to the server before its receipt is kept',
    file: 'lib/client/messages/receipts.ts',
    before: 'await this.#store.put(',
    after: 'void this.#store.put(',
    shownBy: messages(1),
  },
  {
    fault: 'fewer receipts are kept than the window has deliveries',
    file: 'lib/client/messages/receipts.ts',
    before: 'await this.#store.put(receipt, windows * window)',
    after: 'await this.#store.put(receipt, Math.ceil(window / 2))',
    shownBy: messages(279),
  },
  {
    fault: 'what has a receipt is handed over again',
    file: 'lib/client/messages/inbox.ts',
    before: 'else if (receipts.has(delivery))',
    after: 'else if (Number.isNaN(delivery))',
    shownBy: messages(19),
  },
  {
    fault: 'a program listens before it knows its receipts',
    file: 'lib/client/messages/messenger.ts',
    before: 'await this.#receipts.load()',
    after: 'void this.#receipts.load()',
    shownBy: messages(403),
  },
  {
    fault: 'what overtook others on its way is handed over before them',
    file: 'lib/client/messages/inbox.ts',
    before: 'socket.arrivals.complete < request.seq',
    after: 'socket.arrivals.complete < 0',
    shownBy: messages(3),
  },
  {
    fault: 'what waits on a link that was lost is still handed over',
    file: 'lib/client/messages/inbox.ts',
    before: '    this.#waiting = []\n    this.#inHand?.requests',
    after: '    this.#inHand?.requests',
    shownBy: messages(154),
  },
  {
    fault: 'what a lost link leaves unanswered is sent again behind what was not sent',
    file: 'lib/client/messages/outbox.ts',
    before: 'new Set([...this.#unanswered, ...this.#waiting])',
    after: 'new Set([...this.#waiting, ...this.#unanswered])',
    shownBy: messages(16),
  },
  {
    fault: 'posts overtake each other where frames are reordered',
    file: 'lib/client/messages/outbox.ts',
    before: '? unansweredSends : 1',
    after: '? unansweredSends : 2',
    shownBy: messages(2),
  },
  {
    fault: 'a message that was perhaps sent is said not to be',
    file: 'lib/client/messages/outbox.ts',
    before: 'outgoing.knownUntilMs === undefined ? why : outcomeUnknown(why)',
    after: 'why',
    shownBy: messages(98),
  },
  {
    fault: 'changes of the online list are taken in spite of a gap before them',
    file: 'lib/client/messages/rosterView.ts',
    before: 'this.#known === undefined || before > this.#known',
    after: 'this.#known === undefined',
    shownBy: messages(11),
  },
  {
    fault: 'a change of the online list that was lost is never asked for',
    file: 'lib/client/messages/rosterView.ts',
    before: 'if (this.#known === undefined || this.#known < listVersion)',
    after: 'if (this.#known === undefined)',
    shownBy: messages(84),
  },
]
