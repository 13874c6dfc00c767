import { fixed } from '../../limits.ts'

/** A message that was sent to its recipient, until its removal from the mailbox is durable. */
export interface Sent {
  readonly seq: number
  /** Of its content. */
  readonly bytes: number
  /** The seq of the REQ, on this link. */
  request: number
  attempt: number
  /** Bytes that are held in memory until they have left. */
  held: number
  /** When it is to be sent again; Infinity before it has left, and once it was answered. */
  dueAt: number
  answered: boolean
  removed: boolean
}

/** What was sent on one link, in the order of the mailbox. What is removed behind an unanswered message still counts. */
export class InFlightWindow {
  readonly #most: number
  readonly #mostBytes: number
  readonly #sent: Sent[] = []
  #bytes = 0

  constructor(most: number, mostBytes: number) {
    this.#most = most
    this.#mostBytes = mostBytes
  }

  [Symbol.iterator](): Iterator<Sent> {
    return this.#sent[Symbol.iterator]()
  }

  /** How many more may be sent. One always may, and the last one may go beyond the bytes. */
  get room(): { readonly messages: number; readonly bytes: number } {
    const messages = this.#most - this.#sent.length
    const bytes = this.#mostBytes - this.#bytes
    return messages > 0 && bytes > 0 ? { messages, bytes } : { messages: 0, bytes: 0 }
  }

  /** The first that is to be sent again. */
  overdue(now: number): Sent | undefined {
    return this.#sent.find(({ dueAt }) => dueAt <= now)
  }

  /** When one is to be sent again; Infinity: none. */
  get dueAt(): number {
    let earliest = Number.POSITIVE_INFINITY
    for (const { dueAt } of this.#sent) earliest = Math.min(earliest, dueAt)
    return earliest
  }

  /** A message is on its way; its bytes are held. */
  add(seq: number, bytes: number, attempt: number): Sent {
    const dueAt = Number.POSITIVE_INFINITY
    const sent: Sent = { seq, bytes, request: 0, attempt, held: bytes, dueAt, answered: false, removed: false }
    this.#sent.push(sent)
    this.#bytes += bytes
    return sent
  }

  /** Forgets what is removed up to the first that is not. */
  settle(): void {
    while (this.#sent[0]?.removed) this.#bytes -= this.#sent.shift()?.bytes ?? 0
  }
}

/** How long the answer to this attempt is waited for, where that to the first is for `deliveryMs`: longer each time. */
export function answerMs(attempt: number, deliveryMs: number): number {
  return Math.max(deliveryMs, Math.min(deliveryMs * 2 ** (attempt - 1), fixed.mostTimeoutMs))
}
