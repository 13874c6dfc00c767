interface Count {
  number: number
  readonly untilMs: number
}

/**
 * Counts the events of each key within a window of time that begins with the first event. It holds up to `most` keys; a new
 * key displaces the oldest one.
 */
export class WindowCounter {
  readonly #spanMs: number
  readonly #most: number
  /** The oldest window first. */
  readonly #counts = new Map<string, Count>()

  constructor(spanMs: number, most: number) {
    this.#spanMs = spanMs
    this.#most = most
  }

  /** Keys that are held. */
  get size(): number {
    return this.#counts.size
  }

  /** How many were counted in the span that runs, and how long it still does; zeros where none runs. */
  of(key: string, now: number): { readonly number: number; readonly leftMs: number } {
    const { number, untilMs } = this.#live(key, now) ?? { number: 0, untilMs: now }
    return { number, leftMs: untilMs - now }
  }

  /** Counts one more; returns how many that makes. */
  add(key: string, now: number): number {
    this.#expire(now)
    const known = this.#live(key, now)
    if (known) return ++known.number
    const [oldest] = this.#counts.keys()
    if (this.#counts.size >= this.#most && oldest !== undefined) this.#counts.delete(oldest)
    this.#counts.set(key, { number: 1, untilMs: now + this.#spanMs })
    return 1
  }

  #live(key: string, now: number): Count | undefined {
    const count = this.#counts.get(key)
    return count && count.untilMs > now ? count : undefined
  }

  #expire(now: number): void {
    for (const [key, { untilMs }] of this.#counts) {
      if (untilMs > now) return
      this.#counts.delete(key)
    }
  }
}
