import { TokenBucket } from './tokenBucket.ts'

/** A token bucket for each of the `most` latest keys; a key that was forgotten gets a new bucket. */
export class KeyedTokenBuckets {
  readonly #begin: (now: number) => TokenBucket
  readonly #most: number
  /** The least recently used key first. */
  readonly #buckets = new Map<string, TokenBucket>()

  constructor(perSecond: number, mostMs: number, most: number) {
    this.#begin = (now) => new TokenBucket(perSecond, mostMs, now)
    this.#most = most
  }

  /** Keys that are held. */
  get size(): number {
    return this.#buckets.size
  }

  /** As `Turnstile.enter`. */
  take(key: string, now: number): number {
    const turnstile = this.#buckets.get(key) ?? this.#begin(now)
    this.#buckets.delete(key)
    this.#buckets.set(key, turnstile)
    const [oldest] = this.#buckets.keys()
    if (this.#buckets.size > this.#most && oldest !== undefined) this.#buckets.delete(oldest)
    return turnstile.take(now)
  }
}
