import { RecentCounts } from '../core/recentCounts.ts'
import { OspError } from '../errors.ts'
import type { Limits } from '../limits.ts'
import type { Clock } from '../ports/platform.ts'

const spanMs = 60_000

type Bounds = Pick<Limits, 'failedHellosPerAddress' | 'failedHellosPerUser' | 'rememberedAddresses'>

/**
 * Bounds how often HELLOs that fail are told why: from one origin, and as one user from one origin. It keeps out nobody who
 * comes with what holds: by such a bound strangers, or a program of the user's own, could lock that user out.
 */
export class FailedHellos {
  readonly #limits: Bounds
  readonly #clock: Clock
  readonly #byOrigin: RecentCounts
  readonly #byUser: RecentCounts

  constructor(limits: Bounds, clock: Clock) {
    this.#limits = limits
    this.#clock = clock
    this.#byOrigin = new RecentCounts(spanMs, limits.rememberedAddresses)
    this.#byUser = new RecentCounts(spanMs, limits.rememberedAddresses)
  }

  /** What a HELLO that was refused for `why` is told: that, or `rate-limited` where too many have failed. */
  answer(origin: string, user: string, why: OspError): OspError {
    // What passes by itself is no failure of who came.
    if (why.again !== 'no') return why
    const now = this.#clock.now()
    const { failedHellosPerAddress, failedHellosPerUser } = this.#limits
    const counts = [{ recent: this.#byOrigin, key: origin, most: failedHellosPerAddress }]
    // No user name that is looked up has a slash.
    if (why.code === 'unauthorized') {
      counts.push({ recent: this.#byUser, key: `${user}/${origin}`, most: failedHellosPerUser })
    }
    let retryAfterMs = 0
    for (const { recent, key, most } of counts) {
      const { number, leftMs } = recent.of(key, now)
      if (number >= most) retryAfterMs = Math.max(retryAfterMs, leftMs)
    }
    if (retryAfterMs > 0) {
      return new OspError('rate-limited', 'too many have failed to come in from there', { retryAfterMs })
    }
    for (const { recent, key } of counts) recent.add(key, now)
    return why
  }
}
