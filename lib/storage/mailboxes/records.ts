import { OspError } from '../../errors.ts'
import type { NewMessage, StoredMessage } from '../../ports/mailboxes.ts'

/** What a record says, by its first byte. `message` stands in messageRecord.ts. */
export const kinds = { message: 1, removed: 2, aside: 3, ids: 4, time: 5 } as const

/** That messages of a mailbox are gone, or were set aside. */
export interface Seqs {
  readonly user: string
  readonly seqs: readonly number[]
}

/** An id of a message that may be gone. */
export interface SentId {
  /** The id as a text: one character for each byte. */
  readonly key: string
  readonly fingerprint: number
  readonly storedAt: number
}

/** How far time has come. What was stored before `messagesBefore`, and ids before `idsBefore`, are gone. */
export interface Time {
  readonly now: number
  readonly lastSeq: number
  readonly messagesBefore: number
  readonly idsBefore: number
}

const idBytes = 16
const sentIdBytes = idBytes + 4 + 8

export function writeSeqs(kind: 'removed' | 'aside', { user, seqs }: Seqs): Buffer {
  const record = Buffer.allocUnsafe(1 + textBytes(user) + 8 * seqs.length)
  record[0] = kinds[kind]
  let at = writeText(record, 1, user)
  for (const seq of seqs) at = record.writeDoubleBE(seq, at)
  return record
}

export function readSeqs(record: Buffer): Seqs {
  const seqs: number[] = []
  for (let at = textEnd(record, 1); at < record.length; at += 8) seqs.push(readNumber(record, at))
  return { user: readText(record, 1), seqs }
}

/** Ids of one sender. */
export function writeIds(sender: string, ids: readonly SentId[]): Buffer {
  const record = Buffer.allocUnsafe(1 + textBytes(sender) + sentIdBytes * ids.length)
  record[0] = kinds.ids
  let at = writeText(record, 1, sender)
  for (const { key, fingerprint, storedAt } of ids) {
    record.write(key, at, 'latin1')
    record.writeInt32BE(fingerprint, at + idBytes)
    at = record.writeDoubleBE(storedAt, at + idBytes + 4)
  }
  return record
}

export function readIds(record: Buffer): { readonly sender: string; readonly ids: readonly SentId[] } {
  const ids: SentId[] = []
  for (let at = textEnd(record, 1); at < record.length; at += sentIdBytes) {
    ids.push({
      key: record.toString('latin1', at, at + idBytes),
      fingerprint: record.readInt32BE(at + idBytes),
      storedAt: readNumber(record, at + idBytes + 4),
    })
  }
  return { sender: readText(record, 1), ids }
}

export function writeTime({ now, lastSeq, messagesBefore, idsBefore }: Time): Buffer {
  const record = Buffer.allocUnsafe(33)
  record[0] = kinds.time
  let at = 1
  for (const value of [now, lastSeq, messagesBefore, idsBefore]) at = record.writeDoubleBE(value, at)
  return record
}

export function readTime(record: Buffer): Time {
  const [now, lastSeq, messagesBefore, idsBefore] = [1, 9, 17, 25].map((at) => readNumber(record, at))
  return { now: now ?? 0, lastSeq: lastSeq ?? 0, messagesBefore: messagesBefore ?? 0, idsBefore: idsBefore ?? 0 }
}

/** Bytes of a text in a record: UTF-8 behind its u16 length. */
function textBytes(text: string): number {
  return 2 + Buffer.byteLength(text)
}

/** Writes a text; returns where it ends. */
function writeText(to: Buffer, at: number, text: string): number {
  const length = to.write(text, at + 2)
  to.writeUInt16BE(length, at)
  return at + 2 + length
}

/** The text that begins there; it ends `textBytes` of it later. */
function readText(from: Buffer, at: number): string {
  return from.toString('utf8', at + 2, textEnd(from, at))
}

/** Where the text that begins there ends. */
function textEnd(from: Buffer, at: number): number {
  return at + 2 + from.readUInt16BE(at)
}

/** The number that is written there, at most 2^52 from 0: what counts on from it is exact. Throws RangeError for another one. */
function readNumber(from: Buffer, at: number): number {
  const value = from.readDoubleBE(at)
  if (Math.abs(value) <= 2 ** 52) return value
  throw new RangeError(`${value} is no number of a record`)
}

// kind u8, seq f64, sentAt f64, storedAt f64, fingerprint u32, id, bytes of the content u32, sender, recipients, content.
// A text is UTF-8 behind its u16 length, the recipients are texts behind their u16 count. Big-endian; numbers that may be
// over 2^32 are doubles, which hold every integer that JavaScript does.
const seqAt = 1
const sentAt = 9
const storedAt = 17
const fingerprintAt = 25
const idAt = 29
const lengthAt = 45
const senderAt = 49

/** A message as a record; its fingerprint is not set yet. */
export function writeMessage(seq: number, message: NewMessage, recipients: readonly string[]): Buffer {
  const { sender, id, content } = message
  if (id.length !== idBytes) throw new OspError('usage', `a message id of ${id.length} bytes is not ${idBytes}`)
  let length = senderAt + textBytes(sender) + 2 + content.length
  for (const recipient of recipients) length += textBytes(recipient)
  const record = Buffer.allocUnsafe(length)
  record[0] = kinds.message
  record.writeDoubleBE(seq, seqAt)
  record.writeDoubleBE(message.sentAt, sentAt)
  record.writeDoubleBE(message.storedAt, storedAt)
  record.set(id, idAt)
  record.writeUInt32BE(content.length, lengthAt)
  const at = writeRecipients(record, writeText(record, senderAt, sender), recipients)
  record.set(content, at)
  return record
}

/** The part of a record by which two messages of the same sender and id are compared: recipients and content. */
export function bodyOf(record: Buffer): Buffer {
  return record.subarray(textEnd(record, senderAt))
}

/** What stands for the body: a CRC-32 of it, signed, which takes no memory of its own in a Map. */
export const fingerprintOf = (record: Buffer): number => record.readInt32BE(fingerprintAt)

export function setFingerprint(record: Buffer, fingerprint: number): void {
  record.writeInt32BE(fingerprint, fingerprintAt)
}

export const seqOf = (record: Buffer): number => record.readDoubleBE(seqAt)
export const storedAtOf = (record: Buffer): number => record.readDoubleBE(storedAt)
/** Bytes of the content. */
export const contentBytesOf = (record: Buffer): number => record.readUInt32BE(lengthAt)
export const senderOf = (record: Buffer): string => readText(record, senderAt)
/** The id as a text: one character for each byte. */
export const keyOf = (record: Buffer): string => record.toString('latin1', idAt, idAt + idBytes)

export function recipientsOf(record: Buffer): string[] {
  let at = textEnd(record, senderAt)
  const recipients: string[] = []
  const count = record.readUInt16BE(at)
  at += 2
  for (let index = 0; index < count; index++) {
    recipients.push(readText(record, at))
    at = textEnd(record, at)
  }
  return recipients
}

/** Throws RangeError unless its numbers are such and its parts are together as long as it is. */
export function checkMessage(record: Buffer): void {
  for (const at of [seqAt, sentAt, storedAt]) readNumber(record, at)
  let at = textEnd(record, senderAt)
  const count = record.readUInt16BE(at)
  at += 2
  for (let index = 0; index < count; index++) at = textEnd(record, at)
  const bytes = at + contentBytesOf(record)
  if (bytes !== record.length) throw new RangeError(`a message of ${bytes} bytes is in ${record.length}`)
}

/** The same message for fewer recipients. */
export function withRecipients(record: Buffer, recipients: readonly string[]): Buffer {
  const before = textEnd(record, senderAt)
  const content = record.subarray(record.length - contentBytesOf(record))
  let length = before + 2 + content.length
  for (const recipient of recipients) length += textBytes(recipient)
  const fewer = Buffer.allocUnsafe(length)
  record.copy(fewer, 0, 0, before)
  fewer.set(content, writeRecipients(fewer, before, recipients))
  return fewer
}

/** What its recipients get; id and content alias the record. */
export function storedMessage(record: Buffer): StoredMessage {
  const contentBytes = contentBytesOf(record)
  return {
    seq: seqOf(record),
    sender: senderOf(record),
    id: plain(record, idAt, idBytes),
    sentAt: record.readDoubleBE(sentAt),
    content: plain(record, record.length - contentBytes, contentBytes),
  }
}

// A Buffer is a Uint8Array, but some of its methods do something else.
const plain = (record: Buffer, at: number, length: number) =>
  new Uint8Array(record.buffer, record.byteOffset + at, length)

function writeRecipients(to: Buffer, start: number, recipients: readonly string[]): number {
  to.writeUInt16BE(recipients.length, start)
  let at = start + 2
  for (const recipient of recipients) at = writeText(to, at, recipient)
  return at
}
