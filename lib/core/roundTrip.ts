/** Bounds of a retransmission time-out, in milliseconds. */
export interface TimeoutBounds {
  readonly firstMs: number
  readonly leastMs: number
  readonly mostMs: number
}

/**
 * Estimates the round-trip time by RFC 6298. Repeated requests give no samples, so a doubled time-out stays doubled for all
 * later requests until there is a sample. Otherwise every request would be repeated on a path that is slower than the
 * estimate, and the path would never be measured (Karn's rule, §3 and §5.5 to §5.7).
 */
export class RoundTrip {
  readonly #bounds: TimeoutBounds
  #smoothedMs: number | undefined
  #variationMs = 0
  /** How often the time-out was doubled since the last sample. */
  #doublings = 0

  constructor(bounds: TimeoutBounds) {
    this.#bounds = bounds
  }

  /** Adds the time between a request and its reply. */
  sample(ms: number): void {
    this.#doublings = 0
    if (this.#smoothedMs === undefined) {
      this.#smoothedMs = ms
      this.#variationMs = ms / 2
      return
    }
    this.#variationMs = 0.75 * this.#variationMs + 0.25 * Math.abs(this.#smoothedMs - ms)
    this.#smoothedMs = 0.875 * this.#smoothedMs + 0.125 * ms
  }

  /** A request is repeated for the `repeats`-th time. */
  repeated(repeats: number): void {
    this.#doublings = Math.max(this.#doublings, repeats)
  }

  /** Returns the time-out of a request that was sent `repeats` times before: doubled for each (§5.5), within the bounds. */
  timeoutMs(repeats: number): number {
    const { firstMs, leastMs, mostMs } = this.#bounds
    const base = this.#smoothedMs === undefined ? firstMs : this.#smoothedMs + 4 * this.#variationMs
    return Math.min(mostMs, Math.max(leastMs, base) * 2 ** Math.max(repeats, this.#doublings))
  }
}
