import type { Place } from '../journal/journal.ts'

/** What is known of a message that waits in one or more mailboxes; its content is in the journal. */
export class IndexEntry implements Place {
  readonly seq: number
  readonly sender: string
  /** ms of the age clock. */
  readonly storedAt: number
  /** Of the content. */
  readonly bytes: number
  /** Of its record. */
  length: number
  /** -1 until it is durable. */
  segment = -1
  offset = 0
  /** In how many mailboxes it is. */
  waiting = 0
  /** Its record, while that is kept at hand. */
  record: Buffer | undefined = undefined

  constructor(seq: number, sender: string, storedAt: number, bytes: number, length: number) {
    this.seq = seq
    this.sender = sender
    this.storedAt = storedAt
    this.bytes = bytes
    this.length = length
  }

  get isDurable(): boolean {
    return this.segment >= 0
  }

  /** Whether it lies there. */
  isAt(place: Place): boolean {
    return this.segment === place.segment && this.offset === place.offset
  }
}

/** Gaps that are left where they are, however short a mailbox is. */
const fewGaps = 32

/** How many messages there are, and the bytes of their content. */
export interface Amount {
  messages: number
  bytes: number
}

const none: Readonly<Amount> = { messages: 0, bytes: 0 }

/** The messages of one user, by rising seq. */
export class Mailbox {
  /** How many there are, and the bytes of their content. What is not durable yet and what was set aside count. */
  messages = 0
  bytes = 0
  // Two arrays of the same length: what was taken out leaves a gap in the second one.
  #seqs: number[] = []
  #held: (IndexEntry | undefined)[] = []
  #aside: Set<number> | undefined
  /** The sender of all, or what each of several has sent: most mailboxes have few senders, and a Map takes memory. */
  #sender = ''
  #senders: Map<string, Amount> | undefined

  /** The message of this seq. */
  get(seq: number): IndexEntry | undefined {
    const at = this.#indexOf(seq)
    return this.#seqs[at] === seq ? this.#held[at] : undefined
  }

  /** Puts a message in its place, if it is not there. */
  put(held: IndexEntry): boolean {
    const at = this.#indexOf(held.seq)
    if (at === this.#seqs.length) {
      this.#seqs.push(held.seq)
      this.#held.push(held)
    } else if (this.#seqs[at] !== held.seq) {
      this.#seqs.splice(at, 0, held.seq)
      this.#held.splice(at, 0, held)
    } else if (this.#held[at]) return false
    else this.#held[at] = held
    this.#add(held, 1)
    return true
  }

  /** Takes a message out, if it is there. It does not stay set aside. */
  take(seq: number): IndexEntry | undefined {
    const at = this.#indexOf(seq)
    const held = this.#seqs[at] === seq ? this.#held[at] : undefined
    if (!held) return undefined
    this.#held[at] = undefined
    this.#aside?.delete(seq)
    this.#add(held, -1)
    if (this.#seqs.length - this.messages > this.messages + fewGaps) this.#close()
    return held
  }

  /** What of it one sender has sent. */
  of(sender: string): Readonly<Amount> {
    if (this.#senders) return this.#senders.get(sender) ?? none
    return sender === this.#sender ? this : none
  }

  /** Whether a message that is there was set aside. */
  isAside(seq: number): boolean {
    return this.#aside?.has(seq) ?? false
  }

  setAside(seq: number): void {
    this.#aside ??= new Set()
    this.#aside.add(seq)
  }

  unsetAside(seq: number): void {
    this.#aside?.delete(seq)
  }

  /** Every message behind `afterSeq`. None may be put or taken before the next one is asked for, but the one at hand. */
  *behind(afterSeq: number): Iterable<IndexEntry> {
    const seqs = this.#seqs
    const all = this.#held
    for (let at = this.#indexOf(afterSeq + 1); at < seqs.length; at++) {
      const held = all[at]
      if (held) yield held
    }
  }

  /** Counts a message that comes (1) or goes (-1). */
  #add({ sender, bytes }: IndexEntry, sign: 1 | -1): void {
    if (!this.#senders && sender !== this.#sender) {
      if (this.messages > 0) this.#senders = new Map([[this.#sender, { messages: this.messages, bytes: this.bytes }]])
      else this.#sender = sender
    }
    this.messages += sign
    this.bytes += sign * bytes
    if (this.#senders) addTo(this.#senders, sender, sign, bytes)
  }

  // New arrays, so that whoever goes through the former ones is not disturbed.
  #close(): void {
    const there = this.#held.filter((held) => held !== undefined)
    this.#held = there
    this.#seqs = there.map(({ seq }) => seq)
  }

  /** Where this seq is, or would be. */
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

function addTo(senders: Map<string, Amount>, sender: string, sign: 1 | -1, bytes: number): void {
  const amount = senders.get(sender)
  if (!amount) {
    senders.set(sender, { messages: sign, bytes: sign * bytes })
    return
  }
  amount.messages += sign
  amount.bytes += sign * bytes
  if (amount.messages === 0) senders.delete(sender)
}
