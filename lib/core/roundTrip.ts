/** Bounds of a retransmission time-out, in milliseconds. */
export interface TimeoutBounds {
  readonly firstMs: number
  readonly leastMs: number
  readonly mostMs: number
}

/** The round-trip estimator of RFC 6298 §2. Samples of repeated requests are not for it (Karn's rule, §3). */
export class RoundTrip {
  readonly #bounds: TimeoutBounds
  #smoothedMs: number | undefined
  #variationMs = 0

  constructor(bounds: TimeoutBounds) {
    this.#bounds = bounds
  }

  /** Takes in the time between a request and its reply. */
  sample(ms: number): void {
    if (this.#smoothedMs === undefined) {
      this.#smoothedMs = ms
      this.#variationMs = ms / 2
      return
    }
    this.#variationMs = 0.75 * this.#variationMs + 0.25 * Math.abs(this.#smoothedMs - ms)
    this.#smoothedMs = 0.875 * this.#smoothedMs + 0.125 * ms
  }

  /** The time-out of a request that was sent `repeats` times before: doubled for each (§5.5), within the bounds. */
  timeoutMs(repeats: number): number {
    const { firstMs, leastMs, mostMs } = this.#bounds
    const base = this.#smoothedMs === undefined ? firstMs : this.#smoothedMs + 4 * this.#variationMs
    return Math.min(mostMs, Math.max(leastMs, base) * 2 ** repeats)
  }
}
