export interface LeakyBucketOptions {
  /** The longest wait. An excess that would take longer to leave the bucket is forgiven. */
  readonly maxWaitMs: number
  /** The size of the bucket, as the time for which its content lasts; one second by default. */
  readonly burstMs?: number
  /** The shortest wait after the bucket has overflowed; 100 ms by default. */
  readonly minWaitMs?: number
}

/** Limits an amount per second. What has arrived is always taken; the caller then waits until the excess has left the bucket. */
export class LeakyBucket {
  readonly #unitMs: number
  readonly #maxWaitMs: number
  readonly #burstMs: number
  readonly #minWaitMs: number
  #emptyAtMs = Number.NEGATIVE_INFINITY

  constructor(perSecond: number, { maxWaitMs, burstMs = 1_000, minWaitMs = 100 }: LeakyBucketOptions) {
    this.#unitMs = 1_000 / perSecond
    this.#maxWaitMs = maxWaitMs
    this.#burstMs = burstMs
    this.#minWaitMs = minWaitMs
  }

  /** Takes an amount. Returns the milliseconds to wait before more may be taken; 0 if the bucket has not overflowed. */
  take(amount: number, now: number): number {
    this.#emptyAtMs = Math.max(this.#emptyAtMs, now) + amount * this.#unitMs
    const filledMs = this.#emptyAtMs - now
    if (filledMs <= this.#burstMs) return 0
    this.#emptyAtMs = Math.min(this.#emptyAtMs, now + this.#maxWaitMs + this.#burstMs)
    return Math.min(this.#maxWaitMs, filledMs - this.#burstMs + this.#minWaitMs)
  }

  /** Returns an amount that was taken lately to the caller. */
  giveBack(amount: number): void {
    this.#emptyAtMs -= amount * this.#unitMs
  }

  isEmpty(now: number): boolean {
    return this.#emptyAtMs <= now
  }
}
