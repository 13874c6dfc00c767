import { OspError } from '../../errors.ts'
import type { NewMessage, StoredMessage } from '../../ports/mailboxes.ts'
import type { DeviceState } from './devices.ts'

/**
 * The kind of a record, in its first byte. `asking`: a message whose sender gets receipts. `receipt`: a receipt; the record also
 * removes the message of the receipt, or sets it aside. `rejected`: a device has rejected messages that others must still handle.
 */
export const recordKinds = {
  message: 1,
  removed: 2,
  aside: 3,
  ids: 4,
  time: 5,
  asking: 6,
  receipt: 7,
  rejected: 8,
  device: 9,
  handled: 10,
  forgotten: 11,
} as const

/** Returns whether a record contains a message. */
export const hasMessage = ([kind]: Buffer): boolean =>
  kind === recordKinds.message || kind === recordKinds.asking || kind === recordKinds.receipt

/** The id of a message that may have been removed. */
export interface SentId {
  /** The id as a text with one character for each byte. */
  readonly key: string
  readonly fingerprint: number
  readonly storedAt: number
}

/** The latest time and seq. Messages stored before `messagesBefore`, and ids before `idsBefore`, are removed. */
export interface Time {
  readonly now: number
  readonly lastSeq: number
  readonly messagesBefore: number
  readonly idsBefore: number
}

const idBytes = 16
const sentIdBytes = idBytes + 4 + 8

/** Encodes which messages of a mailbox were removed or set aside. */
export function writeSeqs(kind: 'removed' | 'aside', { user, seqs }: ReturnType<typeof readSeqs>): Buffer {
  const record = Buffer.allocUnsafe(1 + textBytes(user) + 8 * seqs.length)
  record[0] = recordKinds[kind]
  let at = writeText(record, 1, user)
  for (const seq of seqs) at = record.writeDoubleBE(seq, at)
  return record
}

export function readSeqs(record: Buffer) {
  const seqs: number[] = []
  for (let at = textEnd(record, 1); at < record.length; at += 8) seqs.push(readNumber(record, at))
  return { user: readText(record, 1), seqs }
}

/** Messages of a mailbox that a device has rejected while others must still handle them, with their reasons by seq. */
export interface Rejections {
  readonly user: string
  readonly reasons: ReadonlyMap<number, string>
}

export function writeRejected({ user, reasons }: Rejections): Buffer {
  const all = Array.from(reasons)
  const record = Buffer.allocUnsafe(all.reduce((sum, [, reason]) => sum + 8 + textBytes(reason), 1 + textBytes(user)))
  record[0] = recordKinds.rejected
  let at = writeText(record, 1, user)
  for (const [seq, reason] of all) at = writeText(record, record.writeDoubleBE(seq, at), reason)
  return record
}

export function readRejected(record: Buffer): Rejections {
  const reasons = new Map<number, string>()
  for (let at = textEnd(record, 1); at < record.length; at = textEnd(record, at + 8))
    reasons.set(readNumber(record, at), readText(record, at + 8))
  return { user: readText(record, 1), reasons }
}

/** Encodes the state of a device. */
export function writeDevice(user: string, { name, seenAt, upTo = 0, beyond = [] }: DeviceState): Buffer {
  return writeOfDevice('device', user, name, [seenAt, upTo, ...beyond])
}

export function readDevice(record: Buffer): { readonly user: string; readonly state: DeviceState } {
  const { user, name, numbers } = readOfDevice(record)
  const [seenAt = 0, upTo = 0, ...beyond] = numbers
  return { user, state: { name, seenAt, upTo, beyond } }
}

/** Encodes which messages a device has handled, or has rejected, while others must still handle them. */
export const writeHandled = (user: string, name: string, seqs: readonly number[]): Buffer =>
  writeOfDevice('handled', user, name, seqs)

/** Encodes that a device is no longer known. */
export const writeForgotten = (user: string, name: string): Buffer => writeOfDevice('forgotten', user, name, [])

function writeOfDevice(
  kind: 'device' | 'handled' | 'forgotten',
  user: string,
  name: string,
  numbers: readonly number[],
): Buffer {
  const record = Buffer.allocUnsafe(1 + textBytes(user) + textBytes(name) + 8 * numbers.length)
  record[0] = recordKinds[kind]
  let at = writeText(record, writeText(record, 1, user), name)
  for (const number of numbers) at = record.writeDoubleBE(number, at)
  return record
}

/** Reads a record about a device. */
export function readOfDevice(record: Buffer) {
  const nameAt = textEnd(record, 1)
  const numbers: number[] = []
  for (let at = textEnd(record, nameAt); at < record.length; at += 8) numbers.push(readNumber(record, at))
  return { user: readText(record, 1), name: readText(record, nameAt), numbers }
}

/** Encodes ids of one sender. */
export function writeIds(sender: string, ids: readonly SentId[]): Buffer {
  const record = Buffer.allocUnsafe(1 + textBytes(sender) + sentIdBytes * ids.length)
  record[0] = recordKinds.ids
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
  record[0] = recordKinds.time
  let at = 1
  for (const value of [now, lastSeq, messagesBefore, idsBefore]) at = record.writeDoubleBE(value, at)
  return record
}

export function readTime(record: Buffer): Time {
  const [now, lastSeq, messagesBefore, idsBefore] = [1, 9, 17, 25].map((at) => readNumber(record, at))
  return { now: now ?? 0, lastSeq: lastSeq ?? 0, messagesBefore: messagesBefore ?? 0, idsBefore: idsBefore ?? 0 }
}

/** Returns the size of a text in a record: its UTF-8 bytes after their u16 length. */
const textBytes = (text: string) => 2 + Buffer.byteLength(text)

/** Writes a text and returns its end. */
function writeText(to: Buffer, at: number, text: string): number {
  const length = to.write(text, at + 2)
  to.writeUInt16BE(length, at)
  return at + 2 + length
}

/** Reads the text at this offset. Its end is at `textEnd`. */
const readText = (from: Buffer, at: number) => from.toString('utf8', at + 2, textEnd(from, at))

/** Returns the end of the text at this offset. */
const textEnd = (from: Buffer, at: number) => at + 2 + from.readUInt16BE(at)

/** Reads a number from -2^52 to 2^52, so that sums with it are exact. Throws RangeError for any other number. */
function readNumber(from: Buffer, at: number): number {
  const value = from.readDoubleBE(at)
  if (Math.abs(value) <= 2 ** 52) return value
  throw new RangeError(`${value} is not a valid number of a record`)
}

// kind u8, seq f64, sentAt f64, storedAt f64, expiresAt f64 (0 without a time to live), fingerprint u32, id, bytes of the content u32, sender, recipients,
// content. A text is UTF-8 after its u16 length; the recipients are texts after their u16 count. Big-endian. Numbers
// that can exceed 2^32 are doubles, which represent all safe integers. A receipt has, before the content, the seq f64 of its message,
// and a u8: 1 if that message was set aside.
const seqAt = 1
const sentAt = 9
const storedAt = 17
const expiresAt = 25
const fingerprintAt = 33
const idAt = 37
const lengthAt = 53
const senderAt = 57

/** Encodes a message as a record. `crc32` returns the fingerprint of its body. */
export function writeMessage(
  seq: number,
  message: NewMessage,
  recipients: readonly string[],
  crc32: (body: Buffer) => number,
): Buffer {
  const record = writeHead(seq, message, recipients, message.receipt ? recordKinds.asking : recordKinds.message)
  record.writeInt32BE(crc32(record.subarray(textEnd(record, senderAt))) | 0, fingerprintAt)
  return record
}

/** The message that a receipt is about, as the receipt leaves it. */
export interface Settled {
  readonly seq: number
  readonly isAside: boolean
}

const settledBytes = 9

/** Encodes a receipt. */
export function writeReceipt(seq: number, receipt: NewMessage, mailbox: string, { seq: of, isAside }: Settled): Buffer {
  const record = writeHead(seq, receipt, [mailbox], recordKinds.receipt)
  const at = record.length - receipt.content.length - settledBytes
  record.writeUInt8(isAside ? 1 : 0, record.writeDoubleBE(of, at))
  return record
}

/** Returns the message that a receipt is about. */
export function settledBy(record: Buffer): Settled {
  const at = record.length - contentBytesOf(record) - settledBytes
  return { seq: readNumber(record, at), isAside: record[at + 8] === 1 }
}

/** Encodes a message without its fingerprint. */
function writeHead(seq: number, message: NewMessage, recipients: readonly string[], kind: number): Buffer {
  const { sender, id, content } = message
  if (id.length !== idBytes) throw new OspError('usage', `a message id has ${id.length} bytes instead of ${idBytes}`)
  const before = senderAt + textBytes(sender) + bytesOfAll(recipients) + settledBytesOf(kind)
  const record = Buffer.allocUnsafe(before + content.length)
  record[0] = kind
  record.writeInt32BE(0, fingerprintAt)
  record.writeDoubleBE(seq, seqAt)
  record.writeDoubleBE(message.sentAt, sentAt)
  record.writeDoubleBE(message.storedAt, storedAt)
  record.writeDoubleBE(message.expiresAt ?? 0, expiresAt)
  record.set(id, idAt)
  record.writeUInt32BE(content.length, lengthAt)
  writeRecipients(record, writeText(record, senderAt, sender), recipients)
  record.set(content, before)
  return record
}

const settledBytesOf = (kind: number | undefined) => (kind === recordKinds.receipt ? settledBytes : 0)

/**
 * Returns the fingerprint of the body: its CRC-32, signed, which a Map stores without extra memory. Two messages with
 * the same sender and id must agree in the body: recipients and content.
 */
export const bodyFingerprintOf = (record: Buffer): number => record.readInt32BE(fingerprintAt)

export const seqOf = (record: Buffer): number => record.readDoubleBE(seqAt)
export const storedAtOf = (record: Buffer): number => record.readDoubleBE(storedAt)
/** Returns the time at which the time to live ends, or 0 if there is none. */
export const expiresAtOf = (record: Buffer): number => record.readDoubleBE(expiresAt)
/** Returns the bytes of the content. */
export const contentBytesOf = (record: Buffer): number => record.readUInt32BE(lengthAt)
export const senderOf = (record: Buffer): string => readText(record, senderAt)
/** Returns the id as a text with one character for each byte. */
export const keyOf = (record: Buffer): string => record.toString('latin1', idAt, idAt + idBytes)

/** Returns `keyOf` of a message with this id. */
export const keyOfId = (id: Uint8Array): string =>
  Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString('latin1')

/** Returns the id of a key. */
export const idOfKey = (key: string): Uint8Array => Uint8Array.from(Buffer.from(key, 'latin1'))

export const recipientsOf = (record: Buffer): string[] =>
  recipientOffsets(record)
    .slice(0, -1)
    .map((at) => readText(record, at))

/** Returns the offset of each recipient, and the end of the last one. */
function recipientOffsets(record: Buffer): number[] {
  const start = textEnd(record, senderAt)
  const offsets = [start + 2]
  for (let left = record.readUInt16BE(start); left > 0; left--) offsets.push(textEnd(record, offsets.at(-1) ?? 0))
  return offsets
}

/** Throws RangeError unless the numbers are valid and the lengths of all parts add up to the length of the record. */
export function checkMessage(record: Buffer): void {
  for (const at of [seqAt, sentAt, storedAt, expiresAt]) readNumber(record, at)
  const bytes = (recipientOffsets(record).at(-1) ?? 0) + settledBytesOf(record[0]) + contentBytesOf(record)
  if (bytes !== record.length)
    throw new RangeError(`a message of ${bytes} bytes is in a record of ${record.length} bytes`)
}

/** Returns the record of the same message for fewer recipients. */
export function withRecipients(record: Buffer, recipients: readonly string[]): Buffer {
  const before = textEnd(record, senderAt)
  const content = record.subarray(record.length - contentBytesOf(record))
  const fewer = Buffer.allocUnsafe(before + bytesOfAll(recipients) + content.length)
  record.copy(fewer, 0, 0, before)
  fewer.set(content, writeRecipients(fewer, before, recipients))
  return fewer
}

/** Decodes the message for its recipients. The id and the content alias the record. */
export function storedMessage(record: Buffer, sender = senderOf(record)): StoredMessage {
  const contentBytes = contentBytesOf(record)
  const end = expiresAtOf(record)
  return {
    seq: seqOf(record),
    sender,
    id: plain(record, idAt, idBytes),
    sentAt: record.readDoubleBE(sentAt),
    ...(end > 0 ? { expiresAt: end } : {}),
    ...(record[0] === recordKinds.asking ? { receipt: true } : {}),
    content: plain(record, record.length - contentBytes, contentBytes),
  }
}

// Some methods of a Buffer differ from those of a Uint8Array.
const plain = (record: Buffer, at: number, length: number) =>
  new Uint8Array(record.buffer, record.byteOffset + at, length)

const bytesOfAll = (recipients: readonly string[]) => recipients.reduce((sum, name) => sum + textBytes(name), 2)

function writeRecipients(to: Buffer, start: number, recipients: readonly string[]): number {
  to.writeUInt16BE(recipients.length, start)
  let at = start + 2
  for (const recipient of recipients) at = writeText(to, at, recipient)
  return at
}
