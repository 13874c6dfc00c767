import type { Expired, MailboxLevel } from '../../ports/mailboxes.ts'
import type { Place } from '../journal/journal.ts'
import { KnownDevices } from './devices.ts'
import { type Amount, addTo, type IndexEntry, Mailbox, none, type SenderAmounts } from './mailbox.ts'
import { SentIds } from './sentIds.ts'

/** The minimum size of a remembered id in the journal, in bytes. */
const idBytes = 28

/**
 * The part of the journal that is kept in memory: the messages of each mailbox, the known devices, the remembered ids and the latest
 * time.
 */
export class MailboxIndex {
  readonly ids = new SentIds()
  readonly devices = new KnownDevices()
  /** The messages of all mailboxes, counted once for each mailbox. */
  waiting = 0
  /** The bytes of their content, counted in the same way. */
  bytes = 0
  /** The messages with a time to live, counted in the same way. */
  #limited = 0
  /** The receipts that are expected, in total and by sender. */
  expected = 0
  readonly #expected = new Map<string, number>()
  /** The highest seq of a durable message. */
  lastSeq = 0
  lastTime = 0
  /** Messages and ids that were stored before these times are removed, or about to be removed. */
  messagesBefore = 0
  idsBefore = 0
  readonly #mailboxes = new Map<string, Mailbox>()
  /** The waiting messages of each sender, counted once for each mailbox, and the bytes of their records in the journal. */
  readonly #senders: SenderAmounts = new Map()
  /** The same messages, with the bytes of their content for each mailbox. */
  readonly #contents: SenderAmounts = new Map()
  /** By segment, the bytes of its messages that still wait. */
  readonly #liveIn = new Map<number, number>()
  #live = 0
  /** The characters of the reasons of rejected messages that wait for other devices. */
  #reasons = 0

  /** The minimum size in bytes of a journal of the current contents. */
  get liveBytes(): number {
    return this.#live + this.#reasons + idBytes * this.ids.durable + this.devices.bytes
  }

  /** Returns the mailbox of a user, if it contains messages. */
  mailbox(user: string): Mailbox | undefined {
    return this.#mailboxes.get(user)
  }

  /** Returns the mailboxes that contain messages, with their users. */
  mailboxes(): Iterable<readonly [user: string, mailbox: Mailbox]> {
    return this.#mailboxes
  }

  /** Returns the waiting messages of a sender, and the bytes of their records. */
  waitingOf(sender: string): Readonly<Amount> {
    return this.#senders.get(sender) ?? none
  }

  /** Returns the waiting messages of a sender, and the bytes of their content, counted once for each mailbox. */
  contentsOf(sender: string): Readonly<Amount> {
    return this.#contents.get(sender) ?? none
  }

  /** Returns the number of receipts that a sender expects. */
  expectedBy(sender: string): number {
    return this.#expected.get(sender) ?? 0
  }

  /** Returns the string that all messages of a sender share. A separate one for each message would take memory. */
  nameOf(sender: string): string {
    return this.#senders.get(sender)?.sender ?? sender
  }

  get(user: string, seq: number): IndexEntry | undefined {
    return this.#mailboxes.get(user)?.get(seq)
  }

  add(user: string, entry: IndexEntry): void {
    const mailbox = this.#mailboxes.get(user) ?? new Mailbox()
    this.#mailboxes.set(user, mailbox)
    if (!mailbox.add(entry)) return
    this.waiting++
    this.bytes += entry.bytes
    if (entry.expiresAt > 0) this.#limited++
    this.#expect(entry, 1)
    addTo(this.#contents, entry.sender, 1, entry.bytes)
    const bytes = entry.waiting++ === 0 ? entry.length : 0
    addTo(this.#senders, entry.sender, 1, bytes)
    if (bytes > 0 && entry.isDurable) this.#count(entry, bytes)
  }

  /** Removes a message from a mailbox and returns it, if the mailbox contains it. */
  remove(user: string, seq: number): IndexEntry | undefined {
    const mailbox = this.#mailboxes.get(user)
    const wasAside = mailbox?.isAside(seq)
    this.reject(user, seq, undefined)
    const entry = mailbox?.remove(seq)
    if (!mailbox || !entry) return undefined
    if (!wasAside) this.#expect(entry, -1)
    if (mailbox.messages === 0) this.#mailboxes.delete(user)
    this.waiting--
    this.bytes -= entry.bytes
    if (entry.expiresAt > 0) this.#limited--
    addTo(this.#contents, entry.sender, -1, -entry.bytes)
    const bytes = --entry.waiting === 0 ? entry.length : 0
    addTo(this.#senders, entry.sender, -1, -bytes)
    if (entry.waiting > 0) return entry
    entry.message = undefined
    if (entry.isDurable) this.#count(entry, -bytes)
    return entry
  }

  /** Records the reason for which a device has rejected a message that waits for other devices, or removes it. */
  reject(user: string, seq: number, reason: string | undefined): void {
    const mailbox = this.#mailboxes.get(user)
    if (!mailbox?.get(seq) || mailbox.isAside(seq)) return
    this.#reasons += (reason?.length ?? 0) - (mailbox.rejection(seq)?.length ?? 0)
    mailbox.reject(seq, reason)
  }

  /**
   * Sets a message aside, or returns it. The sender expects no receipt for a message that is set aside, and the reason of a device
   * is forgotten.
   */
  setAside(user: string, seq: number, isAside = true): void {
    const mailbox = this.#mailboxes.get(user)
    const entry = mailbox?.get(seq)
    if (!mailbox || !entry || mailbox.isAside(seq) === isAside) return
    this.reject(user, seq, undefined)
    mailbox.setAside(seq, isAside)
    this.#expect(entry, isAside ? -1 : 1)
  }

  /** Sets the place at which a message is durable. */
  locate(entry: IndexEntry, { segment, offset, length }: Place): void {
    if (entry.waiting > 0 && entry.isDurable) this.#count(entry, -entry.length)
    if (entry.waiting > 0) addTo(this.#senders, entry.sender, 0, length - entry.length)
    entry.segment = segment
    entry.offset = offset
    entry.length = length
    if (entry.waiting > 0) this.#count(entry, entry.length)
  }

  /** Removes the messages that were stored before `time`. */
  expireMessages(time: number): readonly Expired[] {
    const expired: Expired[] = []
    for (const [user, mailbox] of this.#mailboxes) {
      let messages = 0
      for (const entry of mailbox.after(0)) {
        if (entry.storedAt >= time || !entry.isDurable) break
        this.remove(user, entry.seq)
        messages++
      }
      if (messages > 0) expired.push({ user, messages })
    }
    return expired
  }

  /** Returns the durable messages whose time to live has expired at `time`, in each mailbox for whose user `isFree` returns true. */
  overdue(time: number, isFree: (user: string) => boolean = () => true): readonly { user: string; seqs: number[] }[] {
    const overdue: { user: string; seqs: number[] }[] = []
    if (this.#limited === 0) return overdue
    for (const [user, mailbox] of this.#mailboxes) {
      if (!isFree(user)) continue
      const seqs: number[] = []
      for (const { seq, expiresAt, isDurable } of mailbox.after(0))
        if (expiresAt > 0 && expiresAt <= time && isDurable) seqs.push(seq)
      if (seqs.length > 0) overdue.push({ user, seqs })
    }
    return overdue
  }

  /** Returns the earliest time at which the time to live of a message ends, in the mailboxes for whose user `isFree` returns true. */
  nextExpiry(isFree: (user: string) => boolean): number | undefined {
    let next = Number.POSITIVE_INFINITY
    if (this.#limited === 0) return undefined
    for (const [user, mailbox] of this.#mailboxes) {
      if (!isFree(user)) continue
      for (const { expiresAt } of mailbox.after(0)) if (expiresAt > 0) next = Math.min(next, expiresAt)
    }
    return next < Number.POSITIVE_INFINITY ? next : undefined
  }

  /**
   * Returns up to `most` durable messages of one mailbox that have expired by age or time to live, and whose senders expect receipts.
   */
  expiredAsking(before: number, time: number, most: number): { user: string; seqs: number[] } | undefined {
    if (this.expected === 0) return undefined
    for (const [user, mailbox] of this.#mailboxes) {
      const seqs: number[] = []
      for (const { seq, storedAt, expiresAt, askingId, isDurable } of mailbox.after(0)) {
        const isExpired = storedAt < before || (expiresAt > 0 && expiresAt <= time)
        if (isExpired && askingId !== undefined && isDurable && !mailbox.isAside(seq)) seqs.push(seq)
        if (seqs.length === most) break
      }
      if (seqs.length > 0) return { user, seqs }
    }
    return undefined
  }

  /** Removes the messages of a segment that cannot be read. */
  removeSegment(segment: number): void {
    if ((this.#liveIn.get(segment) ?? 0) === 0) return
    for (const [user, mailbox] of this.#mailboxes) {
      for (const entry of mailbox.after(0)) if (entry.segment === segment) this.remove(user, entry.seq)
    }
  }

  levels(): readonly MailboxLevel[] {
    const levels = Array.from(this.#mailboxes, ([user, { messages, bytes }]) => ({ user, messages, bytes }))
    return levels.sort((a, b) => (a.user < b.user ? -1 : 1))
  }

  /** If the message asks for receipts, counts a receipt as expected (1) or as no longer expected (-1). */
  #expect({ askingId, sender }: IndexEntry, sign: 1 | -1): void {
    if (askingId === undefined) return
    this.expected += sign
    const own = this.expectedBy(sender) + sign
    if (own === 0) this.#expected.delete(sender)
    else this.#expected.set(sender, own)
  }

  #count(entry: IndexEntry, bytes: number): void {
    this.#live += bytes
    const there = (this.#liveIn.get(entry.segment) ?? 0) + bytes
    if (there === 0) this.#liveIn.delete(entry.segment)
    else this.#liveIn.set(entry.segment, there)
  }
}
