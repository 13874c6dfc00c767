import { OspError } from '../../lib/errors.ts'
import type { MailboxBounds, MailboxStore, NewMessage } from '../../lib/ports/mailboxes.ts'
import type { Storage } from '../../lib/ports/storage.ts'
import type { LinkWatch } from './linkWatch.ts'
import type { MessageInvariants } from './messageInvariants.ts'
import type { SentIds } from './sentIds.ts'
import type { Trace } from './trace.ts'

/** The checks of mailboxes. */
interface MailboxChecks {
  readonly trace: Trace
  readonly invariants: MessageInvariants
  readonly watch: LinkWatch
  readonly sentIds: SentIds
}

/** A storage whose mailboxes are checked by the invariants of a world. */
export function watchedStorage(storage: Storage, checks: MailboxChecks): Storage {
  const { transfers, files, mailboxes } = storage
  return {
    transfers,
    files,
    mailboxes: watchedMailboxes(mailboxes, checks),
    open: (platform) => storage.open(platform),
    [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose](),
  }
}

/** Reports the outcome of each append, and checks the bounds of mailboxes. */
function watchedMailboxes(mailboxes: MailboxStore, checks: MailboxChecks): MailboxStore {
  const { trace, invariants, watch, sentIds } = checks
  return {
    async append(message: NewMessage, recipients: readonly string[], bounds: MailboxBounds): Promise<void> {
      const { sender, id } = message
      try {
        await mailboxes.append(message, recipients, bounds)
      } catch (error) {
        if (OspError.from(error).code !== 'id-reused') invariants.refusedForNow(sender, id)
        throw error
      }
      invariants.stored(sender, id)
      sentIds.add(sender, id)
      const levels = await mailboxes.levels()
      for (const { user, messages, bytes } of levels) {
        const isFull = messages > bounds.messages || bytes > bounds.bytes
        if (isFull) trace.fail(`the mailbox of ${user} has ${messages} messages of ${bytes} bytes`)
      }
      const all = levels.reduce((sum, { messages }) => sum + messages, 0)
      if (all > bounds.allMessages) trace.fail(`${all} messages wait`)
    },
    full: (message, recipients, bounds) => mailboxes.full(message, recipients, bounds),
    read: (user, afterSeq, most, mostBytes) => mailboxes.read(user, afterSeq, most, mostBytes),
    async remove(user, seqs, mayWait) {
      await mailboxes.remove(user, seqs, mayWait)
      watch.gone(user, seqs)
    },
    async setAside(user, seqs) {
      await mailboxes.setAside(user, seqs)
      watch.gone(user, seqs)
    },
    expire: (now, messagesBefore, idsBefore) => mailboxes.expire(now, messagesBefore, idsBefore),
    lastSeq: () => mailboxes.lastSeq(),
    lastTime: () => mailboxes.lastTime(),
    levels: () => mailboxes.levels(),
    damages: () => mailboxes.damages(),
    watch: (appended) => mailboxes.watch(appended),
  }
}
