import { readNumber, readText, textBytes, textEnd, writeText } from './texts.ts'

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
