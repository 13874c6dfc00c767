import type { StoredMessage } from '../../ports/mailboxes.ts'
import type { Place } from '../journal/journal.ts'

/** The entry of a message that waits in one or more mailboxes. The content of the message is in the journal. */
export class IndexEntry implements Place {
  readonly seq: number
  readonly sender: string
  /** Milliseconds of the retention clock. */
  readonly storedAt: number
  /** Bytes of the content. */
  readonly bytes: number
  /** Bytes of the record. */
  length: number
  /** The time at which its time to live ends, or 0 if it has none. */
  readonly expiresAt: number
  /** The id of a message whose sender gets receipts (`SentId.key`). */
  readonly askingId: string | undefined
  /** -1 until the message is durable. */
  segment = -1
  offset = 0
  /** The number of mailboxes that contain the message. */
  waiting = 0
  /** The message, while it is cached. */
  message: StoredMessage | undefined = undefined

  constructor(
    seq: number,
    sender: string,
    storedAt: number,
    bytes: number,
    length: number,
    expiresAt = 0,
    askingId?: string | undefined,
  ) {
    this.seq = seq
    this.sender = sender
    this.storedAt = storedAt
    this.bytes = bytes
    this.length = length
    this.expiresAt = expiresAt
    this.askingId = askingId
  }

  get isDurable(): boolean {
    return this.segment >= 0
  }

  isAt(place: Place): boolean {
    return this.segment === place.segment && this.offset === place.offset
  }
}

/** The number of gaps that a mailbox keeps, however short it is. */
const fewGaps = 32

/** A number of messages, and the bytes of their contents or records. */
export interface Amount {
  messages: number
  bytes: number
}

/** The amount of no messages. */
export const none: Readonly<Amount> = { messages: 0, bytes: 0 }

/** The amounts by sender. A sender without messages is absent. */
export type SenderAmounts = Map<string, Amount & { readonly sender: string }>

/** Adds to the amount of a sender. */
export function addTo(amounts: SenderAmounts, sender: string, messages: number, bytes: number): void {
  const amount = amounts.get(sender) ?? { sender, messages: 0, bytes: 0 }
  amounts.set(sender, amount)
  amount.messages += messages
  amount.bytes += bytes
  if (amount.messages === 0) amounts.delete(sender)
}

/** The messages of one user, by rising seq. */
export class Mailbox {
  /** The number and content bytes of the messages, including those that are set aside or not durable yet. */
  messages = 0
  bytes = 0
  // Two arrays of the same length. A removed message leaves a gap in the second one.
  #seqs: number[] = []
  #entries: (IndexEntry | undefined)[] = []
  #aside: Set<number> | undefined
  /** By seq, the reasons of messages that a device has rejected and other devices must still handle. */
  #rejected: Map<number, string> | undefined
  /** The only sender, or the amounts of several. Most mailboxes have few senders, and a Map takes memory. */
  #sender = ''
  #senders: SenderAmounts | undefined

  get(seq: number): IndexEntry | undefined {
    const at = this.#indexOf(seq)
    return this.#seqs[at] === seq ? this.#entries[at] : undefined
  }

  /** Adds a message and returns true, or returns false if the mailbox contains it. */
  add(entry: IndexEntry): boolean {
    const at = this.#indexOf(entry.seq)
    if (at === this.#seqs.length) {
      this.#seqs.push(entry.seq)
      this.#entries.push(entry)
    } else if (this.#seqs[at] !== entry.seq) {
      this.#seqs.splice(at, 0, entry.seq)
      this.#entries.splice(at, 0, entry)
    } else if (this.#entries[at]) return false
    else this.#entries[at] = entry
    this.#add(entry, 1)
    return true
  }

  /** Removes a message and returns it, if the mailbox contains it. The message is then no longer set aside. */
  remove(seq: number): IndexEntry | undefined {
    const at = this.#indexOf(seq)
    const entry = this.#seqs[at] === seq ? this.#entries[at] : undefined
    if (!entry) return undefined
    this.#entries[at] = undefined
    this.#aside?.delete(seq)
    this.#add(entry, -1)
    if (this.#seqs.length - this.messages > this.messages + fewGaps) this.#close()
    return entry
  }

  amountOf(sender: string): Readonly<Amount> {
    if (this.#senders) return this.#senders.get(sender) ?? none
    return sender === this.#sender ? this : none
  }

  isAside(seq: number): boolean {
    return this.#aside?.has(seq) ?? false
  }

  setAside(seq: number, isAside = true): void {
    this.#aside ??= new Set()
    if (isAside) this.#aside.add(seq)
    else this.#aside.delete(seq)
  }

  /** Returns the reason for which a device has rejected a message, if one has. */
  rejection(seq: number): string | undefined {
    return this.#rejected?.get(seq)
  }

  /** Records that a device has rejected a message, or, without a reason, that none has. */
  reject(seq: number, reason: string | undefined): void {
    this.#rejected ??= new Map()
    if (reason === undefined) this.#rejected.delete(seq)
    else this.#rejected.set(seq, reason)
  }

  /** Yields the messages after `afterSeq`. Until the next one is requested, only the yielded message may be removed. */
  *after(afterSeq: number): Iterable<IndexEntry> {
    const seqs = this.#seqs
    const all = this.#entries
    for (let at = this.#indexOf(afterSeq + 1); at < seqs.length; at++) {
      const entry = all[at]
      if (entry) yield entry
    }
  }

  /** Counts a message that is added (1) or removed (-1). */
  #add({ sender, bytes }: IndexEntry, sign: 1 | -1): void {
    if (this.messages === 0 && !this.#senders) this.#sender = sender
    else if (!this.#senders && sender !== this.#sender) {
      this.#senders = new Map()
      addTo(this.#senders, this.#sender, this.messages, this.bytes)
    }
    this.messages += sign
    this.bytes += sign * bytes
    if (this.#senders) addTo(this.#senders, sender, sign, sign * bytes)
  }

  // New arrays, so that iterations over the former ones continue undisturbed.
  #close(): void {
    const there = this.#entries.filter((entry) => entry !== undefined)
    this.#entries = there
    this.#seqs = there.map(({ seq }) => seq)
  }

  /** Returns the index of this seq, or the index where it belongs. */
  #indexOf(seq: number): number {
    const seqs = this.#seqs
    let from = 0
    let to = seqs.length
    if (to > 0 && seq > (seqs[to - 1] ?? 0)) return to
    while (from < to) {
      const middle = (from + to) >>> 1
      if ((seqs[middle] ?? 0) < seq) from = middle + 1
      else to = middle
    }
    return from
  }
}
