import { fixed } from '../limits.ts'

/**
 * Estimates the round-trip time by RFC 6298. Repeated requests give no samples, so a doubled time-out stays doubled for all
 * later requests until there is a sample. Otherwise every request would be repeated on a path that is slower than the
 * estimate, and the path would never be measured (Karn's rule, §3 and §5.5 to §5.7).
 */
export class RoundTrip {
  #smoothedMs: number | undefined
  #variationMs = 0
  /** How often the time-out was doubled since the last sample. */
  #doublings = 0

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

  /** Returns the time-out of a request that was repeated `repeats` times: doubled for each (§5.5), within the fixed bounds. */
  timeoutMs(repeats: number): number {
    const { firstTimeoutMs, leastTimeoutMs, mostTimeoutMs } = fixed
    const base = this.#smoothedMs === undefined ? firstTimeoutMs : this.#smoothedMs + 4 * this.#variationMs
    return Math.min(mostTimeoutMs, Math.max(leastTimeoutMs, base) * 2 ** Math.max(repeats, this.#doublings))
  }
}
