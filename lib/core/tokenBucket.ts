import { BoundedMap } from './boundedMap.ts'

/** Fractions of seconds do not add up exactly: a caller that returns at the given time must get its token. */
const whole = 1 - 1e-6

/** Grants `perSecond` tokens. A refused caller gets a time to wait: longer than the one before, up to `mostMs`. */
export class TokenBucket {
  readonly #perSecond: number
  readonly #mostMs: number
  #tokens: number
  /** Refused callers whose waiting time has not passed; at most the tokens of `mostMs`. */
  #waiting = 0
  #at: number

  constructor(perSecond: number, mostMs: number, now: number) {
    this.#perSecond = perSecond
    this.#mostMs = mostMs
    this.#tokens = perSecond
    this.#at = now
  }

  /** Returns 0 if a token was taken, otherwise the milliseconds to wait. */
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

/** A token bucket for each of up to `maxKeys` keys. A new key displaces the least recently used one. */
export class KeyedTokenBuckets {
  readonly #create: (now: number) => TokenBucket
  readonly #buckets: BoundedMap<string, TokenBucket>

  constructor(perSecond: number, mostMs: number, maxKeys: number) {
    this.#create = (now) => new TokenBucket(perSecond, mostMs, now)
    this.#buckets = new BoundedMap(maxKeys)
  }

  get size(): number {
    return this.#buckets.size
  }

  /** Returns 0 if a token of the key was taken, otherwise the milliseconds to wait. */
  take(key: string, now: number): number {
    const bucket = this.#buckets.get(key) ?? this.#create(now)
    this.#buckets.set(key, bucket)
    return bucket.take(now)
  }
}
