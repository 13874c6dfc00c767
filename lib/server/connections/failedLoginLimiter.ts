import { WindowCounter } from '../../core/windowCounter.ts'
import { OspError } from '../../errors.ts'
import type { Limits } from '../../limits.ts'
import type { Clock } from '../../ports/platform.ts'

const spanMs = 60_000

type Bounds = Pick<Limits, 'failedHellosPerAddress' | 'failedHellosPerUser' | 'rememberedAddresses'>

/**
 * Bounds how often HELLOs that fail are told why: from one origin, and as one user from one origin. It keeps out nobody who
 * comes with what holds: by such a bound strangers, or a program of the user's own, could lock that user out.
 */
export class FailedLoginLimiter {
  readonly #limits: Bounds
  readonly #clock: Clock
  readonly #byOrigin: WindowCounter
  readonly #byUser: WindowCounter

  constructor(limits: Bounds, clock: Clock) {
    this.#limits = limits
    this.#clock = clock
    this.#byOrigin = new WindowCounter(spanMs, limits.rememberedAddresses)
    this.#byUser = new WindowCounter(spanMs, limits.rememberedAddresses)
  }

  /** Addresses, or users of addresses, that are remembered: whichever are more. */
  get remembered(): number {
    return Math.max(this.#byOrigin.size, this.#byUser.size)
  }

  /** Whether a HELLO from this origin has failed lately. */
  hasFailed(origin: string): boolean {
    return this.#byOrigin.of(origin, this.#clock.now()).number > 0
  }

  /** What a HELLO that was refused for `why` is told: that, or `rate-limited` where too many have failed. */
  answer(origin: string, user: string, why: OspError): OspError {
    // What passes by itself is no failure of who came.
    if (why.retry !== 'never') return why
    const now = this.#clock.now()
    const { failedHellosPerAddress, failedHellosPerUser } = this.#limits
    const counts = [{ recent: this.#byOrigin, key: origin, most: failedHellosPerAddress, who: 'too many have' }]
    // No user name that is looked up has a slash.
    if (why.code === 'unauthorized') {
      counts.push({
        recent: this.#byUser,
        key: `${user}/${origin}`,
        most: failedHellosPerUser,
        who: `${user} has too often`,
      })
    }
    let longest = { who: '', leftMs: 0 }
    for (const { recent, key, most, who } of counts) {
      const { number, leftMs } = recent.of(key, now)
      if (number >= most && leftMs > longest.leftMs) longest = { who, leftMs }
    }
    if (longest.leftMs > 0) return tooMany(longest.who, origin, longest.leftMs)
    for (const { recent, key } of counts) recent.add(key, now)
    return why
  }
}

/** Is told to who came, and logged: so it names the address, and says how long it lasts. */
function tooMany(who: string, origin: string, retryAfterMs: number): OspError {
  const text = `${who} failed to come in from ${origin}; try again in ${Math.ceil(retryAfterMs / 1_000)} s`
  return new OspError('rate-limited', text, { retryAfterMs })
}
