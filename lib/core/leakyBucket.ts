export interface LeakyRateOptions {
  /** The longest wait. An excess that would take longer to leave the bucket is forgiven. */
  readonly maxWaitMs: number
  /** The size of the bucket, as the time for which its content lasts; one second by default. */
  readonly burstMs?: number
  /** The shortest wait after the bucket has overflowed; 100 ms by default. */
  readonly minWaitMs?: number
}

/** A rate that leaky buckets share. */
export class LeakyRate {
  readonly unitMs: number
  readonly maxWaitMs: number
  readonly burstMs: number
  readonly minWaitMs: number

  constructor(perSecond: number, { maxWaitMs, burstMs = 1_000, minWaitMs = 100 }: LeakyRateOptions) {
    this.unitMs = 1_000 / perSecond
    this.maxWaitMs = maxWaitMs
    this.burstMs = burstMs
    this.minWaitMs = minWaitMs
  }
}

/** Limits an amount per second. What has arrived is always taken; the caller then waits until the excess has left the bucket. */
export class LeakyBucket {
  readonly #rate: LeakyRate
  #emptyAtMs = Number.NEGATIVE_INFINITY

  constructor(rate: LeakyRate) {
    this.#rate = rate
  }

  /** Takes an amount. Returns the milliseconds to wait before more may be taken; 0 if the bucket has not overflowed. */
  take(amount: number, now: number): number {
    const { unitMs, maxWaitMs, burstMs, minWaitMs } = this.#rate
    this.#emptyAtMs = Math.max(this.#emptyAtMs, now) + amount * unitMs
    const filledMs = this.#emptyAtMs - now
    if (filledMs <= burstMs) return 0
    this.#emptyAtMs = Math.min(this.#emptyAtMs, now + maxWaitMs + burstMs)
    return Math.min(maxWaitMs, filledMs - burstMs + minWaitMs)
  }

  /** Returns an amount that was taken lately to the caller. */
  giveBack(amount: number): void {
    this.#emptyAtMs -= amount * this.#rate.unitMs
  }

  isEmpty(now: number): boolean {
    return this.#emptyAtMs <= now
  }
}
