import type { OspError } from '../../lib/errors.ts'
import { receiptOwner } from '../../lib/names.ts'
import type {
  AddressedMessage,
  ListedDevice,
  MailboxBounds,
  MailboxDevices,
  MailboxLevel,
  MailboxStore,
} from '../../lib/ports/mailboxes.ts'
import type { Storage } from '../../lib/ports/storage.ts'
import type { FileNotices } from './fileNotices.ts'
import type { LinkWatch } from './linkWatch.ts'
import { recipientOf } from './messageActor.ts'
import type { MessageInvariants } from './messageInvariants.ts'
import type { SentIds } from './sentIds.ts'
import type { Trace } from './trace.ts'

/** The checks of mailboxes. */
interface MailboxChecks {
  readonly trace: Trace
  readonly invariants: MessageInvariants
  readonly watch: LinkWatch
  readonly sentIds: SentIds
  readonly notices: FileNotices
}

/** A storage whose mailboxes are checked by the invariants of a world. */
export function watchedStorage(storage: Storage, checks: MailboxChecks): Storage {
  const { transfers, files, mailboxes, catalogue } = storage
  return {
    transfers,
    files,
    mailboxes: watchedMailboxes(mailboxes, checks),
    ...(catalogue && { catalogue }),
    open: (platform) => storage.open(platform),
    [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose](),
  }
}

/** Checks the levels of mailboxes after an append. */
function checkBounds(levels: readonly MailboxLevel[], bounds: MailboxBounds, trace: Trace): void {
  for (const { user, messages, bytes } of levels) {
    const isReceipts = receiptOwner(user) !== undefined
    const isFull = isReceipts ? messages > bounds.receipts : messages > bounds.messages || bytes > bounds.bytes
    if (isFull) trace.fail(`the mailbox of ${user} has ${messages} messages of ${bytes} bytes`)
  }
  const all = levels.reduce((sum, { messages }) => sum + messages, 0)
  if (all > bounds.allMessages) trace.fail(`${all} messages wait`)
  const bytes = levels.reduce((sum, level) => sum + level.bytes, 0)
  if (bytes > bounds.allBytes) trace.fail(`messages of ${bytes} bytes wait`)
}

/** Reports the outcome of each append, and checks the bounds of mailboxes. */
function watchedMailboxes(mailboxes: MailboxStore, checks: MailboxChecks): MailboxStore {
  const { trace, invariants, watch, sentIds, notices } = checks
  const report = (message: AddressedMessage, error: OspError | undefined) => {
    const { sender, id } = message
    if (error && error.code !== 'id-reused') invariants.refusedForNow(sender, id, error.code === 'internal')
    // The server may have stopped before it knew that it had appended a message about a file.
    const isRepeated = error?.code === 'id-reused' && notices.isNotice(message)
    if (error && !isRepeated) return
    invariants.stored(sender, id)
    sentIds.add(sender, id)
    notices.appended(message)
  }
  return {
    async append(messages, bounds) {
      for (const { sender, id } of messages) invariants.appending(sender, id)
      notices.appending(messages)
      const outcomes = await mailboxes.append(messages, bounds)
      for (const [at, message] of messages.entries()) report(message, outcomes[at])
      checkBounds(await mailboxes.levels(), bounds, trace)
      return outcomes
    },
    full: (messages, bounds) => mailboxes.full(messages, bounds),
    read: (...page) => mailboxes.read(...page),
    async remove(user, seqs, mayWait, how) {
      const isUnremoved = invariants.isUnremoved(user, how?.device)
      const listed = mailboxes.devices?.list(user)
      await mailboxes.remove(user, seqs, mayWait, how)
      if (isKnownIn(await listed, how?.device) && isUnremoved()) watch.gone(recipientOf(user, how?.device), seqs)
    },
    async setAside(user, seqs, results, device) {
      const isUnremoved = invariants.isUnremoved(user, device)
      const listed = mailboxes.devices?.list(user)
      await mailboxes.setAside(user, seqs, results, device)
      if (isKnownIn(await listed, device) && isUnremoved()) watch.gone(recipientOf(user, device), seqs)
    },
    devices: mailboxes.devices && watchedDevices(mailboxes, mailboxes.devices, invariants, watch),
    list: (user, page) => mailboxes.list(user, page),
    return: (user, seqs, storedAt) => mailboxes.return(user, seqs, storedAt),
    expire: (...times) => mailboxes.expire(...times),
    ...(mailboxes.expireOverdue && { expireOverdue: mailboxes.expireOverdue.bind(mailboxes) }),
    lastSeq: () => mailboxes.lastSeq(),
    lastTime: () => mailboxes.lastTime(),
    levels: () => mailboxes.levels(),
    watchReceipts: (appended) => mailboxes.watchReceipts(appended),
    damages: () => mailboxes.damages(),
  }
}

/** Returns whether the answer of a device changes a mailbox: it is known, or its user has no known devices. */
export const isKnownIn = (listed: readonly ListedDevice[] = [], device?: string): boolean =>
  device === undefined || listed.length === 0 || listed.some(({ name }) => name === device)

/** Reports the devices that become known, and the messages that wait for them. */
function watchedDevices(
  mailboxes: Pick<MailboxStore, 'read'>,
  devices: MailboxDevices,
  invariants: MessageInvariants,
  watch: LinkWatch,
): MailboxDevices {
  return {
    async open(user, names, now, most) {
      const unremoved = names.map((device) => invariants.isUnremoved(user, device))
      await devices.open(user, names, now, most)
      for (const [at, device] of names.entries()) {
        if (device === '' || invariants.isKnown(user, device)) continue
        const reader = { user, device, node: 0, session: '', epoch: 0 }
        const waiting = await mailboxes.read(user, 0, 1_000_000, Number.MAX_SAFE_INTEGER, reader)
        if (unremoved[at]?.()) invariants.opened(user, device, waiting)
      }
    },
    forget: (before) => devices.forget(before),
    remove: (user, device) => {
      // The mailboxes forget the device at once.
      invariants.removed(user, device)
      watch.removed(recipientOf(user, device))
      return devices.remove(user, device)
    },
    list: (user) => devices.list(user),
  }
}
