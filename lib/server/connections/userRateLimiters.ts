import { LeakyBucket, LeakyRate } from '../../core/leakyBucket.ts'
import { Alarm } from '../../runtime/alarm.ts'
import type { LinkDriver } from '../../runtime/linkDriver.ts'
import type { ServerContext } from '../app.ts'
import { costs } from './requestCost.ts'

/** Minimum time between two log lines about the same throttled user. */
const logIntervalMs = 60_000

/** The work, for each 1,000 ms allowed per second, after which a user's links wait until others have been read. */
const pieceMs = 5
/** Time within which other links are read, if the server has time for it. */
const turnMs = 1
/** Amount of work that may exceed the allowance for a short time. */
const workBurstMs = 10
/** Time for which a user counts as busy after the work of its requests paused its links. */
const busyMs = 1_000
/** Total wait of a user's requests within `logIntervalMs` after which the server logs it. */
const longWaitMs = 10_000

type LimiterContext = Pick<ServerContext, 'limits' | 'platform' | 'log'>

/** Limits how fast all links of one user are read together. */
class UserRateLimiter {
  readonly #user: string
  readonly #context: LimiterContext
  readonly #frames: LeakyBucket
  readonly #bytes: LeakyBucket
  readonly #work: LeakyBucket
  readonly #registrations: LeakyBucket
  readonly #all: UserRateLimiters
  #throttled: Set<ReadGate> | undefined
  #alarm: Alarm | undefined
  #turn: Alarm | undefined
  /**
   * Work since other links were last read. The clock does not show that, since it also advances during the work, so an alarm
   * resets this. The alarm is set only above half of the maximum; up to there, this can include earlier work.
   */
  #pieceMs = 0
  #untilMs = Number.NEGATIVE_INFINITY
  #loggedAt = Number.NEGATIVE_INFINITY
  /** Total time of the pauses for work since `#workedFrom`. */
  #workWaitMs = 0
  #workedFrom = Number.NEGATIVE_INFINITY
  links = 0

  constructor(user: string, context: LimiterContext, all: UserRateLimiters) {
    this.#user = user
    this.#context = context
    const { rates } = all
    this.#frames = new LeakyBucket(rates.frames)
    this.#bytes = new LeakyBucket(rates.bytes)
    this.#work = new LeakyBucket(rates.work)
    this.#registrations = new LeakyBucket(rates.registrations)
    this.#all = all
  }

  /** Counts a frame that arrived on one of the links. */
  countFrame(bytes: number, link: ReadGate): void {
    const now = this.#context.platform.clock.now()
    const waitMs = Math.max(this.#frames.take(1, now), this.#bytes.take(bytes, now))
    if (waitMs > 0) {
      const { framesPerSecond, bytesPerSecond } = this.#context.limits
      const rates = `${framesPerSecond} frames and ${bytesPerSecond} bytes per second`
      this.#pause(waitMs, link, now)
      this.#log(now, `the links of this user are read at up to ${rates}`)
    }
    this.countWork(costs.frame(bytes), link)
  }

  /** Counts work of `costMs` milliseconds that one of the links caused. */
  countWork(costMs: number, link: ReadGate): void {
    const now = this.#context.platform.clock.now()
    const shareMs = costMs * this.#all.sharers(this, false)
    const waitMs = Math.max(this.#work.take(shareMs, now), this.#addToPiece(shareMs, now))
    if (waitMs === 0) return
    this.#all.sharers(this, true)
    this.#pause(waitMs, link, now)
    if (now - this.#workedFrom >= logIntervalMs) {
      this.#workedFrom = now
      this.#workWaitMs = 0
    }
    this.#workWaitMs += waitMs
    if (this.#workWaitMs < longWaitMs) return
    this.#log(now, "the requests of this user take more than the user's share of the processing time")
  }

  /** Gives back `costMs` milliseconds that were counted in advance and are not needed. */
  giveBackWork(costMs: number): void {
    this.#work.giveBack(costMs)
  }

  /** Counts a REGIST_REQ that arrived on one of the links. */
  countRegistration(link: ReadGate): void {
    const now = this.#context.platform.clock.now()
    const waitMs = this.#registrations.take(1, now)
    if (waitMs === 0) return
    const { registrationsPerSecond } = this.#context.limits
    this.#pause(waitMs, link, now)
    this.#log(now, `up to ${registrationsPerSecond} registration requests of this user are read per second`)
  }

  removeLink(link: ReadGate): void {
    this.links--
    this.#throttled?.delete(link)
    if (this.#throttled?.size === 0) this.#alarm?.stop()
    if (this.links > 0) return
    this.#turn?.stop()
    this.#pieceMs = 0
  }

  /** Whether this equals a new limiter: it has no link, no used allowance and no recent log line. */
  get isNew(): boolean {
    const now = this.#context.platform.clock.now()
    const allowances = [this.#frames, this.#bytes, this.#work, this.#registrations]
    return this.links === 0 && allowances.every((one) => one.isEmpty(now)) && now - this.#loggedAt >= logIntervalMs
  }

  /** Adds work to the current piece. Returns for how many milliseconds the user's links must not be read. */
  #addToPiece(costMs: number, now: number): number {
    const mostMs = (pieceMs * this.#context.limits.workMsPerSecond) / 1_000
    this.#pieceMs += costMs
    if (this.#pieceMs <= mostMs / 2) return 0
    this.#turn ??= new Alarm(this.#context.platform.clock, () => {
      this.#pieceMs = 0
    })
    this.#turn.by(now + turnMs)
    return this.#pieceMs > mostMs ? turnMs : 0
  }

  #pause(waitMs: number, link: ReadGate, now: number): void {
    this.#untilMs = Math.max(this.#untilMs, now + waitMs)
    this.#throttled = (this.#throttled ?? new Set()).add(link)
    link.throttle(true)
    this.#alarm ??= new Alarm(this.#context.platform.clock, () => this.#resume())
    this.#alarm.by(this.#untilMs)
  }

  #log(now: number, text: string): void {
    if (now - this.#loggedAt < logIntervalMs) return
    this.#loggedAt = now
    this.#context.log({ level: 'warn', event: 'user-slowed', user: this.#user, code: 'rate-limited', text })
  }

  #resume(): void {
    if (this.#context.platform.clock.now() < this.#untilMs) {
      this.#alarm?.by(this.#untilMs)
      return
    }
    const links = this.#throttled ?? []
    this.#throttled = undefined
    for (const link of links) link.throttle(false)
  }
}

/** The limiters of users with links, and of users whose links ended recently, so that a new link does not reset the limits. */
export class UserRateLimiters {
  readonly rates: Readonly<Record<'frames' | 'bytes' | 'work' | 'registrations', LeakyRate>>
  readonly #context: LimiterContext
  readonly #present = new Map<string, UserRateLimiter>()
  /** Of users without a link, in the order in which their last links ended. */
  readonly #gone = new Map<string, UserRateLimiter>()
  /** The users that were paused for their work, the least recent first, and the time until which they count as busy. */
  readonly #busy = new Map<UserRateLimiter, number>()

  constructor(context: LimiterContext) {
    this.#context = context
    const { framesPerSecond, bytesPerSecond, workMsPerSecond, registrationsPerSecond, keepAliveMs } = context.limits
    // No pause is longer than a keep-alive interval, so that neither side considers the other dead.
    const maxWaitMs = keepAliveMs
    this.rates = {
      frames: new LeakyRate(framesPerSecond, { maxWaitMs }),
      bytes: new LeakyRate(bytesPerSecond, { maxWaitMs }),
      work: new LeakyRate(workMsPerSecond, { maxWaitMs, burstMs: workBurstMs, minWaitMs: turnMs }),
      registrations: new LeakyRate(registrationsPerSecond, { maxWaitMs }),
    }
  }

  /** Number of remembered users without a link. */
  get gone(): number {
    return this.#gone.size
  }

  /** Returns the limiter of a user for a new link. */
  enter(user: string): UserRateLimiter {
    const known = this.#present.get(user) ?? this.#gone.get(user)
    const limiter = known ?? new UserRateLimiter(user, this.#context, this)
    this.#gone.delete(user)
    this.#present.set(user, limiter)
    limiter.links++
    return limiter
  }

  /** Removes a link of the user that has ended. */
  leave(user: string, link: ReadGate): void {
    const limiter = this.#present.get(user)
    limiter?.removeLink(link)
    if (!limiter || limiter.links > 0) return
    this.#present.delete(user)
    this.#gone.set(user, limiter)
    for (const [gone, { isNew }] of this.#gone) {
      if (!isNew && this.#gone.size <= this.#context.limits.rememberedAddresses) return
      this.#gone.delete(gone)
    }
  }

  /** Returns the number of users that share the processing time: the busy ones, and this one, which `isBusy` makes busy. */
  sharers(limiter: UserRateLimiter, isBusy: boolean): number {
    const now = this.#context.platform.clock.now()
    if (isBusy) {
      this.#busy.delete(limiter)
      this.#busy.set(limiter, now + busyMs)
    }
    for (const [other, untilMs] of this.#busy) {
      if (untilMs > now) break
      this.#busy.delete(other)
    }
    return this.#busy.size + (this.#busy.has(limiter) ? 0 : 1)
  }
}

/** Pauses the reading of a link while its requests hold too many bytes, its user is throttled, or its frame waits. */
export class ReadGate {
  readonly #driver: Pick<LinkDriver, 'pause' | 'resume'>
  readonly #maxBytes: () => number
  #bytes = 0
  #isThrottled = false
  #frameWaits = false
  #isPaused = false

  constructor(driver: Pick<LinkDriver, 'pause' | 'resume'>, maxBytes: () => number) {
    this.#driver = driver
    this.#maxBytes = maxBytes
  }

  /** Adds to the bytes of requests in progress; a negative number subtracts. */
  hold(bytes: number): void {
    this.#bytes += bytes
    this.#update()
  }

  throttle(yes: boolean): void {
    this.#isThrottled = yes
    this.#update()
  }

  /** Sets whether an incomplete frame of the link waits for memory. */
  pauseFrame(yes: boolean): void {
    this.#frameWaits = yes
    this.#update()
  }

  #update(): void {
    const pause = this.#isThrottled || this.#frameWaits || this.#bytes > this.#maxBytes()
    if (pause === this.#isPaused) return
    this.#isPaused = pause
    if (pause) this.#driver.pause()
    else this.#driver.resume()
  }
}
