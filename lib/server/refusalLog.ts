import { RecentCounts } from '../core/recentCounts.ts'
import type { OspError } from '../errors.ts'
import type { Clock } from '../ports/platform.ts'
import type { ServerLog } from './logEvents.ts'

const spanMs = 60_000

/** Lines of one origin in a minute. */
const mostLines = 60

/** Whom and why a link was refused. */
export interface Refused {
  readonly from: string
  readonly user?: string
  readonly node?: number
}

/**
 * The log lines about links that were refused, of which strangers must not be able to make as many as they like: one when an
 * origin begins to be turned away because it asks too much, and of other refusals so many a minute from one origin.
 */
export class RefusalLog {
  readonly #log: ServerLog
  readonly #clock: Clock
  readonly #turnedAway: RecentCounts
  readonly #others: RecentCounts

  constructor(log: ServerLog, clock: Clock, remembered: number) {
    this.#log = log
    this.#clock = clock
    this.#turnedAway = new RecentCounts(spanMs, remembered)
    this.#others = new RecentCounts(spanMs, remembered)
  }

  /** Addresses that are remembered, for either kind of refusal. */
  get remembered(): number {
    return Math.max(this.#turnedAway.size, this.#others.size)
  }

  tell(origin: string, refused: Refused, { code, message: text }: OspError): void {
    const isTurnedAway = code === 'rate-limited'
    const lines = (isTurnedAway ? this.#turnedAway : this.#others).add(origin, this.#clock.now())
    const most = isTurnedAway ? 1 : mostLines
    if (lines > most) return
    const last = lines === most && { untold: 'more of it from there is not logged for a minute' }
    this.#log({ level: 'warn', event: 'link-refused', ...refused, code, text, ...last })
  }
}
