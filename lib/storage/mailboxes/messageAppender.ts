import { Queue } from '../../core/queue.ts'
import { OspError } from '../../errors.ts'
import { fixed, MiB } from '../../limits.ts'
import { receiptMailbox } from '../../names.ts'
import type { AddressedMessage, MailboxBounds, MailboxStore, StoredMessage } from '../../ports/mailboxes.ts'
import type { Platform } from '../../ports/platform.ts'
import { fitsShare, partsFitShare, shareReserve } from '../../runtime/share.ts'
import type { Place } from '../journal/journal.ts'
import type { JournalWriter } from '../journal/journalWriter.ts'
import { type Amount, IndexEntry, Mailbox } from './mailbox.ts'
import { pushTo } from './mailboxContents.ts'
import type { MailboxIndex } from './mailboxIndex.ts'
import { bodyFingerprintOf, keyOf, keyOfId, storedMessage, writeMessage, writeSeqs } from './records.ts'
import type { PendingId } from './sentIds.ts'

const empty = new Mailbox()

type Outcomes = Awaited<ReturnType<MailboxStore['append']>>

/** Messages of one sender that become durable together. */
interface Batch {
  readonly sender: string
  readonly added: Added[]
  done: Promise<void>
}

/** A message that is in the index, and is not durable yet. */
interface Added extends PendingId {
  readonly entry: IndexEntry
  readonly key: string
  readonly record: Buffer
  readonly recipients: readonly string[]
}

/** The rules of `MailboxStore.append`. */
export class MessageAppender {
  readonly #index: MailboxIndex
  readonly #writer: JournalWriter
  readonly #recent = new RecentRecords()
  readonly #crc32: Platform['crc32']
  /** The last assigned seq. A failed append does not return its seq. */
  #lastSeq = 0

  constructor(index: MailboxIndex, writer: JournalWriter, crc32: Platform['crc32']) {
    this.#index = index
    this.#writer = writer
    this.#crc32 = crc32
  }

  /** Implements `MailboxStore.append`. */
  async append(messages: readonly AddressedMessage[], bounds: MailboxBounds): Promise<Outcomes> {
    const batch: Batch = { sender: messages[0]?.sender ?? '', added: [], done: Promise.resolve() }
    const outcomes: (OspError | undefined)[] = []
    /** For each append, the indexes of the messages whose outcome it decides. */
    const deciding = new Map<PendingId['append'], number[]>()
    for (const [at, message] of messages.entries()) {
      try {
        const append = this.#add(message, bounds, batch)
        if (append) pushTo(deciding, append, at)
        outcomes.push(undefined)
      } catch (error) {
        outcomes.push(OspError.from(error))
      }
    }
    if (batch.added.length > 0) batch.done = this.#store(batch, bounds)
    // This append can fail while the loop below still waits for an earlier one.
    batch.done.catch(() => {})
    for (const [{ done }, decided] of deciding) {
      const error = await done.then(() => undefined, OspError.from)
      if (error) for (const at of decided) outcomes[at] = error
    }
    return outcomes
  }

  /**
   * Adds a message to the batch unless it is a repetition. Returns the append that decides its outcome, or `undefined` for a
   * durable message. Throws the error of a message that is refused at once.
   */
  #add(message: AddressedMessage, bounds: MailboxBounds, batch: Batch): PendingId['append'] | undefined {
    const { sender, storedAt, expiresAt, content, recipients, receipt } = message
    const { ids } = this.#index
    const seq = this.#followingSeq
    const record = writeMessage(seq, message, recipients, this.#crc32)
    const key = keyOf(record)
    const fingerprint = bodyFingerprintOf(record)
    const known = ids.of(sender)
    const pending = known?.pending.get(key)
    const former = pending?.fingerprint ?? known?.find(key)
    if (former !== undefined) {
      if (former !== fingerprint) throw new OspError('id-reused')
      return pending?.append
    }
    try {
      this.#checkBounds(message, bounds)
    } catch (refusal) {
      throw this.#writer.uncertainty ?? refusal
    }
    this.#lastSeq = seq
    const name = this.#index.nameOf(sender)
    const askingId = receipt ? key : undefined
    const entry = new IndexEntry(seq, name, storedAt, content.length, record.length, expiresAt, askingId)
    for (const user of recipients) this.#index.add(user, entry)
    const added = { entry, key, fingerprint, record, recipients, append: batch }
    batch.added.push(added)
    ids.expect(sender, key, added)
    return batch
  }

  /** Assigns the seq of the next message, and returns it. */
  nextSeq(): number {
    this.#lastSeq = this.#followingSeq
    return this.#lastSeq
  }

  get #followingSeq(): number {
    return Math.max(this.#lastSeq, this.#index.lastSeq) + 1
  }

  #store({ sender, added }: Batch, { reserveBytes, sharePercent }: MailboxBounds): Promise<void> {
    return this.#writer.add({
      records: added.map(({ record }) => record),
      reserveBytes,
      shareBytes: shareReserve(this.#index.waitingOf(sender).bytes, sharePercent),
      durable: (places) => {
        for (const [at, place] of places.entries()) this.#durable(added[at], place)
      },
      undo: () => {
        for (const { entry, key, recipients } of added.toReversed()) {
          this.#index.ids.giveUp(sender, key)
          for (const user of recipients) this.#index.remove(user, entry.seq)
        }
      },
    })
  }

  #durable(added: Added | undefined, place: Place): void {
    if (!added) return
    const { entry, key, fingerprint, record } = added
    const { seq, sender, storedAt } = entry
    const index = this.#index
    index.ids.confirm(sender, key, fingerprint, storedAt)
    index.lastSeq = Math.max(index.lastSeq, seq)
    index.lastTime = Math.max(index.lastTime, storedAt)
    index.locate(entry, place)
    if (entry.waiting > 0) this.#recent.add(entry, storedMessage(record, sender))
  }

  /** Throws an OspError for the first limit, or share of a limit (`fitsShare`), that the message would exceed. */
  #checkBounds({ sender, recipients, content, receipt }: AddressedMessage, bounds: MailboxBounds): void {
    if (this.#lacksIds(sender, bounds)) {
      throw new OspError('rate-limited', `${sender} has sent too many messages recently; try again later`)
    }
    const index = this.#index
    const receipts = receipt ? recipients.length : 0
    const waitingReceipts = index.mailbox(receiptMailbox(sender))?.messages ?? 0
    if (receipts > 0 && index.expectedBy(sender) + waitingReceipts + receipts > bounds.receipts) throw tooManyReceipts()
    const copies = recipients.length + receipts
    if (!this.#fitsAll(sender, copies, bounds)) {
      throw fullMailbox(sender, recipients, index.waiting + index.expected + copies <= bounds.allMessages)
    }
    const added = { messages: 1, bytes: content.length }
    const full = recipients.filter((user) => !this.#hasSpace(user, sender, added, bounds))
    if (full.length > 0) {
      const unshared = { ...bounds, sharePercent: 100 }
      const hasSpace = full.every((user) => this.#hasSpace(user, sender, added, unshared))
      throw fullMailbox(sender, full, hasSpace)
    }
    const pool = { most: bounds.allBytes, held: index.bytes + index.expected * fixed.receiptBytes }
    const own = index.contentsOf(sender).bytes + index.expectedBy(sender) * fixed.receiptBytes
    const more = content.length * recipients.length + receipts * fixed.receiptBytes
    if (!fitsShare(pool, own, more, bounds.sharePercent)) throw fullMessageStore(fitsShare(pool, own, more, 100))
  }

  /** Implements `MailboxStore.return` for these messages, which are set aside. */
  async return(user: string, found: readonly { entry: IndexEntry; record: Buffer }[], storedAt: number): Promise<void> {
    const index = this.#index
    const returned = found.map(({ entry, record: former }) => {
      const seq = this.nextSeq()
      const message = { ...storedMessage(former), storedAt, receipt: false }
      const record = writeMessage(seq, message, [user], () => bodyFingerprintOf(former))
      const { sender, bytes, expiresAt } = entry
      const added = new IndexEntry(seq, sender, storedAt, bytes, record.length, expiresAt)
      index.remove(user, entry.seq)
      index.add(user, added)
      return { entry, added, record }
    })
    const seqs = found.map(({ entry: { seq } }) => seq)
    // The copies are written first: a crash between the records loses nothing.
    const records = returned.map(({ record }) => record)
    await this.#writer.add({
      records: seqs.length > 0 ? [...records, writeSeqs('removed', { user, seqs })] : [],
      durable(places) {
        for (const [at, { added }] of returned.entries()) {
          const place = places[at]
          if (!place) continue
          index.locate(added, place)
          index.lastSeq = Math.max(index.lastSeq, added.seq)
          index.lastTime = Math.max(index.lastTime, storedAt)
        }
      },
      undo() {
        for (const { entry, added } of returned.toReversed()) {
          index.remove(user, added.seq)
          index.add(user, entry)
          index.setAside(user, entry.seq)
        }
      },
    })
  }

  /** Implements `MailboxStore.full`. */
  full(messages: Parameters<MailboxStore['full']>[0], bounds: MailboxBounds): readonly string[] {
    const [first] = messages
    if (!first || this.#lacksIds(first.sender, bounds)) return []
    const { sender, id } = first
    const users = messages.length === 1 ? first.recipients : recipientsOfAll(messages)
    let [copies, bytes] = [0, 0]
    for (const { recipients, content, receipt } of messages) {
      copies += recipients.length * (receipt ? 2 : 1)
      bytes += content.length
    }
    const added = { messages: messages.length, bytes }
    const fits = messages.length === 1 ? fitsShare : partsFitShare
    const hasSpace = (user: string) => this.#hasSpace(user, sender, added, bounds, fits)
    const full = this.#fitsAll(sender, copies, bounds, fits) ? users.filter((user) => !hasSpace(user)) : users
    if (full.length === 0 || messages.length > 1) return full
    const ids = this.#index.ids.of(sender)
    const key = keyOfId(id)
    return ids?.pending.has(key) || ids?.find(key) !== undefined ? [] : full
  }

  #lacksIds(sender: string, { senderIds, allIds, sharePercent }: MailboxBounds): boolean {
    const { ids } = this.#index
    const own = ids.countOf(sender)
    return own >= senderIds || !fitsShare({ most: allIds, held: ids.count }, own, 1, sharePercent)
  }

  #fitsAll(
    sender: string,
    copies: number,
    { allMessages, sharePercent }: MailboxBounds,
    fits: typeof fitsShare = fitsShare,
  ): boolean {
    const index = this.#index
    const pool = { most: allMessages, held: index.waiting + index.expected }
    return fits(pool, index.waitingOf(sender).messages + index.expectedBy(sender), copies, sharePercent)
  }

  #hasSpace(
    user: string,
    sender: string,
    added: Readonly<Amount>,
    { messages, bytes, sharePercent }: MailboxBounds,
    fits: typeof fitsShare = fitsShare,
  ): boolean {
    const mailbox = this.#index.mailbox(user) ?? empty
    const own = mailbox.amountOf(sender)
    return (
      fits({ most: messages, held: mailbox.messages }, own.messages, added.messages, sharePercent) &&
      fits({ most: bytes, held: mailbox.bytes }, own.bytes, added.bytes, sharePercent)
    )
  }
}

function recipientsOfAll(messages: readonly Pick<AddressedMessage, 'recipients'>[]): readonly string[] {
  const users = new Set<string>()
  for (const { recipients } of messages) for (const user of recipients) users.add(user)
  return [...users]
}

/**
 * Returns the error for a message that does not fit in addition to the messages of all mailboxes. `hasSpace`: there is space, but
 * not for this sender.
 */
export function fullMessageStore(hasSpace = false): OspError {
  const text = hasSpace
    ? 'the waiting messages of one sender must leave space for those of others; try again after some are received'
    : 'the server has no space for more messages; try again after some are received'
  return new OspError('disk-full', text, { publicText: text })
}

/** Returns the error for a message that asks for receipts while its sender has too many. */
export function tooManyReceipts(): OspError {
  const text = 'too many receipts are waiting or expected; receive the waiting ones, or try again later'
  return new OspError('too-many-receipts', text, { publicText: text })
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
