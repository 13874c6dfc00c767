import { fixed } from '../../limits.ts'

/** A message that was sent to its recipient, until its removal from the mailbox is durable. */
export interface Sent {
  readonly seq: number
  /** Length of its content. */
  readonly bytes: number
  /** The seq of its REQ on this link. */
  request: number
  attempt: number
  /** Bytes of content in memory that the socket has not taken. */
  bufferedBytes: number
  /** When the message is sent again: Infinity until the socket has taken it, and after its answer. */
  dueAt: number
  answered: boolean
  removed: boolean
}

/** The messages sent on one link, in mailbox order. Removed ones keep their place until all before are removed. */
export class InFlightWindow {
  readonly #maxMessages: number
  readonly #maxBytes: number
  readonly #sent: Sent[] = []
  #bytes = 0

  constructor(maxMessages: number, maxBytes: number) {
    this.#maxMessages = maxMessages
    this.#maxBytes = maxBytes
  }

  [Symbol.iterator](): Iterator<Sent> {
    return this.#sent[Symbol.iterator]()
  }

  /** How much more may be sent. The last message may exceed the bytes, so that a large message can be sent at all. */
  get free(): { readonly messages: number; readonly bytes: number } {
    const messages = this.#maxMessages - this.#sent.length
    const bytes = this.#maxBytes - this.#bytes
    return messages > 0 && bytes > 0 ? { messages, bytes } : { messages: 0, bytes: 0 }
  }

  /** Returns the first message that is due to be sent again. */
  overdue(now: number): Sent | undefined {
    return this.#sent.find(({ dueAt }) => dueAt <= now)
  }

  /** When the next message is due to be sent again, or Infinity. */
  get dueAt(): number {
    let earliest = Number.POSITIVE_INFINITY
    for (const { dueAt } of this.#sent) earliest = Math.min(earliest, dueAt)
    return earliest
  }

  /** Adds a message that the socket has not taken yet. */
  add(seq: number, bytes: number, attempt: number): Sent {
    const dueAt = Number.POSITIVE_INFINITY
    const sent: Sent = { seq, bytes, request: 0, attempt, bufferedBytes: bytes, dueAt, answered: false, removed: false }
    this.#sent.push(sent)
    this.#bytes += bytes
    return sent
  }

  /** Forgets removed messages up to the first that is not removed. */
  settle(): void {
    while (this.#sent[0]?.removed) this.#bytes -= this.#sent.shift()?.bytes ?? 0
  }
}

/** Returns how long to wait for the answer to an attempt: `deliveryMs` for the first, and twice as long for each next one. */
export function answerMs(attempt: number, deliveryMs: number): number {
  return Math.max(deliveryMs, Math.min(deliveryMs * 2 ** (attempt - 1), fixed.mostTimeoutMs))
}
