import { LeakyBucket } from '../../core/leakyBucket.ts'
import type { Limits } from '../../limits.ts'
import type { Clock } from '../../ports/platform.ts'
import { Alarm } from '../../runtime/alarm.ts'
import type { LinkDriver } from '../../runtime/linkDriver.ts'
import type { ServerLog } from '../logEvents.ts'
import { costs } from './requestCost.ts'

/** Minimum time between two log lines about the same slowed user. */
const logIntervalMs = 60_000

/**
 * Maximum length of a piece of work, for each 1,000 ms of work that are allowed per second. After a piece, the user's links wait
 * until the links of other users have been read.
 */
const pieceMs = 5
/** Time within which other links are read, if the server has time for it. */
const turnMs = 1
/** Amount of work that may exceed the allowance for a short time. */
const workBurstMs = 10
/** Time for which a user counts as busy after the work of its requests paused its links. */
const busyMs = 1_000
/** Total wait of a user's requests within `logIntervalMs` after which the user is logged as slowed. */
const longWaitMs = 10_000

/** Limits how fast all links of one user are read together. */
export class UserRateLimiter {
  readonly #clock: Clock
  readonly #frames: LeakyBucket
  readonly #bytes: LeakyBucket
  readonly #work: LeakyBucket
  readonly #registrations: LeakyBucket
  readonly #sharers: (of: UserRateLimiter, isBusy: boolean) => number
  readonly #onThrottled: (text: string) => void
  readonly #limits: Limits
  readonly #throttled = new Set<ReadGate>()
  readonly #alarm: Alarm
  readonly #turn: Alarm
  /**
   * Work since the last alarm, at which the links of other users were read. It can't be compared with the clock, which continues
   * during the work.
   */
  #pieceMs = 0
  #untilMs = Number.NEGATIVE_INFINITY
  #loggedAt = Number.NEGATIVE_INFINITY
  /** Total time of the pauses for work since `#workedFrom`. */
  #workWaitMs = 0
  #workedFrom = Number.NEGATIVE_INFINITY
  links = 0

  /** `sharers` returns the number of users that share the processing time; `isBusy` adds this user to the busy ones. */
  constructor(
    limits: Limits,
    clock: Clock,
    onThrottled: (text: string) => void,
    sharers: (of: UserRateLimiter, isBusy: boolean) => number = () => 1,
  ) {
    this.#clock = clock
    this.#limits = limits
    // No pause is longer than a keep-alive interval, so that neither side considers the other dead.
    const maxWaitMs = limits.keepAliveMs
    this.#frames = new LeakyBucket(limits.framesPerSecond, { maxWaitMs })
    this.#bytes = new LeakyBucket(limits.bytesPerSecond, { maxWaitMs })
    this.#work = new LeakyBucket(limits.workMsPerSecond, { maxWaitMs, burstMs: workBurstMs, minWaitMs: turnMs })
    this.#registrations = new LeakyBucket(limits.registrationsPerSecond, { maxWaitMs })
    this.#sharers = sharers
    this.#onThrottled = onThrottled
    this.#alarm = new Alarm(clock, () => this.#resume())
    this.#turn = new Alarm(clock, () => {
      this.#pieceMs = 0
    })
  }

  /** Counts a frame that arrived on one of the links. */
  countFrame(bytes: number, by: ReadGate): void {
    const now = this.#clock.now()
    const waitMs = Math.max(this.#frames.take(1, now), this.#bytes.take(bytes, now))
    if (waitMs > 0) {
      this.#pause(waitMs, by, now)
      const { framesPerSecond, bytesPerSecond } = this.#limits
      this.#log(
        now,
        `the links of this user are read at up to ${framesPerSecond} frames and ${bytesPerSecond} bytes per second`,
      )
    }
    this.countWork(costs.frame(bytes), by)
  }

  /** Counts work of `costMs` milliseconds that one of the links caused. */
  countWork(costMs: number, by: ReadGate): void {
    const now = this.#clock.now()
    const shareMs = costMs * this.#sharers(this, false)
    const waitMs = Math.max(this.#work.take(shareMs, now), this.#addToPiece(shareMs, now))
    if (waitMs === 0) return
    this.#sharers(this, true)
    this.#pause(waitMs, by, now)
    if (now - this.#workedFrom >= logIntervalMs) {
      this.#workedFrom = now
      this.#workWaitMs = 0
    }
    this.#workWaitMs += waitMs
    if (this.#workWaitMs >= longWaitMs)
      this.#log(now, 'the requests of this user take more than its share of the processing time')
  }

  /** Gives back `costMs` milliseconds that were counted in advance and are not needed. */
  giveBackWork(costMs: number): void {
    this.#work.giveBack(costMs)
  }

  /** Counts a REGIST_REQ that arrived on one of the links. */
  countRegistration(by: ReadGate): void {
    const now = this.#clock.now()
    const waitMs = this.#registrations.take(1, now)
    if (waitMs === 0) return
    this.#pause(waitMs, by, now)
    this.#log(
      now,
      `up to ${this.#limits.registrationsPerSecond} registration requests of this user are read per second`,
    )
  }

  /** Removes a link that has ended. */
  removeLink(by: ReadGate): void {
    this.links--
    this.#throttled.delete(by)
    if (this.#throttled.size === 0) this.#alarm.stop()
    if (this.links > 0) return
    this.#turn.stop()
    this.#pieceMs = 0
  }

  /** Whether this equals a new limiter: it has no link, no used allowance and no recent log line. */
  get isNew(): boolean {
    const now = this.#clock.now()
    const allowances = [this.#frames, this.#bytes, this.#work, this.#registrations]
    return this.links === 0 && allowances.every((one) => one.isEmpty(now)) && now - this.#loggedAt >= logIntervalMs
  }

  /** Adds work to the current piece. Returns for how many milliseconds the user's links must not be read. */
  #addToPiece(costMs: number, now: number): number {
    if (this.#pieceMs === 0) this.#turn.by(now + turnMs)
    this.#pieceMs += costMs
    return this.#pieceMs > (pieceMs * this.#limits.workMsPerSecond) / 1_000 ? turnMs : 0
  }

  #pause(waitMs: number, by: ReadGate, now: number): void {
    this.#untilMs = Math.max(this.#untilMs, now + waitMs)
    this.#throttled.add(by)
    by.throttle(true)
    this.#alarm.by(this.#untilMs)
  }

  #log(now: number, text: string): void {
    if (now - this.#loggedAt < logIntervalMs) return
    this.#loggedAt = now
    this.#onThrottled(text)
  }

  #resume(): void {
    if (this.#clock.now() < this.#untilMs) {
      this.#alarm.by(this.#untilMs)
      return
    }
    const gates = [...this.#throttled]
    this.#throttled.clear()
    for (const gate of gates) gate.throttle(false)
  }
}

/** The limiters of users with links, and of users whose links ended recently, so that a new link does not reset the limits. */
export class UserRateLimiters {
  readonly #limits: Limits
  readonly #clock: Clock
  readonly #log: ServerLog
  readonly #here = new Map<string, UserRateLimiter>()
  /** The user whose last link ended first comes first. */
  readonly #gone = new Map<string, UserRateLimiter>()
  /** The users that were paused for their work, the least recent first, and the time until which they count as busy. */
  readonly #busy = new Map<UserRateLimiter, number>()

  constructor(limits: Limits, clock: Clock, log: ServerLog) {
    this.#limits = limits
    this.#clock = clock
    this.#log = log
  }

  /** Number of remembered users without a link. */
  get gone(): number {
    return this.#gone.size
  }

  /** Returns the limiter of a user for a new link. */
  enter(user: string): UserRateLimiter {
    const known = this.#here.get(user) ?? this.#gone.get(user)
    const slowed = (text: string) =>
      this.#log({ level: 'warn', event: 'user-slowed', user, code: 'rate-limited', text })
    const pace =
      known ?? new UserRateLimiter(this.#limits, this.#clock, slowed, (of, isBusy) => this.#sharers(of, isBusy))
    this.#gone.delete(user)
    this.#here.set(user, pace)
    pace.links++
    return pace
  }

  /** Removes a link of the user that has ended. */
  leave(user: string, by: ReadGate): void {
    const pace = this.#here.get(user)
    pace?.removeLink(by)
    if (!pace || pace.links > 0) return
    this.#here.delete(user)
    this.#gone.set(user, pace)
    for (const [gone, { isNew: forgettable }] of this.#gone) {
      if (!forgettable && this.#gone.size <= this.#limits.rememberedAddresses) return
      this.#gone.delete(gone)
    }
  }

  /** Returns the number of users that share the processing time: the busy ones, and this one. */
  #sharers(pace: UserRateLimiter, isBusy: boolean): number {
    const now = this.#clock.now()
    if (isBusy) {
      this.#busy.delete(pace)
      this.#busy.set(pace, now + busyMs)
    }
    for (const [other, untilMs] of this.#busy) {
      if (untilMs > now) break
      this.#busy.delete(other)
    }
    return this.#busy.size + (this.#busy.has(pace) ? 0 : 1)
  }
}

/** Pauses the reading of a link while too many bytes of its requests wait, its user is slowed, or its incomplete frame waits. */
export class ReadGate {
  readonly #peer: Pick<LinkDriver, 'pause' | 'resume'>
  readonly #mostWaiting: () => number
  #waitingBytes = 0
  #onThrottled = false
  #frameWaits = false
  #paused = false

  constructor(peer: Pick<LinkDriver, 'pause' | 'resume'>, mostWaiting: () => number) {
    this.#peer = peer
    this.#mostWaiting = mostWaiting
  }

  /** Adds to the number of bytes of waiting requests; a negative number subtracts. */
  hold(bytes: number): void {
    this.#waitingBytes += bytes
    this.#decide()
  }

  throttle(yes: boolean): void {
    this.#onThrottled = yes
    this.#decide()
  }

  /** Sets whether an incomplete frame of the link waits for memory. */
  pauseFrame(yes: boolean): void {
    this.#frameWaits = yes
    this.#decide()
  }

  #decide(): void {
    const pause = this.#onThrottled || this.#frameWaits || this.#waitingBytes > this.#mostWaiting()
    if (pause === this.#paused) return
    this.#paused = pause
    if (pause) this.#peer.pause()
    else this.#peer.resume()
  }
}
