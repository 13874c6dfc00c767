import { Turnstile } from '../core/turnstile.ts'
import { Turnstiles } from '../core/turnstiles.ts'
import { OspError } from '../errors.ts'
import { clientLimits, type Limits } from '../limits.ts'
import { originOf } from '../origins.ts'
import type { Clock } from '../ports/platform.ts'
import type { Socket } from '../ports/socket.ts'
import { FailedHellos } from './failedHellos.ts'
import type { TellHeld } from './held.ts'
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
  /** Of each origin: half of what comes in, so that none keeps the others out. */
  readonly #byOrigin: Turnstiles
  readonly #failed: FailedHellos
  readonly #refusals: RefusalLog

  constructor(limits: Limits, clock: Clock, log: ServerLog) {
    this.#clock = clock
    this.#counts = new LinkCounts(limits)
    this.#turnedAway = new TurnedAway(limits.refusedLinks)
    const { hellosPerSecond, rememberedAddresses } = limits
    // Nobody is told to stay away for longer than a client waits by itself.
    const { reconnectMostMs: mostMs } = clientLimits
    this.#turnstile = new Turnstile(hellosPerSecond, mostMs, clock.now())
    this.#byOrigin = new Turnstiles(Math.max(1, hellosPerSecond / 2), mostMs, rememberedAddresses)
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

  /** Throws OspError `rate-limited` where a HELLO_REQ comes too early. */
  admit(origin: string): void {
    const now = this.#clock.now()
    const retryAfterMs = this.#byOrigin.enter(origin, now) || this.#turnstile.enter(now)
    if (retryAfterMs > 0) throw new OspError('rate-limited', 'too many clients come at once', { retryAfterMs })
  }

  /** What a HELLO_REQ is told that was refused for `why`. It is logged, unless there were many from there. */
  refusal(origin: string, refused: Required<Refused>, why: OspError): OspError {
    const told = this.#failed.answer(origin, refused.user, why)
    this.#refusals.tell(origin, refused, told)
    return told
  }

  held(tell: TellHeld): void {
    tell('links that are turned away', this.#turnedAway.size)
    const remembered = [this.#byOrigin.size, this.#failed.remembered, this.#refusals.remembered]
    tell('addresses that are remembered', Math.max(...remembered))
  }

  /** Waits for none of those any more whom it has turned away. */
  close(): void {
    this.#turnedAway.end()
  }
}
