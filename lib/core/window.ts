import { OspError } from '../errors.ts'
import { clientLimits } from '../limits.ts'

/** A piece of a file. */
export interface Span {
  readonly offset: number
  readonly length: number
}

/**
 * The chunks of one upload that are in flight, on the sending side (docs/protocol.md, "Chunks"). The owner takes
 * spans to send, says under which seq each went out, and hands in the replies.
 */
export class Window {
  readonly #size: number
  readonly #windowBytes: number
  #next: number
  #acknowledged: number
  /** Replies to seqs up to here no longer move it. */
  #judged = 0
  #lastSeq = 0
  #round = 0
  /** The most that was ever acknowledged, and how often the server has fallen behind since it was. */
  #best: number
  #falls = 0
  /** How often it went back since the server got further. */
  #stalls = 0

  /** An upload of `size` bytes that stands at `progress`; at most `windowBytes` are unacknowledged. */
  constructor(size: number, progress: number, windowBytes: number) {
    this.#size = size
    this.#check(progress)
    this.#windowBytes = windowBytes
    this.#next = progress
    this.#acknowledged = progress
    this.#best = progress
  }

  /** Leading bytes that the server has, as far as it has said. */
  get acknowledged(): number {
    return this.#acknowledged
  }

  /** Leading bytes that were taken to be sent. */
  get taken(): number {
    return this.#next
  }

  /** Rises whenever it goes back: a span that was taken before is then of no use. */
  get round(): number {
    return this.#round
  }

  /** The next piece to send, at most `mostBytes`, or `undefined` while the window is full or at the file's end. */
  take(mostBytes: number): Span | undefined {
    const offset = this.#next
    const room = this.#windowBytes - (offset - this.#acknowledged)
    // A sliver of the window is not worth a frame: wait until a whole piece fits.
    const length = Math.min(mostBytes, this.#windowBytes, this.#size - offset)
    if (length === 0 || length > room) return undefined
    this.#next += length
    return { offset, length }
  }

  /** A span, or a request that must not pass the chunks, went out under `seq`. */
  sent(seq: number): void {
    this.#lastSeq = seq
  }

  /**
   * Takes the server's progress in reply to the chunk `span` that went out under `seq`. Replies are judged in the order
   * of seq; older ones are ignored. Where the progress shows that a chunk did not count it goes back.
   */
  reply(seq: number, span: Span, progress: number): void {
    if (seq <= this.#judged) return
    this.#check(progress)
    this.#judged = seq
    if (progress < span.offset + span.length) this.goBack(progress)
    else this.#stand(progress)
  }

  /**
   * Sends again from `progress` on; replies to what was sent before no longer move it. Throws OspError `malformed` for
   * a progress beyond the file's end, as `reply` and the constructor do; `wrong-offset` if it was done too often without
   * getting further.
   */
  goBack(progress: number): void {
    this.#check(progress)
    this.#judged = this.#lastSeq
    if (progress < this.#acknowledged) this.#falls++
    if (progress === this.#acknowledged) this.#stalls++
    this.#acknowledge(progress)
    this.#next = progress
    this.#round++
    if (Math.max(this.#falls, this.#stalls) <= clientLimits.setbacks) return
    const text = `the server stays at ${progress} of ${this.#size} bytes, however often the next ones are sent`
    throw new OspError('wrong-offset', text)
  }

  #check(progress: number): void {
    if (progress <= this.#size) return
    throw new OspError('malformed', 'the server reports more progress than the file has bytes')
  }

  #stand(progress: number): void {
    this.#acknowledge(progress)
    this.#next = Math.max(this.#next, progress)
  }

  #acknowledge(progress: number): void {
    if (progress > this.#acknowledged) this.#stalls = 0
    if (progress > this.#best) {
      this.#best = progress
      this.#falls = 0
    }
    this.#acknowledged = progress
  }
}
