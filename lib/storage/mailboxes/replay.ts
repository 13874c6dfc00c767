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
 * Enters into an empty ledger all that a journal says. A message that was moved is there twice if a crash kept its old
 * segment from being dropped: the later one counts. What is said about messages that are not there says nothing.
 */
export async function replay(journal: Journal, ledger: MailboxIndex): Promise<void> {
  for await (const found of recordsOf(journal)) enterWhole(found, ledger)
  ledger.ids.order()
}

/** What is not as long as it says, though its CRC is right, was not written by this version. */
function enterWhole(found: Found, ledger: MailboxIndex): void {
  try {
    enter(found, ledger)
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause
    const place = `at ${found.offset} of segment ${found.segment}`
    const text = `the journal of messages has a record that is none, ${place}; use the ospd that wrote it`
    throw new OspError('data-format', text, { cause })
  }
}

function enter(found: Found, ledger: MailboxIndex): void {
  const { record } = found
  if (record[0] === kinds.message) enterMessage(found, ledger)
  else if (record[0] === kinds.removed) enterRemoved(readSeqs(record), ledger)
  else if (record[0] === kinds.aside) enterAside(readSeqs(record), ledger)
  else if (record[0] === kinds.ids) enterIds(record, ledger)
  else if (record[0] === kinds.time) enterTime(readTime(record), ledger)
  else throw new OspError('data-format', `the journal of messages has a record of an unknown kind, ${record[0]}`)
}

function enterMessage(found: Found, ledger: MailboxIndex): void {
  const { record, length } = found
  checkMessage(record)
  const seq = seqOf(record)
  const storedAt = storedAtOf(record)
  const sender = ledger.nameOf(senderOf(record))
  ledger.lastSeq = Math.max(ledger.lastSeq, seq)
  ledger.lastTime = Math.max(ledger.lastTime, storedAt)
  enterId(ledger, sender, { key: keyOf(record), fingerprint: fingerprintOf(record), storedAt })
  if (storedAt < ledger.messagesBefore) return
  const held = new IndexEntry(seq, sender, storedAt, contentBytesOf(record), length)
  for (const user of recipientsOf(record)) {
    const wasAside = ledger.mailbox(user)?.isAside(seq) ?? false
    ledger.take(user, seq)
    ledger.put(user, held)
    if (wasAside) ledger.mailbox(user)?.setAside(seq)
  }
  ledger.locate(held, found)
}

function enterRemoved({ user, seqs }: Seqs, ledger: MailboxIndex): void {
  for (const seq of seqs) ledger.take(user, seq)
}

function enterAside({ user, seqs }: Seqs, ledger: MailboxIndex): void {
  for (const seq of seqs) if (ledger.get(user, seq)) ledger.mailbox(user)?.setAside(seq)
}

function enterIds(record: Buffer, ledger: MailboxIndex): void {
  const { sender, ids } = readIds(record)
  for (const id of ids) enterId(ledger, sender, id)
}

function enterId(ledger: MailboxIndex, sender: string, { key, fingerprint, storedAt }: SentId): void {
  if (storedAt >= ledger.idsBefore) ledger.ids.remember(sender, key, fingerprint, storedAt)
}

function enterTime({ now, lastSeq, messagesBefore, idsBefore }: Time, ledger: MailboxIndex): void {
  ledger.lastTime = Math.max(ledger.lastTime, now)
  ledger.lastSeq = Math.max(ledger.lastSeq, lastSeq)
  if (messagesBefore > ledger.messagesBefore) {
    ledger.messagesBefore = messagesBefore
    ledger.expireMessages(messagesBefore)
  }
  if (idsBefore > ledger.idsBefore) {
    ledger.idsBefore = idsBefore
    ledger.ids.order()
    ledger.ids.forgetBefore(idsBefore)
  }
}
