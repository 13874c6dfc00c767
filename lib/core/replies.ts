import { OspError } from '../errors.ts'
import { fixed } from '../limits.ts'
import type { Frame } from '../wire/frame.ts'

/**
 * The replies to a peer's latest REQs, so that a repeated one is answered again and not carried out again
 * (docs/protocol.md, "Delivery", 3). Chunks are not for it: their offset makes them idempotent.
 */
export class Replies {
  /** By seq: its reply, or `undefined` while it is being carried out. */
  readonly #known = new Map<number, Frame | undefined>()
  /** The answered ones, rising. */
  readonly #answered: number[] = []
  /** Everything up to here is older than what is remembered. */
  #floor = 0

  /** REQs that are being carried out. */
  get unanswered(): number {
    return this.#known.size - this.#answered.length
  }

  /** Replies that are kept. */
  get remembered(): number {
    return this.#answered.length
  }

  /**
   * What to do with a REQ: `carry out` a new one, `drop` one that is under way or too old, or send the reply that
   * was given before. Throws OspError `malformed` if more REQs are unanswered than the protocol allows.
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

  /** Keeps the reply of a REQ that was carried out, and forgets the one with the lowest seq beyond the bound. */
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
