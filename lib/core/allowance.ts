/** As much as this may come at once … */
const burstMs = 1_000

/** … and after more than that nothing is to be read for this long at least: not a moment after each frame. */
const restMs = 100

/**
 * What may be read in a second, in frames and in bytes. Reading is not exact, since what has arrived is there: what was read
 * beyond the allowance is waited out, but never for longer than `mostRestMs`, so that no link seems dead meanwhile.
 */
export class Allowance {
  readonly #frameMs: number
  readonly #byteMs: number
  readonly #mostRestMs: number
  /** Until when what was read takes at the allowed rates. */
  #framesUntil = Number.NEGATIVE_INFINITY
  #bytesUntil = Number.NEGATIVE_INFINITY

  constructor(framesPerSecond: number, bytesPerSecond: number, mostRestMs: number) {
    this.#frameMs = 1_000 / framesPerSecond
    this.#byteMs = 1_000 / bytesPerSecond
    this.#mostRestMs = mostRestMs
  }

  /** A frame was read. Returns for how many ms nothing more is to be read; 0: go on. */
  take(bytes: number, now: number): number {
    this.#framesUntil = Math.max(this.#framesUntil, now) + this.#frameMs
    this.#bytesUntil = Math.max(this.#bytesUntil, now) + bytes * this.#byteMs
    const aheadMs = Math.max(this.#framesUntil, this.#bytesUntil) - now
    if (aheadMs <= burstMs) return 0
    const most = now + this.#mostRestMs + burstMs
    this.#framesUntil = Math.min(this.#framesUntil, most)
    this.#bytesUntil = Math.min(this.#bytesUntil, most)
    return Math.min(this.#mostRestMs, aheadMs - burstMs + restMs)
  }

  /** Whether it stands as if nothing had ever been read. */
  whole(now: number): boolean {
    return Math.max(this.#framesUntil, this.#bytesUntil) <= now
  }
}
