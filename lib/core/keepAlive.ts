import { OspError } from '../errors.ts'
import { fixed } from '../limits.ts'

/**
 * When a link is silent, and when it is dead (docs/protocol.md, "Delivery", 4; "Frames"). Time in which this side does
 * not read does not count against the other, whether it was told not to read or was itself frozen.
 */
export class KeepAlive {
  intervalMs: number
  #heardAt: number
  #spokeAt: number
  /** A begun frame is complete by then. */
  #frameDueAt = Number.POSITIVE_INFINITY
  /** The socket takes nothing since then. */
  #fullSince = Number.POSITIVE_INFINITY
  #pausedSince: number | undefined

  constructor(intervalMs: number, now: number) {
    this.intervalMs = intervalMs
    this.#heardAt = now
    this.#spokeAt = now
  }

  get heardAt(): number {
    return this.#heardAt
  }

  /** Bytes arrived that end within a frame of `payloadBytes`. */
  begun(payloadBytes: number, now: number): void {
    this.#heardAt = now
    const dueAt = now + 2 * this.intervalMs + (payloadBytes / fixed.leastFrameBytesPerSecond) * 1_000
    // The first bytes start the clock; once the header tells the length there is that much more time, once.
    if (this.#frameDueAt === Number.POSITIVE_INFINITY) this.#frameDueAt = dueAt
    else if (payloadBytes > 0 && !this.#announced) this.#frameDueAt = dueAt
    this.#announced ||= payloadBytes > 0
  }
  #announced = false

  /** A whole frame arrived. */
  heard(now: number): void {
    this.#heardAt = now
    this.#frameDueAt = Number.POSITIVE_INFINITY
    this.#announced = false
  }

  spoke(now: number): void {
    this.#spokeAt = now
  }

  full(now: number): void {
    this.#fullSince = Math.min(this.#fullSince, now)
  }

  drained(): void {
    this.#fullSince = Number.POSITIVE_INFINITY
  }

  paused(now: number): void {
    this.#pausedSince ??= now
  }

  resumed(now: number): void {
    if (this.#pausedSince === undefined) return
    this.#excuse(now - this.#pausedSince)
    this.#pausedSince = undefined
  }

  get deadline(): number {
    const { speakAt, deadAt, slowAt } = this
    return Math.min(speakAt, deadAt, slowAt)
  }

  /** True if it is time to say something. */
  silent(now: number): boolean {
    return now >= this.speakAt
  }

  /** Why the link is dead, if it is. */
  dead(now: number): OspError | undefined {
    if (now >= this.slowAt) return new OspError('slow-consumer', 'the peer took nothing for two keep-alive intervals')
    if (now < this.deadAt) return undefined
    const late = now - this.deadAt
    if (late > this.intervalMs / 2) {
      // This process itself was frozen: what the peer has sent meanwhile is still to be read.
      this.#excuse(late + this.intervalMs)
      return undefined
    }
    return new OspError('timed-out', `nothing came from the peer for ${(2 * this.intervalMs) / 1_000} s`)
  }

  private get speakAt(): number {
    return this.#spokeAt + this.intervalMs
  }

  private get deadAt(): number {
    if (this.#pausedSince !== undefined) return Number.POSITIVE_INFINITY
    return Math.min(this.#heardAt + 2 * this.intervalMs, this.#frameDueAt)
  }

  private get slowAt(): number {
    return this.#fullSince + 2 * this.intervalMs
  }

  #excuse(ms: number): void {
    this.#heardAt += ms
    this.#frameDueAt += ms
  }
}
