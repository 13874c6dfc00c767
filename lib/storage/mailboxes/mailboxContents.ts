import { OspError } from '../../errors.ts'
import { decodeBody } from '../../wire/messageBody.ts'
import type { JournalRecord } from '../journal/journal.ts'
import type { Contents, Moved } from '../journal/journalWriter.ts'
import { Device } from './devices.ts'
import { IndexEntry } from './mailbox.ts'
import type { MailboxIndex } from './mailboxIndex.ts'
import {
  bodyFingerprintOf,
  checkMessage,
  contentBytesOf,
  expiresAtOf,
  hasMessage,
  keyOf,
  readDevice,
  readIds,
  readOfDevice,
  readRejected,
  readSeqs,
  readTime,
  recipientsOf,
  recordKinds,
  type SentId,
  senderOf,
  seqOf,
  settledBy,
  storedAtOf,
  storedMessage,
  type Time,
  withRecipients,
  writeDevice,
  writeIds,
  writeRejected,
  writeSeqs,
  writeTime,
} from './records.ts'

/** Returns the contents of a journal of messages: `index`, which is empty at first. */
export function contentsOf(index: MailboxIndex): Contents {
  return {
    get liveBytes() {
      return index.liveBytes
    },
    enter(found) {
      try {
        enter(found, index)
      } catch (cause) {
        // A record of another length than its content says, though with a valid CRC, was not written by this version.
        if (!(cause instanceof RangeError) && !isMalformed(cause)) throw cause
        const place = `at ${found.offset} of segment ${found.segment}`
        const text = `the journal of messages has an invalid record ${place}; use the version of ospd that wrote it`
        throw new OspError('data-format', text, { cause })
      }
    },
    move: (segment, records, isLast) => move(index, segment, records, isLast),
  }
}

const isMalformed = (cause: unknown) => cause instanceof OspError && cause.code === 'malformed'

/**
 * Applies a record. If a moved message is present twice, the later record counts, or the earlier one if it is set aside.
 * Unknown messages are ignored.
 */
function enter(found: JournalRecord, index: MailboxIndex): void {
  const { record } = found
  if (hasMessage(record)) enterMessage(found, index)
  else if (record[0] === recordKinds.removed) enterRemoved(record, index)
  else if (record[0] === recordKinds.aside) enterAside(record, index)
  else if (record[0] === recordKinds.ids) enterIds(record, index)
  else if (record[0] === recordKinds.time) enterTime(readTime(record), index)
  else if (record[0] === recordKinds.rejected) enterRejected(record, index)
  else if (record[0] === recordKinds.device) enterDevice(record, index)
  else if (record[0] === recordKinds.handled) enterHandled(record, index)
  else if (record[0] === recordKinds.forgotten) enterForgotten(record, index)
  else {
    const text = `the journal of messages has a record of the unknown kind ${record[0]}; use the version of ospd that wrote it`
    throw new OspError('data-format', text)
  }
}

function enterMessage(found: JournalRecord, index: MailboxIndex): void {
  const { record, length } = found
  checkMessage(record)
  const seq = seqOf(record)
  const id = idOf(record)
  const sender = index.nameOf(senderOf(record))
  index.lastSeq = Math.max(index.lastSeq, seq)
  index.lastTime = Math.max(index.lastTime, id.storedAt)
  if (record[0] === recordKinds.receipt) enterSettled(record, index)
  else enterId(index, sender, id)
  if (id.storedAt < index.messagesBefore) return
  const askingId = record[0] === recordKinds.asking ? id.key : undefined
  const entry = new IndexEntry(seq, sender, id.storedAt, contentBytesOf(record), length, expiresAtOf(record), askingId)
  for (const user of recipientsOf(record)) {
    // A crash can leave this copy without the record after it that sets it aside. The earlier copy, which precedes such a
    // record, stays current and is moved again before its segment is dropped.
    const mailbox = index.mailbox(user)
    if (mailbox?.isAside(seq)) continue
    const rejection = mailbox?.rejection(seq)
    index.remove(user, seq)
    index.add(user, entry)
    index.reject(user, seq, rejection)
  }
  index.locate(entry, found)
}

/** Removes the message of a receipt, or sets it aside. */
function enterSettled(record: Buffer, index: MailboxIndex): void {
  const { seq, isAside } = settledBy(record)
  const { receipt } = decodeBody(storedMessage(record).content).attributes
  if (!receipt) throw new RangeError('the content of a receipt is invalid')
  if (isAside) index.setAside(receipt.recipient, seq)
  else index.remove(receipt.recipient, seq)
}

function enterRemoved(record: Buffer, index: MailboxIndex): void {
  const { user, seqs } = readSeqs(record)
  for (const seq of seqs) index.remove(user, seq)
}

function enterAside(record: Buffer, index: MailboxIndex): void {
  const { user, seqs } = readSeqs(record)
  for (const seq of seqs) index.setAside(user, seq)
}

function enterRejected(record: Buffer, index: MailboxIndex): void {
  const { user, reasons } = readRejected(record)
  for (const [seq, reason] of reasons) index.reject(user, seq, reason)
}

function enterDevice(record: Buffer, index: MailboxIndex): void {
  const { user, state } = readDevice(record)
  index.devices.set(user, new Device(state))
}

/** Ignores an unknown device, because its record was moved and includes this one. */
function enterHandled(record: Buffer, index: MailboxIndex): void {
  const { user, name, numbers: seqs } = readOfDevice(record)
  const device = index.devices.of(user)?.get(name)
  // Its messages may have been moved after this record, so `upTo` is raised after all records have been read.
  for (const seq of device ? seqs : []) device?.beyond.add(seq)
}

function enterForgotten(record: Buffer, index: MailboxIndex): void {
  const { user, name } = readOfDevice(record)
  index.devices.delete(user, name)
}

function enterIds(record: Buffer, index: MailboxIndex): void {
  const { sender, ids } = readIds(record)
  for (const id of ids) enterId(index, sender, id)
}

function enterId(index: MailboxIndex, sender: string, { key, fingerprint, storedAt }: SentId): void {
  if (storedAt >= index.idsBefore) index.ids.remember(sender, key, fingerprint, storedAt)
}

function enterTime({ now, lastSeq, messagesBefore, idsBefore }: Time, index: MailboxIndex): void {
  index.lastTime = Math.max(index.lastTime, now)
  index.lastSeq = Math.max(index.lastSeq, lastSeq)
  if (messagesBefore > index.messagesBefore) {
    index.messagesBefore = messagesBefore
    index.expireMessages(messagesBefore)
  }
  if (idsBefore > index.idsBefore) {
    index.idsBefore = idsBefore
    index.ids.forgetBefore(idsBefore)
  }
}

const idOf = (record: Buffer): SentId => ({
  key: keyOf(record),
  fingerprint: bodyFingerprintOf(record),
  storedAt: storedAtOf(record),
})

/** Implements `Contents.move`. The records of messages come first. After the last records of a segment comes the time. */
function move(index: MailboxIndex, segment: number, found: readonly JournalRecord[], isLast: boolean): Moved {
  const records: Buffer[] = []
  const entries: IndexEntry[] = []
  const aside = new Map<string, number[]>()
  const rejected = new Map<string, Map<number, string>>()
  const ids = new Map<string, SentId[]>()

  const addId = (sender: string, id: SentId) => {
    if (id.storedAt >= index.idsBefore && index.ids.has(sender, id.key)) pushTo(ids, sender, id)
  }
  const addMarks = (user: string, seq: number) => {
    const mailbox = index.mailbox(user)
    if (mailbox?.isAside(seq)) pushTo(aside, user, seq)
    const rejection = mailbox?.rejection(seq)
    if (rejection !== undefined) rejected.set(user, (rejected.get(user) ?? new Map()).set(seq, rejection))
  }
  const addMessage = (message: JournalRecord) => {
    const { record } = message
    const seq = seqOf(record)
    const all = recipientsOf(record)
    const isExpired = storedAtOf(record) < index.messagesBefore
    const left = isExpired ? [] : all.filter((user) => index.get(user, seq)?.isAt(message))
    const entry = left[0] === undefined ? undefined : index.get(left[0], seq)
    if (!entry) return addId(senderOf(record), idOf(record))
    entries.push(entry)
    records.push(left.length === all.length ? record : withRecipients(record, left))
    for (const user of left) addMarks(user, seq)
  }

  for (const each of found) {
    const { record } = each
    if (hasMessage(record)) addMessage(each)
    if (record[0] === recordKinds.ids) {
      const { sender, ids } = readIds(record)
      for (const id of ids) addId(sender, id)
    }
  }
  for (const [user, seqs] of aside) records.push(writeSeqs('aside', { user, seqs }))
  for (const [user, reasons] of rejected) records.push(writeRejected({ user, reasons }))
  records.push(...movedDevices(index, found))
  for (const [sender, own] of ids) records.push(writeIds(sender, own))
  const { lastTime, lastSeq, messagesBefore, idsBefore } = index
  if (isLast) records.push(writeTime({ now: lastTime, lastSeq, messagesBefore, idsBefore }))
  return {
    records,
    moved(places) {
      for (const [at, place] of places.entries()) {
        const entry = entries[at]
        if (entry) index.locate(entry, place)
      }
      if (isLast) index.removeSegment(segment)
    },
  }
}

/** Returns the records of the known devices among these records. */
function movedDevices(index: MailboxIndex, found: readonly JournalRecord[]): Buffer[] {
  const devices = new Map<Device, string>()
  for (const { record } of found) {
    if (record[0] !== recordKinds.device) continue
    const { user, name } = readOfDevice(record)
    const device = index.devices.of(user)?.get(name)
    if (device) devices.set(device, user)
  }
  return Array.from(devices, ([device, user]) => writeDevice(user, device))
}

/** Adds a value to the list of a key. Creates the list if it is missing. */
export function pushTo<K, T>(lists: Map<K, T[]>, key: K, value: T): void {
  const list = lists.get(key)
  if (list) list.push(value)
  else lists.set(key, [value])
}
