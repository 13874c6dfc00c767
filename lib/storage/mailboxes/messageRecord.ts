import { OspError } from '../../errors.ts'
import type { NewMessage, StoredMessage } from '../../ports/mailboxes.ts'
import { kinds } from './records.ts'
import { readNumber, readText, textBytes, textEnd, writeText } from './texts.ts'

// kind u8, seq f64, sentAt f64, storedAt f64, fingerprint u32, id, bytes of the content u32, sender, recipients, content.
// A text is UTF-8 behind its u16 length, the recipients are texts behind their u16 count. Big-endian; numbers that may be
// over 2^32 are doubles, which hold every integer that JavaScript does.
const seqAt = 1
const sentAt = 9
const storedAt = 17
const fingerprintAt = 25
const idAt = 29
const idBytes = 16
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
