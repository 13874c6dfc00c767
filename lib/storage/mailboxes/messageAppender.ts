import { OspError } from '../../errors.ts'
import type { MailboxBounds, NewMessage } from '../../ports/mailboxes.ts'
import { fitsShare, shareReserve } from '../../runtime/share.ts'
import type { JournalWriter } from '../journal/journalWriter.ts'
import { IndexEntry, Mailbox } from './mailbox.ts'
import type { MailboxIndex } from './mailboxIndex.ts'
import { bodyOf, keyOf, setFingerprint, writeMessage } from './records.ts'

const empty = new Mailbox()

type Crc32 = (bytes: Uint8Array, start?: number) => number

/** The rules of `MailboxStore.append`. */
export class MessageAppender {
  readonly #ledger: MailboxIndex
  readonly #writer: JournalWriter
  readonly #recent: RecentRecords
  readonly #crc32: Crc32
  /** Higher than that of the latest durable message while one is on its way; a seq whose append failed is not used again. */
  #lastSeq: number
  #arrived = new Set<string>()

  constructor(ledger: MailboxIndex, writer: JournalWriter, recent: RecentRecords, crc32: Crc32) {
    this.#ledger = ledger
    this.#writer = writer
    this.#recent = recent
    this.#crc32 = crc32
    this.#lastSeq = ledger.lastSeq
  }

  /** May throw what it would reject with. */
  append(message: NewMessage, recipients: readonly string[], bounds: MailboxBounds): Promise<void> {
    const { sender, storedAt, content } = message
    const { ids } = this.#ledger
    const seq = this.#lastSeq + 1
    const record = writeMessage(seq, message, recipients)
    const key = keyOf(record)
    const fingerprint = this.#crc32(bodyOf(record)) | 0
    setFingerprint(record, fingerprint)
    const known = this.#known(sender, key, fingerprint)
    if (known) return known
    try {
      this.#checkBounds(sender, recipients, content.length, bounds)
    } catch (refusal) {
      throw this.#writer.uncertainty ?? refusal
    }
    this.#lastSeq = seq
    const held = new IndexEntry(seq, this.#ledger.nameOf(sender), storedAt, content.length, record.length)
    for (const user of recipients) this.#ledger.put(user, held)
    const done = this.#writer.add({
      record,
      reserveBytes: bounds.reserveBytes,
      shareBytes: shareReserve(this.#ledger.waitingOf(sender).bytes, bounds.sharePercent),
      durable: (segment, offset) => {
        ids.confirm(sender, key, fingerprint, storedAt)
        this.#durable(held, segment, offset, record)
        for (const user of recipients) this.#arrived.add(user)
      },
      undo: () => {
        ids.giveUp(sender, key)
        for (const user of recipients) this.#ledger.take(user, seq)
      },
    })
    ids.expect(sender, key, fingerprint, done)
    return done
  }

  /** The users to whom messages have come since this was last asked. */
  arrived(): ReadonlySet<string> {
    const arrived = this.#arrived
    if (arrived.size > 0) this.#arrived = new Set()
    return arrived
  }

  /** What the repetition of a message comes to, if it is one. */
  #known(sender: string, key: string, fingerprint: number): Promise<void> | undefined {
    const ids = this.#ledger.ids.of(sender)
    const pending = ids?.pending.get(key)
    const former = pending?.fingerprint ?? ids?.find(key)
    if (former === undefined) return undefined
    if (former !== fingerprint) throw new OspError('id-reused')
    return pending?.done ?? Promise.resolve()
  }

  /** Throws OspError for the first bound that a message would pass, or share of a bound (`fitsShare`). */
  #checkBounds(sender: string, recipients: readonly string[], bytes: number, bounds: MailboxBounds): void {
    const { ids, waiting } = this.#ledger
    const { sharePercent } = bounds
    const own = ids.countOf(sender)
    if (own >= bounds.senderIds || !fitsShare({ most: bounds.allIds, held: ids.count }, own, 1, sharePercent)) {
      throw new OspError('rate-limited', `too many messages of ${sender} were sent lately; try again later`)
    }
    const pool = { most: bounds.allMessages, held: waiting }
    const { messages } = this.#ledger.waitingOf(sender)
    if (!fitsShare(pool, messages, recipients.length, sharePercent)) {
      throw fullMailbox(sender, recipients, waiting + recipients.length <= pool.most)
    }
    const full = recipients.filter((user) => !this.#hasRoom(user, sender, bytes, bounds, sharePercent))
    if (full.length === 0) return
    throw fullMailbox(
      sender,
      full,
      full.every((user) => this.#hasRoom(user, sender, bytes, bounds, 100)),
    )
  }

  #hasRoom(user: string, sender: string, bytes: number, bounds: MailboxBounds, sharePercent: number): boolean {
    const mailbox = this.#ledger.mailbox(user) ?? empty
    const own = mailbox.of(sender)
    return (
      fitsShare({ most: bounds.messages, held: mailbox.messages }, own.messages, 1, sharePercent) &&
      fitsShare({ most: bounds.bytes, held: mailbox.bytes }, own.bytes, bytes, sharePercent)
    )
  }

  #durable(held: IndexEntry, segment: number, offset: number, record: Buffer): void {
    const ledger = this.#ledger
    ledger.lastSeq = Math.max(ledger.lastSeq, held.seq)
    ledger.lastTime = Math.max(ledger.lastTime, held.storedAt)
    ledger.locate(held, { segment, offset, length: record.length })
    this.#recent.add(held, record)
  }
}

/** `hasRoom`: there is some, but not for this sender. */
function fullMailbox(sender: string, recipients: readonly string[], hasRoom: boolean): OspError {
  const names = recipients.join(', ')
  const text = hasRoom
    ? `the messages of ${sender} that wait fill the share of one sender; try again after some are received: no more fit for ${names}`
    : `no more messages fit for ${names}`
  return new OspError('mailbox-full', text, { recipients })
}

/** What the memory of a message at hand takes besides its record. */
const overheadBytes = 64

/** Keeps the records of the latest messages at hand, so that recipients who are there get them without a look at the disk. */
export class RecentRecords {
  readonly #mostBytes: number
  #queue: IndexEntry[] = []
  #first = 0
  #bytes = 0

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes
  }

  add(held: IndexEntry, record: Buffer): void {
    held.record = record
    this.#queue.push(held)
    this.#bytes += held.length + overheadBytes
    while (this.#bytes > this.#mostBytes) this.#letGo()
  }

  #letGo(): void {
    const held = this.#queue[this.#first++]
    if (!held) return
    held.record = undefined
    this.#bytes -= held.length + overheadBytes
    if (this.#first <= this.#queue.length / 2) return
    this.#queue = this.#queue.slice(this.#first)
    this.#first = 0
  }
}
