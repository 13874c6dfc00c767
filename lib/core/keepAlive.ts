import { OspError } from '../errors.ts'
import { fixed } from '../limits.ts'

/** Something that has to end in time; Infinity: it has not begun. */
class Wait {
  since = Number.POSITIVE_INFINITY
  /** It was found overdue before, and given a moment more. */
  reprieved = false

  get begun(): boolean {
    return this.since !== Number.POSITIVE_INFINITY
  }

  begin(now: number): void {
    this.since = now
    this.reprieved = false
  }

  end(): void {
    this.since = Number.POSITIVE_INFINITY
  }

  /** Time that does not count has passed. */
  excuse(ms: number, now: number): void {
    if (this.begun) this.since = Math.min(now, this.since + ms)
  }
}

/**
 * When a link is silent, and when it is dead (docs/protocol.md, "Delivery", 4; "Frames"). Time in which this side does
 * not read does not count against the other, whether it was told not to read or was itself frozen.
 */
export class KeepAlive {
  intervalMs: number
  /** We have something to say at the latest an interval after it. */
  #spokeAt: number
  #heardAt: number
  /** The peer says something within two intervals. */
  readonly #silence = new Wait()
  /** A begun frame is complete within two intervals and the time for its length. */
  readonly #frame = new Wait()
  #frameBytes = 0
  /** A full socket takes something within two intervals. */
  readonly #full = new Wait()
  #pausedSince: number | undefined

  constructor(intervalMs: number, now: number) {
    this.intervalMs = intervalMs
    this.#spokeAt = now
    this.#heardAt = now
    this.#silence.begin(now)
  }

  /** The peer's latest sign of life; while this side does not read there might be one at any time. */
  heardAt(now: number): number {
    return this.#pausedSince === undefined ? this.#heardAt : now
  }

  /** Bytes arrived that end within a frame of `payloadBytes` (0: not known yet). */
  begun(payloadBytes: number, now: number): void {
    this.#heard(now)
    if (!this.#frame.begun) this.#frame.begin(now)
    this.#frameBytes = payloadBytes
  }

  /** A whole frame arrived. */
  heard(now: number): void {
    this.#heard(now)
    this.#frame.end()
    this.#frameBytes = 0
  }

  spoke(now: number): void {
    this.#spokeAt = now
  }

  /** The socket takes no more for the moment. */
  full(now: number): void {
    if (!this.#full.begun) this.#full.begin(now)
  }

  /** Bytes have left for the peer. */
  took(now: number): void {
    if (this.#full.begun) this.#full.begin(now)
  }

  drained(): void {
    this.#full.end()
  }

  paused(now: number): void {
    this.#pausedSince ??= now
  }

  resumed(now: number): void {
    if (this.#pausedSince === undefined) return
    this.#silence.excuse(now - this.#pausedSince, now)
    this.#frame.excuse(now - this.#pausedSince, now)
    this.#heardAt = now
    this.#pausedSince = undefined
  }

  get deadline(): number {
    const deadAt = Math.min(this.#endOf(this.#silence), this.#endOf(this.#frame), this.#endOf(this.#full))
    return Math.min(this.#spokeAt + this.intervalMs, deadAt)
  }

  /** True if it is time to say something. */
  silent(now: number): boolean {
    return now >= this.#spokeAt + this.intervalMs
  }

  /** Why the link is dead, if it is. */
  dead(now: number): OspError | undefined {
    if (this.#overdue(this.#full, now)) {
      return new OspError('slow-consumer', 'the peer took nothing for two keep-alive intervals')
    }
    if (this.#overdue(this.#silence, now)) {
      return new OspError('timed-out', `nothing came from the peer for ${(2 * this.intervalMs) / 1_000} s`)
    }
    if (this.#overdue(this.#frame, now)) {
      return new OspError('timed-out', 'the peer has begun a frame and did not complete it in time')
    }
    return undefined
  }

  #heard(now: number): void {
    this.#heardAt = now
    this.#silence.begin(now)
  }

  #endOf(wait: Wait): number {
    if (wait !== this.#full && this.#pausedSince !== undefined) return Number.POSITIVE_INFINITY
    const lengthMs = wait === this.#frame ? (this.#frameBytes / fixed.leastFrameBytesPerSecond) * 1_000 : 0
    return wait.since + 2 * this.intervalMs + lengthMs
  }

  /**
   * Whether it is over with a wait. Alarms ring before what has arrived is read, so whoever was frozen finds everything
   * overdue: the first time there is a moment more to read, and a whole interval where it rang much too late.
   */
  #overdue(wait: Wait, now: number): boolean {
    const lateMs = now - this.#endOf(wait)
    if (lateMs < 0) return false
    const frozen = lateMs > this.intervalMs / 2
    if (wait.reprieved && !frozen) return true
    wait.reprieved = true
    wait.since += lateMs + this.intervalMs * (frozen ? 1 : fixed.reprieve)
    return false
  }
}
