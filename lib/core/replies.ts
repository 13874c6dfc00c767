import { OspError } from '../errors.ts'
import { fixed } from '../limits.ts'
import type { Frame } from '../wire/frame.ts'

/** Remembers the latest replies, so that a repeated request gets its reply again and is not carried out again. */
export class Replies {
  /** The reply of each seq, or `undefined` while the request is running. */
  readonly #known = new Map<number, Frame | undefined>()
  /** The answered seqs in ascending order. */
  readonly #answered: number[] = []
  /** Every seq up to this one is forgotten. */
  #floor = 0

  get unanswered(): number {
    return this.#known.size - this.#answered.length
  }

  get remembered(): number {
    return this.#answered.length
  }

  /**
   * Returns what to do with a request: `carry out` a new one, `drop` a running or forgotten one, or send the remembered
   * reply. Throws OspError `malformed` if more requests are unanswered than the protocol allows.
   */
  admit(seq: number): 'carry out' | 'drop' | Frame {
    if (this.#known.has(seq)) return this.#known.get(seq) ?? 'drop'
    if (seq <= this.#floor) return 'drop'
    if (this.unanswered >= fixed.replies) {
      throw new OspError('malformed', `more than ${fixed.replies} requests are unanswered`)
    }
    this.#known.set(seq, undefined)
    return 'carry out'
  }

  /** Remembers the reply to a request. Beyond the bound, forgets the reply with the lowest seq. */
  remember(seq: number, reply: Frame): void {
    if (!this.#known.has(seq)) return
    this.#known.set(seq, reply)
    const at = this.#answered.findLastIndex((other) => other < seq)
    this.#answered.splice(at + 1, 0, seq)
    if (this.#answered.length <= fixed.replies) return
    const oldest = this.#answered.shift()
    if (oldest === undefined) return
    this.#known.delete(oldest)
    this.#floor = Math.max(this.#floor, oldest)
  }
}
