import { Turnstile } from '../core/turnstile.ts'
import { OspError } from '../errors.ts'
import type { Limits } from '../limits.ts'
import { originOf } from '../origins.ts'
import type { Clock } from '../ports/platform.ts'
import type { Socket } from '../ports/socket.ts'
import { FailedHellos } from './failedHellos.ts'
import { LinkCounts } from './linkCounts.ts'
import type { ServerLog } from './logEvents.ts'
import { RefusalLog, type Refused } from './refusalLog.ts'
import { TurnedAway } from './turnedAway.ts'

/** What strangers meet first: how many links there may be, and how often it may be tried to come in. */
export class Door {
  readonly #clock: Clock
  readonly #counts: LinkCounts
  readonly #turnedAway: TurnedAway
  readonly #turnstile: Turnstile
  readonly #failed: FailedHellos
  readonly #refusals: RefusalLog

  constructor(limits: Limits, clock: Clock, log: ServerLog) {
    this.#clock = clock
    this.#counts = new LinkCounts(limits)
    this.#turnedAway = new TurnedAway(limits.refusedLinks)
    this.#turnstile = new Turnstile(limits.hellosPerSecond, clock.now())
    this.#failed = new FailedHellos(limits, clock)
    this.#refusals = new RefusalLog(log, clock, limits.rememberedAddresses)
  }

  /** Counts a new link; or turns it away, and returns false: it is not counted then, and no concern of anybody any more. */
  enter(socket: Socket): boolean {
    const { host: from } = socket.peer
    const origin = originOf(from)
    const why = this.#counts.refusal(origin)
    if (why) {
      this.#refusals.tell(origin, { from }, why)
      void this.#turnedAway.add(socket, why)
    } else this.#counts.entered(origin)
    return !why
  }

  /** A link that was counted has ended. */
  left(origin: string): void {
    this.#counts.left(origin)
  }

  /** Throws OspError `rate-limited` where a HELLO_REQ comes too early, whatever it says. */
  admit(origin: string, user: string): void {
    this.#failed.check(origin, user)
    const retryAfterMs = this.#turnstile.enter(this.#clock.now())
    if (retryAfterMs > 0) throw new OspError('rate-limited', 'too many clients come at once', { retryAfterMs })
  }

  /** What `authenticate` says, if it may be asked. Rejects with OspError `rate-limited` where it may not. */
  judge<T>(origin: string, user: string, authenticate: () => Promise<T>): Promise<T> {
    return this.#failed.judge(origin, user, authenticate)
  }

  /** Logs a refusal, unless there were many from there. */
  refused(origin: string, refused: Refused, why: OspError): void {
    this.#refusals.tell(origin, refused, why)
  }

  /** Waits for none of those any more whom it has turned away. */
  close(): void {
    this.#turnedAway.end()
  }
}
