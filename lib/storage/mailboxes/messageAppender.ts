import { Queue } from '../../core/queue.ts'
import { OspError } from '../../errors.ts'
import { MiB } from '../../limits.ts'
import type { MailboxBounds, MailboxStore, NewMessage, StoredMessage } from '../../ports/mailboxes.ts'
import type { Platform } from '../../ports/platform.ts'
import { fitsShare, shareReserve } from '../../runtime/share.ts'
import type { JournalWriter } from '../journal/journalWriter.ts'
import { IndexEntry, Mailbox } from './mailbox.ts'
import type { MailboxIndex } from './mailboxIndex.ts'
import { bodyFingerprintOf, keyOf, keyOfId, storedMessage, writeMessage } from './records.ts'

const empty = new Mailbox()

type PostedMessage = Parameters<MailboxStore['full']>[0]

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
        if (entry.waiting > 0) this.#recent.add(entry, storedMessage(record))
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
    if (this.#lacksIds(sender, bounds)) {
      throw new OspError('rate-limited', `${sender} has sent too many messages recently; try again later`)
    }
    const { waiting } = this.#index
    if (!this.#fitsAll(sender, recipients, bounds)) {
      throw fullMailbox(sender, recipients, waiting + recipients.length <= bounds.allMessages)
    }
    const full = recipients.filter((user) => !this.#hasSpace(user, sender, bytes, bounds, bounds.sharePercent))
    if (full.length === 0) return
    const hasSpace = full.every((user) => this.#hasSpace(user, sender, bytes, bounds, 100))
    throw fullMailbox(sender, full, hasSpace)
  }

  /** Implements `MailboxStore.full`. */
  full(
    { sender, id, content }: PostedMessage,
    recipients: readonly string[],
    bounds: MailboxBounds,
  ): readonly string[] {
    const hasSpace = (user: string) => this.#hasSpace(user, sender, content.length, bounds, bounds.sharePercent)
    const full = this.#fitsAll(sender, recipients, bounds) ? recipients.filter((user) => !hasSpace(user)) : recipients
    if (full.length === 0 || this.#lacksIds(sender, bounds)) return []
    const ids = this.#index.ids.of(sender)
    const key = keyOfId(id)
    return ids?.pending.has(key) || ids?.find(key) !== undefined ? [] : full
  }

  #lacksIds(sender: string, { senderIds, allIds, sharePercent }: MailboxBounds): boolean {
    const { ids } = this.#index
    const own = ids.countOf(sender)
    return own >= senderIds || !fitsShare({ most: allIds, held: ids.count }, own, 1, sharePercent)
  }

  #fitsAll(sender: string, recipients: readonly string[], { allMessages, sharePercent }: MailboxBounds): boolean {
    const pool = { most: allMessages, held: this.#index.waiting }
    return fitsShare(pool, this.#index.waitingOf(sender).messages, recipients.length, sharePercent)
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
const overheadBytes = 256

/** Caches the latest messages, so that listening recipients get them without a read of the disk. */
class RecentRecords {
  readonly #entries = new Queue<IndexEntry>()
  #bytes = 0

  add(entry: IndexEntry, message: StoredMessage): void {
    entry.message = message
    this.#entries.push(entry)
    this.#bytes += entry.length + overheadBytes
    while (this.#bytes > recentBytes) {
      const oldest = this.#entries.shift()
      if (!oldest) return
      oldest.message = undefined
      this.#bytes -= oldest.length + overheadBytes
    }
  }
}
