import { TokenBucket } from './tokenBucket.ts'

/** A turnstile for each key, of so many keys that came last: a forgotten one begins anew. */
export class KeyedTokenBuckets {
  readonly #begin: (now: number) => TokenBucket
  readonly #most: number
  /** The longest unheard of first. */
  readonly #turnstiles = new Map<string, TokenBucket>()

  constructor(perSecond: number, mostMs: number, most: number) {
    this.#begin = (now) => new TokenBucket(perSecond, mostMs, now)
    this.#most = most
  }

  /** Keys that are held. */
  get size(): number {
    return this.#turnstiles.size
  }

  /** As `Turnstile.enter`. */
  take(key: string, now: number): number {
    const turnstile = this.#turnstiles.get(key) ?? this.#begin(now)
    this.#turnstiles.delete(key)
    this.#turnstiles.set(key, turnstile)
    const [oldest] = this.#turnstiles.keys()
    if (this.#turnstiles.size > this.#most && oldest !== undefined) this.#turnstiles.delete(oldest)
    return turnstile.take(now)
  }
}
