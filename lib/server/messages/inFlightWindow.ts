import { fixed } from '../../limits.ts'

/** Messages that were sent to their recipient in one REQ, until the removal of each from the mailbox is durable. */
export interface SentBatch {
  /** The seqs of the messages in the mailbox, rising, and the lengths of their contents. */
  readonly seqs: readonly number[]
  readonly lengths: readonly number[]
  /** The seq of the REQ on this link. */
  request: number
  attempt: number
  /** Bytes of content in memory that the socket has not taken. */
  bufferedBytes: number
  /** When the REQ is sent again: Infinity until the socket has taken it, and after its answer. */
  dueAt: number
  /** The number of leading messages that the recipient has answered. */
  answered: number
  /** The number of leading messages that have left the mailbox. */
  removed: number
}

/** Returns the sum of `lengths` from the index `from` to before `to`. */
export function sumOf(lengths: readonly number[], from = 0, to = lengths.length): number {
  let sum = 0
  for (let at = from; at < to; at++) sum += lengths[at] ?? 0
  return sum
}

/** The batches sent on one link, in mailbox order. Removed messages keep their place until all before are removed. */
export class InFlightWindow {
  readonly #maxMessages: number
  readonly #maxBytes: number
  readonly #batches: SentBatch[] = []
  #messages = 0
  #bytes = 0
  /** The number of messages of the first batch that no longer count. */
  #settled = 0

  constructor(maxMessages: number, maxBytes: number) {
    this.#maxMessages = maxMessages
    this.#maxBytes = maxBytes
  }

  [Symbol.iterator](): Iterator<SentBatch> {
    return this.#batches[Symbol.iterator]()
  }

  /** How much more may be sent. The last message may exceed the bytes, so that a large message can be sent at all. */
  get free(): { readonly messages: number; readonly bytes: number } {
    const messages = this.#maxMessages - this.#messages
    const bytes = this.#maxBytes - this.#bytes
    return messages > 0 && bytes > 0 ? { messages, bytes } : { messages: 0, bytes: 0 }
  }

  /** Whether at least half of the window is free. */
  get isHalfFree(): boolean {
    return 2 * this.#messages <= this.#maxMessages && 2 * this.#bytes <= this.#maxBytes
  }

  /** Returns the first batch that is due to be sent again. */
  overdue(now: number): SentBatch | undefined {
    return this.#batches.find(({ dueAt }) => dueAt <= now)
  }

  /** When the next batch is due to be sent again, or Infinity. */
  get dueAt(): number {
    let earliest = Number.POSITIVE_INFINITY
    for (const { dueAt } of this.#batches) earliest = Math.min(earliest, dueAt)
    return earliest
  }

  /** The seq of the last message that was sent, or 0. */
  get lastSeq(): number {
    return this.#batches.at(-1)?.seqs.at(-1) ?? 0
  }

  /** Adds messages that the socket has not taken yet. */
  add(seqs: readonly number[], lengths: readonly number[], attempt: number): SentBatch {
    const bytes = sumOf(lengths)
    const dueAt = Number.POSITIVE_INFINITY
    const batch: SentBatch = {
      seqs,
      lengths,
      request: 0,
      attempt,
      bufferedBytes: bytes,
      dueAt,
      answered: 0,
      removed: 0,
    }
    this.#batches.push(batch)
    this.#messages += seqs.length
    this.#bytes += bytes
    return batch
  }

  /** Forgets removed messages up to the first that is not removed. */
  settle(): void {
    for (let first = this.#batches[0]; first; first = this.#batches[0]) {
      this.#messages -= first.removed - this.#settled
      this.#bytes -= sumOf(first.lengths, this.#settled, first.removed)
      this.#settled = first.removed
      if (first.removed < first.seqs.length) return
      this.#batches.shift()
      this.#settled = 0
    }
  }
}

/** Returns how long to wait for the answer to an attempt: `deliveryMs` for the first, and twice as long for each next one. */
export function answerMs(attempt: number, deliveryMs: number): number {
  return Math.max(deliveryMs, Math.min(deliveryMs * 2 ** (attempt - 1), fixed.mostTimeoutMs))
}
