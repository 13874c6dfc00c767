import { Allowance } from '../core/allowance.ts'
import type { Limits } from '../limits.ts'
import type { Clock } from '../ports/platform.ts'
import { Alarm } from '../runtime/alarm.ts'
import type { ServerLog } from './logEvents.ts'
import type { Reading } from './reading.ts'

/** A user who is slowed is told of in the log once in so long. */
const toldMs = 60_000

/** How fast the links of one user are read, all together. */
export class UserPace {
  readonly #clock: Clock
  readonly #allowance: Allowance
  readonly #slowed: () => void
  readonly #resting = new Set<Reading>()
  readonly #alarm: Alarm
  #untilMs = Number.NEGATIVE_INFINITY
  #toldAt = Number.NEGATIVE_INFINITY
  links = 0

  constructor({ framesPerSecond, bytesPerSecond, keepAliveMs }: Limits, clock: Clock, slowed: () => void) {
    this.#clock = clock
    // Within a keep-alive everybody is read again: so neither side takes the other for dead.
    this.#allowance = new Allowance(framesPerSecond, bytesPerSecond, keepAliveMs)
    this.#slowed = slowed
    this.#alarm = new Alarm(clock, () => this.#rested())
  }

  /** A frame has come by one of the links. */
  took(bytes: number, by: Reading): void {
    const now = this.#clock.now()
    const restMs = this.#allowance.take(bytes, now)
    if (restMs === 0) return
    this.#untilMs = now + restMs
    this.#resting.add(by)
    by.slow(true)
    this.#alarm.by(this.#untilMs)
    if (now - this.#toldAt < toldMs) return
    this.#toldAt = now
    this.#slowed()
  }

  /** A link has ended. */
  left(by: Reading): void {
    this.links--
    this.#resting.delete(by)
    if (this.#resting.size === 0) this.#alarm.stop()
  }

  /** Whether it says nothing that a new one would not: no link, nothing to wait out, and nothing told lately. */
  get forgettable(): boolean {
    const now = this.#clock.now()
    return this.links === 0 && this.#allowance.whole(now) && now - this.#toldAt >= toldMs
  }

  #rested(): void {
    if (this.#clock.now() < this.#untilMs) {
      this.#alarm.by(this.#untilMs)
      return
    }
    const rested = [...this.#resting]
    this.#resting.clear()
    for (const reading of rested) reading.slow(false)
  }
}

/** The paces of the users who have links, and of those who had one lately: who comes back goes on where they stood. */
export class UserPaces {
  readonly #limits: Limits
  readonly #clock: Clock
  readonly #log: ServerLog
  readonly #here = new Map<string, UserPace>()
  /** The longest gone first. */
  readonly #gone = new Map<string, UserPace>()

  constructor(limits: Limits, clock: Clock, log: ServerLog) {
    this.#limits = limits
    this.#clock = clock
    this.#log = log
  }

  /** Users who have no link any more. */
  get gone(): number {
    return this.#gone.size
  }

  /** The pace of a user who has one link more. */
  enter(user: string): UserPace {
    const known = this.#here.get(user) ?? this.#gone.get(user)
    const pace = known ?? new UserPace(this.#limits, this.#clock, () => this.#tell(user))
    this.#gone.delete(user)
    this.#here.set(user, pace)
    pace.links++
    return pace
  }

  /** One of the user's links, of this reading, has ended. */
  leave(user: string, by: Reading): void {
    const pace = this.#here.get(user)
    pace?.left(by)
    if (!pace || pace.links > 0) return
    this.#here.delete(user)
    this.#gone.set(user, pace)
    for (const [gone, { forgettable }] of this.#gone) {
      if (!forgettable && this.#gone.size <= this.#limits.rememberedAddresses) return
      this.#gone.delete(gone)
    }
  }

  #tell(user: string): void {
    const { framesPerSecond, bytesPerSecond } = this.#limits
    const text = `its links are read no faster than ${framesPerSecond} frames and ${bytesPerSecond} bytes a second`
    this.#log({ level: 'warn', event: 'user-slowed', user, code: 'rate-limited', text })
  }
}
