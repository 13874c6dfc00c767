import { OspError } from '../../errors.ts'
import { type Found, type Journal, recordsOf } from '../journal/journal.ts'
import { IndexEntry } from './mailbox.ts'
import type { MailboxIndex } from './mailboxIndex.ts'
import {
  checkMessage,
  contentBytesOf,
  fingerprintOf,
  keyOf,
  kinds,
  readIds,
  readSeqs,
  readTime,
  recipientsOf,
  type SentId,
  type Seqs,
  senderOf,
  seqOf,
  storedAtOf,
  type Time,
} from './records.ts'

/**
 * Applies all records of a journal to an empty index. A moved message is present twice if a crash prevented the drop of
 * its old segment: the later record counts. Records about missing messages have no effect.
 */
export async function replay(journal: Journal, index: MailboxIndex): Promise<void> {
  for await (const found of recordsOf(journal)) enterWhole(found, index)
  index.ids.order()
}

/** A record of another length than its content says, though with a valid CRC, was not written by this version. */
function enterWhole(found: Found, index: MailboxIndex): void {
  try {
    enter(found, index)
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause
    const place = `at ${found.offset} of segment ${found.segment}`
    const text = `the journal of messages has an invalid record ${place}; use the version of ospd that wrote it`
    throw new OspError('data-format', text, { cause })
  }
}

function enter(found: Found, index: MailboxIndex): void {
  const { record } = found
  if (record[0] === kinds.message) enterMessage(found, index)
  else if (record[0] === kinds.removed) enterRemoved(readSeqs(record), index)
  else if (record[0] === kinds.aside) enterAside(readSeqs(record), index)
  else if (record[0] === kinds.ids) enterIds(record, index)
  else if (record[0] === kinds.time) enterTime(readTime(record), index)
  else
    throw new OspError(
      'data-format',
      `the journal of messages has a record of the unknown kind ${record[0]}; use the version of ospd that wrote it`,
    )
}

function enterMessage(found: Found, index: MailboxIndex): void {
  const { record, length } = found
  checkMessage(record)
  const seq = seqOf(record)
  const storedAt = storedAtOf(record)
  const sender = index.nameOf(senderOf(record))
  index.lastSeq = Math.max(index.lastSeq, seq)
  index.lastTime = Math.max(index.lastTime, storedAt)
  enterId(index, sender, { key: keyOf(record), fingerprint: fingerprintOf(record), storedAt })
  if (storedAt < index.messagesBefore) return
  const entry = new IndexEntry(seq, sender, storedAt, contentBytesOf(record), length)
  for (const user of recipientsOf(record)) {
    const wasAside = index.mailbox(user)?.isAside(seq) ?? false
    index.remove(user, seq)
    index.add(user, entry)
    if (wasAside) index.mailbox(user)?.setAside(seq)
  }
  index.locate(entry, found)
}

function enterRemoved({ user, seqs }: Seqs, index: MailboxIndex): void {
  for (const seq of seqs) index.remove(user, seq)
}

function enterAside({ user, seqs }: Seqs, index: MailboxIndex): void {
  for (const seq of seqs) if (index.get(user, seq)) index.mailbox(user)?.setAside(seq)
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
    index.ids.order()
    index.ids.forgetBefore(idsBefore)
  }
}
