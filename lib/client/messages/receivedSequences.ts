import { fixed } from '../../limits.ts'

/**
 * Which of the peer's REQs have come on a link that loses and reorders frames. They are numbered without gaps, and at most
 * 511 are sent behind an unanswered one.
 */
export class ReceivedSequences {
  #complete = 0
  readonly #beyond = new Set<number>()

  /** Every REQ up to this seq has come, or comes no more. */
  get complete(): number {
    return this.#complete
  }

  /** How many have come before one of a lower seq. */
  get beyond(): number {
    return this.#beyond.size
  }

  /** A REQ, or its repetition, has come. */
  take(seq: number): void {
    if (seq <= this.#complete) return
    this.#beyond.add(seq)
    if (seq - fixed.replies > this.#complete) {
      this.#complete = seq - fixed.replies
      for (const other of this.#beyond) if (other <= this.#complete) this.#beyond.delete(other)
    }
    while (this.#beyond.delete(this.#complete + 1)) this.#complete++
  }
}
