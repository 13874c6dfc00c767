import { OspError } from '../errors.ts'
import { clientLimits } from '../limits.ts'

/** A part of a file. */
export interface Span {
  readonly offset: number
  readonly length: number
}

/** The chunks in flight of one upload on the sending side (docs/protocol.md, "Chunks"). Its owner sends the spans. */
export class Window {
  readonly #size: number
  readonly #windowBytes: number
  /** The number of leading bytes that were taken. */
  taken: number
  /** The number of leading bytes that the server has acknowledged. */
  acknowledged: number
  /** Increases when the window goes back, which makes the spans that were taken before obsolete. */
  round = 0
  /** Replies to this seq and lower ones are ignored. */
  #handledSeq = 0
  #lastSeq = 0
  #highest: number
  /** How often the progress has fallen since the highest one. */
  #falls = 0
  /** How often the window went back without new progress. */
  #stalls = 0

  /** A window for a file of `size` bytes, from `progress` on, with at most `windowBytes` unacknowledged bytes. */
  constructor(size: number, progress: number, windowBytes: number) {
    this.#size = size
    this.#check(progress)
    this.#windowBytes = windowBytes
    this.taken = progress
    this.acknowledged = progress
    this.#highest = progress
  }

  /** Returns the next span, of at most `mostBytes`, or `undefined` if the window is full or at the end of the file. */
  take(mostBytes: number): Span | undefined {
    const offset = this.taken
    const room = this.#windowBytes - (offset - this.acknowledged)
    // Waits until a whole span fits: a short frame is not worth its cost.
    const length = Math.min(mostBytes, this.#windowBytes, this.#size - offset)
    if (length === 0 || length > room) return undefined
    this.taken += length
    return { offset, length }
  }

  /** Records that a span, or a request that must not overtake chunks, was sent under `seq`. */
  sent(seq: number): void {
    this.#lastSeq = seq
  }

  /** Handles the reply to a chunk. Ignores a reply after that of a later seq. Goes back after a refusal. */
  reply(seq: number, span: Span, progress: number): void {
    if (seq <= this.#handledSeq) return
    this.#check(progress)
    this.#handledSeq = seq
    if (progress < span.offset + span.length) {
      this.goBack(progress)
      return
    }
    this.#acknowledge(progress)
    this.taken = Math.max(this.taken, progress)
  }

  /**
   * Continues from `progress`, and ignores the replies to earlier requests. Throws OspError `malformed` for a progress beyond the
   * end of the file, as `reply` and the constructor do, and `wrong-offset` if this occurs too often without new progress.
   */
  goBack(progress: number): void {
    this.#check(progress)
    this.#handledSeq = this.#lastSeq
    if (progress < this.acknowledged) this.#falls++
    if (progress === this.acknowledged) this.#stalls++
    this.#acknowledge(progress)
    this.taken = progress
    this.round++
    if (Math.max(this.#falls, this.#stalls) <= clientLimits.setbacks) return
    const text = `the server stays at ${progress} of ${this.#size} bytes, however often the next bytes are sent`
    throw new OspError('wrong-offset', text)
  }

  #check(progress: number): void {
    if (progress <= this.#size) return
    throw new OspError('malformed', 'the server reports more progress than the file has bytes')
  }

  #acknowledge(progress: number): void {
    if (progress > this.acknowledged) this.#stalls = 0
    if (progress > this.#highest) {
      this.#highest = progress
      this.#falls = 0
    }
    this.acknowledged = progress
  }
}
