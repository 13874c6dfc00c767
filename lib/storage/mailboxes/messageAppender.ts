import { Queue } from '../../core/queue.ts'
import { OspError } from '../../errors.ts'
import { MiB } from '../../limits.ts'
import type { MailboxBounds, NewMessage } from '../../ports/mailboxes.ts'
import type { Platform } from '../../ports/platform.ts'
import { fitsShare, shareReserve } from '../../runtime/share.ts'
import type { JournalWriter } from '../journal/journalWriter.ts'
import { IndexEntry, Mailbox } from './mailbox.ts'
import type { MailboxIndex } from './mailboxIndex.ts'
import { bodyFingerprintOf, keyOf, writeMessage } from './records.ts'

const empty = new Mailbox()

/** The rules of `MailboxStore.append`. */
export class MessageAppender {
  readonly #index: MailboxIndex
  readonly #writer: JournalWriter
  readonly #recent = new RecentRecords()
  readonly #crc32: Platform['crc32']
  /** The last assigned seq. A failed append does not return its seq. */
  #lastSeq = 0
  #arrived = new Set<string>()

  constructor(index: MailboxIndex, writer: JournalWriter, crc32: Platform['crc32']) {
    this.#index = index
    this.#writer = writer
    this.#crc32 = crc32
  }

  /** Throws an OspError if the message is refused at once. */
  append(message: NewMessage, recipients: readonly string[], bounds: MailboxBounds): Promise<void> {
    const { sender, storedAt, content } = message
    const { ids } = this.#index
    const seq = Math.max(this.#lastSeq, this.#index.lastSeq) + 1
    const record = writeMessage(seq, message, recipients, this.#crc32)
    const key = keyOf(record)
    const fingerprint = bodyFingerprintOf(record)
    const known = this.#known(sender, key, fingerprint)
    if (known) return known
    try {
      this.#checkBounds(sender, recipients, content.length, bounds)
    } catch (refusal) {
      throw this.#writer.uncertainty ?? refusal
    }
    this.#lastSeq = seq
    const entry = new IndexEntry(seq, this.#index.nameOf(sender), storedAt, content.length, record.length)
    for (const user of recipients) this.#index.add(user, entry)
    const done = this.#writer.add({
      record,
      reserveBytes: bounds.reserveBytes,
      shareBytes: shareReserve(this.#index.waitingOf(sender).bytes, bounds.sharePercent),
      durable: (place) => {
        const index = this.#index
        ids.confirm(sender, key, fingerprint, storedAt)
        index.lastSeq = Math.max(index.lastSeq, seq)
        index.lastTime = Math.max(index.lastTime, storedAt)
        index.locate(entry, place)
        this.#recent.add(entry, record)
        for (const user of recipients) this.#arrived.add(user)
      },
      undo: () => {
        ids.giveUp(sender, key)
        for (const user of recipients) this.#index.remove(user, seq)
      },
    })
    ids.expect(sender, key, fingerprint, done)
    return done
  }

  /** Returns the users with messages that have become durable since the last call. */
  arrived(): ReadonlySet<string> {
    const arrived = this.#arrived
    if (arrived.size > 0) this.#arrived = new Set()
    return arrived
  }

  /** Returns the result of a repeated message. Throws OspError `id-reused` for another message with a known id. */
  #known(sender: string, key: string, fingerprint: number): Promise<void> | undefined {
    const ids = this.#index.ids.of(sender)
    const pending = ids?.pending.get(key)
    const former = pending?.fingerprint ?? ids?.find(key)
    if (former === undefined) return undefined
    if (former !== fingerprint) throw new OspError('id-reused')
    return pending?.done ?? Promise.resolve()
  }

  /** Throws an OspError for the first limit, or share of a limit (`fitsShare`), that the message would exceed. */
  #checkBounds(sender: string, recipients: readonly string[], bytes: number, bounds: MailboxBounds): void {
    const { ids, waiting } = this.#index
    const { sharePercent } = bounds
    const own = ids.countOf(sender)
    if (own >= bounds.senderIds || !fitsShare({ most: bounds.allIds, held: ids.count }, own, 1, sharePercent)) {
      throw new OspError('rate-limited', `${sender} has sent too many messages recently; try again later`)
    }
    const pool = { most: bounds.allMessages, held: waiting }
    const { messages } = this.#index.waitingOf(sender)
    if (!fitsShare(pool, messages, recipients.length, sharePercent)) {
      throw fullMailbox(sender, recipients, waiting + recipients.length <= pool.most)
    }
    const full = recipients.filter((user) => !this.#hasSpace(user, sender, bytes, bounds, sharePercent))
    if (full.length === 0) return
    const hasSpace = full.every((user) => this.#hasSpace(user, sender, bytes, bounds, 100))
    throw fullMailbox(sender, full, hasSpace)
  }

  #hasSpace(user: string, sender: string, bytes: number, bounds: MailboxBounds, sharePercent: number): boolean {
    const mailbox = this.#index.mailbox(user) ?? empty
    const own = mailbox.amountOf(sender)
    return (
      fitsShare({ most: bounds.messages, held: mailbox.messages }, own.messages, 1, sharePercent) &&
      fitsShare({ most: bounds.bytes, held: mailbox.bytes }, own.bytes, bytes, sharePercent)
    )
  }
}

/** `hasSpace` means that there is space, but not for this sender. */
function fullMailbox(sender: string, recipients: readonly string[], hasSpace: boolean): OspError {
  const names = recipients.join(', ')
  const text = hasSpace
    ? `the waiting messages of ${sender} fill the share of one sender; try again after some are received: no space in the mailbox of ${names}`
    : `no space in the mailbox of ${names}`
  return new OspError('mailbox-full', text, { recipients })
}

/** The bytes of the latest messages that are cached. */
const recentBytes = 4 * MiB
/** The memory of a cached message besides its record, in bytes. */
const overheadBytes = 64

/** Caches the records of the latest messages, so that listening recipients get them without a read of the disk. */
class RecentRecords {
  readonly #entries = new Queue<IndexEntry>()
  #bytes = 0

  add(entry: IndexEntry, record: Buffer): void {
    entry.record = record
    this.#entries.push(entry)
    this.#bytes += entry.length + overheadBytes
    while (this.#bytes > recentBytes) {
      const oldest = this.#entries.shift()
      if (!oldest) return
      oldest.record = undefined
      this.#bytes -= oldest.length + overheadBytes
    }
  }
}
