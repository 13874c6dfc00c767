import { RecentCounts } from '../core/recentCounts.ts'
import { OspError } from '../errors.ts'
import type { Limits } from '../limits.ts'
import type { Clock } from '../ports/platform.ts'
import { deferred } from '../runtime/deferred.ts'

const spanMs = 60_000

/** Tries under one key: those that have failed lately, and those that are being judged. */
class Tries {
  readonly #most: number
  readonly #failed: RecentCounts
  readonly #judged = new Map<string, number>()

  constructor(most: number, remembered: number) {
    this.#most = most
    this.#failed = new RecentCounts(spanMs, remembered)
  }

  /** For how long none is looked at; 0: come. */
  closedMs(key: string, now: number): number {
    const { number, leftMs } = this.#failed.of(key, now)
    return number < this.#most ? 0 : leftMs
  }

  /** Whether another one may fail, even if all that are being judged do. */
  hasRoom(key: string, now: number): boolean {
    return this.#failed.of(key, now).number + (this.#judged.get(key) ?? 0) < this.#most
  }

  begin(key: string): void {
    this.#judged.set(key, (this.#judged.get(key) ?? 0) + 1)
  }

  end(key: string): void {
    const others = (this.#judged.get(key) ?? 1) - 1
    if (others > 0) this.#judged.set(key, others)
    else this.#judged.delete(key)
  }

  failed(key: string, now: number): void {
    this.#failed.add(key, now)
  }
}

/**
 * Bounds how often it can be tried to come in with what does not hold, from one origin, and as one user from one origin.
 * There is no bound for a user from everywhere: by it strangers could lock that user out.
 */
export class FailedHellos {
  readonly #clock: Clock
  readonly #byOrigin: Tries
  readonly #byUser: Tries
  #settled = deferred<void>()

  constructor(
    limits: Pick<Limits, 'failedHellosPerAddress' | 'failedHellosPerUser' | 'rememberedAddresses'>,
    clock: Clock,
  ) {
    this.#clock = clock
    this.#byOrigin = new Tries(limits.failedHellosPerAddress, limits.rememberedAddresses)
    this.#byUser = new Tries(limits.failedHellosPerUser, limits.rememberedAddresses)
  }

  /** Throws OspError `rate-limited` where too many have failed. */
  check(origin: string, user: string): void {
    const now = this.#clock.now()
    const retryAfterMs = Math.max(...this.#tries(origin, user).map(([tries, key]) => tries.closedMs(key, now)))
    if (retryAfterMs <= 0) return
    throw new OspError('rate-limited', 'too many have failed to come in from there', { retryAfterMs })
  }

  /**
   * What `authenticate` says, where it may be asked: while so many are being judged that all the tries there are could fail,
   * others wait. Rejects as `check` throws.
   */
  async judge<T>(origin: string, user: string, authenticate: () => Promise<T>): Promise<T> {
    const both = this.#tries(origin, user)
    for (;;) {
      this.check(origin, user)
      if (both.every(([tries, key]) => tries.hasRoom(key, this.#clock.now()))) break
      await this.#settled.promise
    }
    for (const [tries, key] of both) tries.begin(key)
    try {
      return await authenticate()
    } catch (error) {
      const isFailure = error instanceof OspError && error.code === 'unauthorized'
      for (const [tries, key] of isFailure ? both : []) tries.failed(key, this.#clock.now())
      throw error
    } finally {
      for (const [tries, key] of both) tries.end(key)
      this.#settled.resolve()
      this.#settled = deferred()
    }
  }

  /** What a HELLO counts for; no user name that counts has a slash. */
  #tries(origin: string, user: string): readonly (readonly [Tries, string])[] {
    return [
      [this.#byOrigin, origin],
      [this.#byUser, `${user}/${origin}`],
    ]
  }
}
