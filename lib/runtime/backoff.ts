import type { OspError } from '../errors.ts'
import type { Clock } from '../ports/platform.ts'

export interface BackoffOptions {
  readonly clock: Clock
  /** The maximum of the first wait. It doubles with each failure. */
  readonly firstMs: number
  /** The upper bound of the doubled maximum. */
  readonly mostMs: number
  /** The time for all retries; unlimited by default. */
  readonly retryForMs?: number
  /** Returns the used fraction of the maximum, from 0 to 1; by default 1. */
  readonly fraction?: () => number
  /** Whether the first wait is 0 after an error whose `retry` is `automatic`. */
  readonly automaticAtOnce?: boolean
}

/** Computes the waits between retries. The maximum doubles with each failure, and the total time is limited. */
export class Backoff {
  readonly #options: BackoffOptions
  #failures = 0
  #sinceMs: number | undefined

  constructor(options: BackoffOptions) {
    this.#options = options
  }

  /** Records a success. The next wait is the shortest, and the time for retries starts at the next failure. */
  reset(): void {
    this.#failures = 0
    this.#sinceMs = undefined
  }

  /** Starts the time for retries now. Does not change the next wait. */
  restartTime(): void {
    this.#sinceMs = this.#options.clock.now()
  }

  /** Returns the milliseconds until the next retry. Throws `error` if the time for retries is over. */
  next(error?: OspError): number {
    const { clock, firstMs, mostMs, retryForMs = Number.POSITIVE_INFINITY, fraction, automaticAtOnce } = this.#options
    const now = clock.now()
    this.#sinceMs ??= now
    const leftMs = this.#sinceMs + retryForMs - now
    if (leftMs <= 0) throw error
    const isAtOnce = automaticAtOnce && error?.retry === 'automatic' && this.#failures === 0
    const maximumMs = isAtOnce ? 0 : Math.min(mostMs, firstMs * 2 ** this.#failures)
    this.#failures++
    // The random part is added to the time that the server requests, so that clients refused together do not return together.
    const waitMs = (error?.retryAfterMs ?? 0) + (fraction?.() ?? 1) * maximumMs
    // The last retry is made at the end of the time.
    return Math.min(leftMs, waitMs)
  }
}
