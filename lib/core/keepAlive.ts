import { OspError } from '../errors.ts'
import { fixed } from '../limits.ts'

/** A wait that must end in time. */
class Wait {
  since: number
  /** Whether it was overdue before and was extended. */
  reprieved = false

  constructor(now: number) {
    this.since = now
  }

  begin(now: number): void {
    this.since = now
    this.reprieved = false
  }

  /** Extends the wait by time that does not count. */
  excuse(ms: number, now: number): void {
    this.since = Math.min(now, this.since + ms)
  }
}

/** Determines when to send something and when the link is dead. Time without reading on this side does not count. */
export class KeepAlive {
  intervalMs: number
  #spokeAt: number
  #heardAt: number
  /** Until the peer sends something: two intervals. */
  readonly #silence: Wait
  /** Until a begun frame is complete: two intervals and the time for its length. */
  #frame: Wait | undefined
  #frameBytes = 0
  /** Until a full socket takes something: two intervals. */
  #full: Wait | undefined
  #pausedSince: number | undefined

  constructor(intervalMs: number, now: number) {
    this.intervalMs = intervalMs
    this.#spokeAt = now
    this.#heardAt = now
    this.#silence = new Wait(now)
  }

  /** Returns when the latest byte of the peer arrived; `now` while this side does not read. */
  heardAt(now: number): number {
    return this.#pausedSince === undefined ? this.#heardAt : now
  }

  /** Bytes of an incomplete frame arrived. `payloadBytes` is 0 if its length is not known yet. */
  begun(payloadBytes: number, now: number): void {
    this.#heard(now)
    this.#frame ??= new Wait(now)
    this.#frameBytes = payloadBytes
  }

  /** A whole frame arrived. */
  heard(now: number): void {
    this.#heard(now)
    this.#frame = undefined
  }

  spoke(now: number): void {
    this.#spokeAt = now
  }

  /** The socket takes no more bytes for now. */
  full(now: number): void {
    this.#full ??= new Wait(now)
  }

  /** The socket has sent bytes to the peer. */
  took(now: number): void {
    this.#full?.begin(now)
  }

  drained(): void {
    this.#full = undefined
  }

  paused(now: number): void {
    this.#pausedSince ??= now
  }

  resumed(now: number): void {
    if (this.#pausedSince === undefined) return
    this.#silence.excuse(now - this.#pausedSince, now)
    this.#frame?.excuse(now - this.#pausedSince, now)
    this.#heardAt = now
    this.#pausedSince = undefined
  }

  get deadline(): number {
    const deadAt = Math.min(this.#endOf(this.#silence), this.#endOf(this.#frame), this.#endOf(this.#full))
    return Math.min(this.#spokeAt + this.intervalMs, deadAt)
  }

  /** Returns whether this side must send something. */
  silent(now: number): boolean {
    return now >= this.#spokeAt + this.intervalMs
  }

  /** Returns an error if the link is dead. */
  dead(now: number): OspError | undefined {
    if (this.#overdue(this.#full, now)) {
      return new OspError('slow-consumer', 'the peer read nothing for two keep-alive intervals')
    }
    if (this.#overdue(this.#silence, now)) {
      return new OspError('timed-out', `the peer sent nothing for ${(2 * this.intervalMs) / 1_000} s`)
    }
    if (this.#overdue(this.#frame, now)) {
      return new OspError('timed-out', 'the peer did not complete a frame in time')
    }
    return undefined
  }

  #heard(now: number): void {
    this.#heardAt = now
    this.#silence.begin(now)
  }

  #endOf(wait: Wait | undefined): number {
    if (!wait) return Number.POSITIVE_INFINITY
    if (wait !== this.#full && this.#pausedSince !== undefined) return Number.POSITIVE_INFINITY
    const lengthMs = wait === this.#frame ? (this.#frameBytes / fixed.leastFrameBytesPerSecond) * 1_000 : 0
    return wait.since + 2 * this.intervalMs + lengthMs
  }

  /**
   * Returns whether a wait has failed. Alarms ring before arrived bytes are read, so a process that was frozen finds every
   * wait overdue. The first time, a wait is extended a little, and by a whole interval if the alarm rang much too late.
   */
  #overdue(wait: Wait | undefined, now: number): boolean {
    if (!wait) return false
    const lateMs = now - this.#endOf(wait)
    if (lateMs < 0) return false
    const frozen = lateMs > this.intervalMs / 2
    if (wait.reprieved && !frozen) return true
    wait.reprieved = true
    wait.since += lateMs + this.intervalMs * (frozen ? 1 : fixed.reprieve)
    return false
  }
}
