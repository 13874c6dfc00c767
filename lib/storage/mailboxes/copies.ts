import { MiB } from '../../limits.ts'
import type { NewMessage } from '../../ports/mailboxes.ts'
import type { Place } from '../journal/journal.ts'
import type { Device } from './devices.ts'
import type { IndexEntry, Mailbox } from './mailbox.ts'
import type { MailboxIndex } from './mailboxIndex.ts'
import {
  bodyFingerprintOf,
  idOfKey,
  keyOfId,
  recordKinds,
  type SentId,
  senderOf,
  storedAtOf,
  storedMessage,
  writeDevice,
  writeIds,
  writeMessage,
  writeReceipt,
  writeRejected,
  writeSeqs,
} from './records.ts'

/** The limits of one group of copies. */
const most = { messages: 500, bytes: 4 * MiB }

/** A message as a storage contains it, for a copy in another storage. */
export interface CopiedMessage extends NewMessage {
  readonly seq: number
  /** The CRC-32 of its recipients and content when it was sent, as a signed number. */
  readonly fingerprint: number
  readonly isReceipt?: boolean | undefined
  /** The mailboxes that still contain it. */
  readonly mailboxes: readonly CopyPlace[]
}

/** A mailbox that contains a message. */
export interface CopyPlace {
  readonly user: string
  readonly isAside: boolean
}

/** The remembered id of a message. */
export interface CopiedId extends Pick<NewMessage, 'sender' | 'id' | 'storedAt'> {
  readonly fingerprint: number
}

/** The known devices of a user. */
export interface CopiedDevices {
  readonly user: string
  readonly devices: readonly CopiedDevice[]
  /** By seq, the reasons of messages that a device has rejected and others must still handle. */
  readonly rejected: ReadonlyMap<number, string>
}

export interface CopiedDevice {
  readonly name: string
  readonly seenAt: number
  /** The seqs of the messages in the mailbox that it has handled or rejected. */
  readonly answered: readonly number[]
}

/** Returns the message of a record. The id and the content alias the record. */
export function copiedMessage(record: Buffer, mailboxes: readonly CopyPlace[]): CopiedMessage {
  const message = storedMessage(record, senderOf(record))
  const isReceipt = record[0] === recordKinds.receipt
  return { ...message, storedAt: storedAtOf(record), fingerprint: bodyFingerprintOf(record), isReceipt, mailboxes }
}

export function copiedId(sender: string, { key, fingerprint, storedAt }: SentId): CopiedId {
  return { sender, id: idOfKey(key), fingerprint, storedAt }
}

/** Returns the devices of a user. `mailbox` is the mailbox of the user, if it contains messages. */
export function copiedDevices(user: string, known: Iterable<Device>, mailbox: Mailbox | undefined): CopiedDevices {
  const seqs = Array.from(mailbox?.after(0) ?? [], ({ seq }) => seq).filter((seq) => !mailbox?.isAside(seq))
  const devices = Array.from(known, (device) => {
    const { name, seenAt } = device
    return { name, seenAt, answered: seqs.filter((seq) => device.hasHandled(seq)) }
  })
  const rejected = new Map<number, string>()
  for (const seq of seqs) {
    const rejection = mailbox?.rejection(seq)
    if (rejection !== undefined) rejected.set(seq, rejection)
  }
  return { user, devices, rejected }
}

/** Returns the records of devices. */
export function deviceRecords({ user, devices, rejected }: CopiedDevices): Buffer[] {
  const records = devices.map(({ name, seenAt, answered }) => writeDevice(user, { name, seenAt, beyond: answered }))
  return rejected.size > 0 ? [writeRejected({ user, reasons: rejected }), ...records] : records
}

/** The mailboxes of a message. */
type Waiting = readonly [entry: IndexEntry, mailboxes: CopyPlace[]]

/** Yields the durable messages, in groups that can be read at once. */
export function* waitingGroups(index: MailboxIndex): Generator<readonly Waiting[]> {
  const waiting = new Map<IndexEntry, CopyPlace[]>()
  for (const [user, mailbox] of index.mailboxes()) {
    for (const entry of mailbox.after(0)) {
      if (!entry.isDurable) continue
      const places = waiting.get(entry) ?? []
      waiting.set(entry, places)
      places.push({ user, isAside: mailbox.isAside(entry.seq) })
    }
  }
  let group: Waiting[] = []
  let bytes = 0
  for (const each of [...waiting].sort(([a], [b]) => comparedPlaces(a, b))) {
    const [entry] = each
    if (group.length === most.messages || (group.length > 0 && bytes + entry.bytes > most.bytes)) {
      yield group
      group = []
      bytes = 0
    }
    group.push(each)
    bytes += entry.bytes
  }
  if (group.length > 0) yield group
}

const comparedPlaces = (a: Place, b: Place) => a.segment - b.segment || a.offset - b.offset

/** Returns the records of those of these messages that no mailbox in the index contains. */
export function newRecords(index: MailboxIndex, messages: readonly CopiedMessage[]): Buffer[] {
  const missing = messages.filter(({ seq, mailboxes }) => mailboxes.every(({ user }) => !index.get(user, seq)))
  return missing.flatMap((message) => {
    const { seq, fingerprint, mailboxes } = message
    const users = mailboxes.map(({ user }) => user)
    const aside = mailboxes.filter(({ isAside }) => isAside)
    if (message.isReceipt) return users.map((user) => writeReceipt(seq, message, user, { seq: 0, isAside: false }))
    return [
      writeMessage(seq, message, users, () => fingerprint),
      ...aside.map(({ user }) => writeSeqs('aside', { user, seqs: [seq] })),
    ]
  })
}

/** Returns the records of ids. */
export function idRecords(ids: readonly CopiedId[]): Buffer[] {
  return ids.map(({ sender, id, fingerprint, storedAt }) =>
    writeIds(sender, [{ key: keyOfId(id), fingerprint, storedAt }]),
  )
}
