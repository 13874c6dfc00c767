export interface AllowanceOptions {
  /** No rest is longer, so that no link seems dead meanwhile: what was taken beyond that is forgiven. */
  readonly mostRestMs: number
  /** As much as this may come at once; by default a second's worth. */
  readonly burstMs?: number
  /** After more than that nothing is taken for this long at least: not a moment after each frame. */
  readonly restMs?: number
}

/**
 * How much may be taken in a second. Taking is not exact, since what has arrived is there: what was taken beyond the allowance
 * is waited out.
 */
export class LeakyBucket {
  readonly #unitMs: number
  readonly #mostRestMs: number
  readonly #burstMs: number
  readonly #restMs: number
  /** Until when what was taken lasts at the allowed rate. */
  #untilMs = Number.NEGATIVE_INFINITY

  constructor(perSecond: number, { mostRestMs, burstMs = 1_000, restMs = 100 }: AllowanceOptions) {
    this.#unitMs = 1_000 / perSecond
    this.#mostRestMs = mostRestMs
    this.#burstMs = burstMs
    this.#restMs = restMs
  }

  /** Takes an amount. Returns for how many ms nothing more is to be taken; 0: go on. */
  take(amount: number, now: number): number {
    this.#untilMs = Math.max(this.#untilMs, now) + amount * this.#unitMs
    const aheadMs = this.#untilMs - now
    if (aheadMs <= this.#burstMs) return 0
    this.#untilMs = Math.min(this.#untilMs, now + this.#mostRestMs + this.#burstMs)
    return Math.min(this.#mostRestMs, aheadMs - this.#burstMs + this.#restMs)
  }

  /** Gives back an amount that was taken lately. */
  giveBack(amount: number): void {
    this.#untilMs -= amount * this.#unitMs
  }

  /** Whether it stands as if nothing had ever been taken. */
  whole(now: number): boolean {
    return this.#untilMs <= now
  }
}
