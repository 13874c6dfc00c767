/** Parts of seconds do not add up exactly: who comes back at the time that it was told must find its place. */
const whole = 1 - 1e-6

/**
 * Lets so many through in a second, so that a crowd comes in one after another: who is turned away is told when there will be
 * room, each somewhat later than the one before, but none later than after `mostMs`.
 */
export class TokenBucket {
  readonly #perSecond: number
  readonly #mostMs: number
  #tokens: number
  /** Those that were turned away and have not had the time to come back; no more than come in by the latest time told. */
  #waiting = 0
  #at: number

  constructor(perSecond: number, mostMs: number, now: number) {
    this.#perSecond = perSecond
    this.#mostMs = mostMs
    this.#tokens = perSecond
    this.#at = now
  }

  /** 0: come in. Otherwise in how many milliseconds to come back. */
  take(now: number): number {
    const passed = ((now - this.#at) / 1_000) * this.#perSecond
    this.#at = now
    this.#tokens = Math.min(this.#perSecond, this.#tokens + passed)
    this.#waiting = Math.max(0, this.#waiting - passed)
    if (this.#tokens >= whole) {
      this.#tokens = Math.max(0, this.#tokens - 1)
      return 0
    }
    this.#waiting = Math.min(this.#waiting + 1, (this.#mostMs / 1_000) * this.#perSecond)
    return Math.ceil((this.#waiting / this.#perSecond) * 1_000)
  }
}
