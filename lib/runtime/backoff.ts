import type { OspError } from '../errors.ts'
import type { Clock } from '../ports/platform.ts'

export interface BackoffOptions {
  readonly clock: Clock
  /** The longest first wait, which doubles with each failure. */
  readonly firstMs: number
  /** The bound of the doubled wait. */
  readonly mostMs: number
  /** Time for all retries; unlimited by default. */
  readonly retryForMs?: number
  /** Returns the part of the longest wait that is used, from 0 to 1; by default all of it. */
  readonly fraction?: () => number
  /** Whether the first wait is 0 after an error whose `retry` is `automatic`. */
  readonly automaticAtOnce?: boolean
}

/** Computes the waits between retries: each twice as long as the one before, within a bounded time. */
export class Backoff {
  readonly #options: BackoffOptions
  /** Failures in a row. */
  #failures = 0
  #sinceMs: number | undefined

  constructor(options: BackoffOptions) {
    this.#options = options
  }

  /** Records success: the next wait is the shortest, and the time for retries begins at the next failure. */
  reset(): void {
    this.#failures = 0
    this.#sinceMs = undefined
  }

  /** Begins the time for retries now. The next wait stays as long as it is. */
  restartTime(): void {
    this.#sinceMs = this.#options.clock.now()
  }

  /** Returns the milliseconds until the next try. Throws `error` when the time for retries is up. */
  next(error?: OspError): number {
    const { clock, firstMs, mostMs, retryForMs = Number.POSITIVE_INFINITY, fraction, automaticAtOnce } = this.#options
    const now = clock.now()
    this.#sinceMs ??= now
    const leftMs = this.#sinceMs + retryForMs - now
    if (leftMs <= 0) throw error
    const isAtOnce = automaticAtOnce && error?.retry === 'automatic' && this.#failures === 0
    const longestMs = isAtOnce ? 0 : Math.min(mostMs, firstMs * 2 ** this.#failures)
    this.#failures++
    // The random part is added to what the server asks for: clients that it sent away together come back apart.
    const waitMs = (error?.retryAfterMs ?? 0) + (fraction?.() ?? 1) * longestMs
    // The last try is made when the time is up, not a long wait later.
    return Math.min(leftMs, waitMs)
  }
}
