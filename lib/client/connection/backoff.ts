import type { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import type { Platform } from '../../ports/platform.ts'

/** How long refusals that can pass are waited out: longer after each, and all in all for a bounded time. */
export class Backoff {
  readonly #platform: Pick<Platform, 'clock' | 'random'>
  readonly #retryForMs: number
  /** Refusals in a row. */
  #refusals = 0
  #sinceMs: number | undefined

  constructor(platform: Pick<Platform, 'clock' | 'random'>, retryForMs: number) {
    this.#platform = platform
    this.#retryForMs = retryForMs
  }

  /** It went on meanwhile: the next refusal is the first one. */
  reset(): void {
    this.#refusals = 0
    this.#sinceMs = undefined
  }

  /** How many milliseconds to wait before the next try; throws `why` when the time is up. */
  next(why: OspError): number {
    const { clock, random } = this.#platform
    const now = clock.now()
    this.#sinceMs ??= now
    const leftMs = this.#sinceMs + this.#retryForMs - now
    if (leftMs <= 0) throw why
    const { reconnectFirstMs, reconnectMostMs } = clientLimits
    const mostMs = why.retry === 'automatic' && this.#refusals === 0 ? 0 : reconnectFirstMs * 2 ** this.#refusals
    this.#refusals++
    const waitMs = why.retryAfterMs + random.fraction('refused upload') * Math.min(reconnectMostMs, mostMs)
    return Math.min(leftMs, waitMs)
  }
}
