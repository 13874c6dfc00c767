import { Turnstile } from './turnstile.ts'

/** A turnstile for each key, of so many keys that came last: a forgotten one begins anew. */
export class Turnstiles {
  readonly #begin: (now: number) => Turnstile
  readonly #most: number
  /** The longest unheard of first. */
  readonly #turnstiles = new Map<string, Turnstile>()

  constructor(perSecond: number, mostMs: number, most: number) {
    this.#begin = (now) => new Turnstile(perSecond, mostMs, now)
    this.#most = most
  }

  /** Keys that are held. */
  get size(): number {
    return this.#turnstiles.size
  }

  /** As `Turnstile.enter`. */
  enter(key: string, now: number): number {
    const turnstile = this.#turnstiles.get(key) ?? this.#begin(now)
    this.#turnstiles.delete(key)
    this.#turnstiles.set(key, turnstile)
    const [oldest] = this.#turnstiles.keys()
    if (this.#turnstiles.size > this.#most && oldest !== undefined) this.#turnstiles.delete(oldest)
    return turnstile.enter(now)
  }
}
