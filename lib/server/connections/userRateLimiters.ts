import { LeakyBucket } from '../../core/leakyBucket.ts'
import type { Limits } from '../../limits.ts'
import type { Clock } from '../../ports/platform.ts'
import { Alarm } from '../../runtime/alarm.ts'
import type { LinkDriver } from '../../runtime/linkDriver.ts'
import type { ServerLog } from '../logEvents.ts'
import { costs } from './requestCost.ts'

/** A user who is slowed is told of in the log once in so long. */
const toldMs = 60_000

/**
 * Work is done in pieces of this length at most, for each 1,000 ms of work that are allowed in a second: after one, the user's
 * links wait until those of others have been read.
 */
const pieceMs = 5
/** Other links are read at least once in so long, if there is time for it. */
const turnMs = 1
/** So much work may be ahead of its allowance. */
const workBurstMs = 10
/** A user who had to rest for the work of its requests counts as busy for this long. */
const busyMs = 1_000
/** A user whose requests had to wait for so long within `toldMs` is told of in the log. */
const longRestMs = 10_000

/** How fast the links of one user are read, all together. */
export class UserRateLimiter {
  readonly #clock: Clock
  readonly #frames: LeakyBucket
  readonly #bytes: LeakyBucket
  readonly #work: LeakyBucket
  readonly #registrations: LeakyBucket
  readonly #sharers: (of: UserRateLimiter, rests: boolean) => number
  readonly #slowed: (text: string) => void
  readonly #limits: Limits
  readonly #resting = new Set<ReadGate>()
  readonly #alarm: Alarm
  readonly #turn: Alarm
  /**
   * Work since links of others were read last, which is when an alarm has rung. It can't be compared with the clock: that moves
   * on while the work is done.
   */
  #pieceMs = 0
  #untilMs = Number.NEGATIVE_INFINITY
  #toldAt = Number.NEGATIVE_INFINITY
  /** How long it rested for its work since `#workedFrom`. */
  #workRestMs = 0
  #workedFrom = Number.NEGATIVE_INFINITY
  links = 0

  /** `sharers` counts the users whose requests are more than can be carried out now; this one is one if it rests. */
  constructor(
    limits: Limits,
    clock: Clock,
    slowed: (text: string) => void,
    sharers: (of: UserRateLimiter, rests: boolean) => number = () => 1,
  ) {
    this.#clock = clock
    this.#limits = limits
    // Within a keep-alive everybody is read again: so neither side takes the other for dead.
    const mostRestMs = limits.keepAliveMs
    this.#frames = new LeakyBucket(limits.framesPerSecond, { mostRestMs })
    this.#bytes = new LeakyBucket(limits.bytesPerSecond, { mostRestMs })
    this.#work = new LeakyBucket(limits.workMsPerSecond, { mostRestMs, burstMs: workBurstMs, restMs: turnMs })
    this.#registrations = new LeakyBucket(limits.registrationsPerSecond, { mostRestMs })
    this.#sharers = sharers
    this.#slowed = slowed
    this.#alarm = new Alarm(clock, () => this.#rested())
    this.#turn = new Alarm(clock, () => {
      this.#pieceMs = 0
    })
  }

  /** A frame has come by one of the links. */
  took(bytes: number, by: ReadGate): void {
    const now = this.#clock.now()
    const restMs = Math.max(this.#frames.take(1, now), this.#bytes.take(bytes, now))
    if (restMs > 0) {
      this.#rest(restMs, by, now)
      const { framesPerSecond, bytesPerSecond } = this.#limits
      this.#tell(
        now,
        `its links are read no faster than ${framesPerSecond} frames and ${bytesPerSecond} bytes a second`,
      )
    }
    this.works(costs.frame(bytes), by)
  }

  /** What has come by one of the links causes work of so many ms. */
  works(costMs: number, by: ReadGate): void {
    const now = this.#clock.now()
    const shareMs = costMs * this.#sharers(this, false)
    const restMs = Math.max(this.#work.take(shareMs, now), this.#addToPiece(shareMs, now))
    if (restMs === 0) return
    this.#sharers(this, true)
    this.#rest(restMs, by, now)
    if (now - this.#workedFrom >= toldMs) {
      this.#workedFrom = now
      this.#workRestMs = 0
    }
    this.#workRestMs += restMs
    if (this.#workRestMs >= longRestMs)
      this.#tell(now, 'its requests take more than its part of the time that the server has')
  }

  /** What was taken for work beforehand is not needed. */
  spares(costMs: number): void {
    this.#work.giveBack(costMs)
  }

  /** A REGIST_REQ has come by one of the links. */
  registers(by: ReadGate): void {
    const now = this.#clock.now()
    const restMs = this.#registrations.take(1, now)
    if (restMs === 0) return
    this.#rest(restMs, by, now)
    this.#tell(now, `no more than ${this.#limits.registrationsPerSecond} of its registrations are taken in a second`)
  }

  /** A link has ended. */
  left(by: ReadGate): void {
    this.links--
    this.#resting.delete(by)
    if (this.#resting.size === 0) this.#alarm.stop()
    if (this.links > 0) return
    this.#turn.stop()
    this.#pieceMs = 0
  }

  /** Whether it says nothing that a new one would not: no link, nothing to wait out, and nothing told lately. */
  get forgettable(): boolean {
    const now = this.#clock.now()
    const allowances = [this.#frames, this.#bytes, this.#work, this.#registrations]
    return this.links === 0 && allowances.every((one) => one.whole(now)) && now - this.#toldAt >= toldMs
  }

  /** Returns for how long the user's links are not to be read. */
  #addToPiece(costMs: number, now: number): number {
    if (this.#pieceMs === 0) this.#turn.by(now + turnMs)
    this.#pieceMs += costMs
    return this.#pieceMs > (pieceMs * this.#limits.workMsPerSecond) / 1_000 ? turnMs : 0
  }

  #rest(restMs: number, by: ReadGate, now: number): void {
    this.#untilMs = Math.max(this.#untilMs, now + restMs)
    this.#resting.add(by)
    by.slow(true)
    this.#alarm.by(this.#untilMs)
  }

  #tell(now: number, text: string): void {
    if (now - this.#toldAt < toldMs) return
    this.#toldAt = now
    this.#slowed(text)
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
export class UserRateLimiters {
  readonly #limits: Limits
  readonly #clock: Clock
  readonly #log: ServerLog
  readonly #here = new Map<string, UserRateLimiter>()
  /** The longest gone first. */
  readonly #gone = new Map<string, UserRateLimiter>()
  /** Those who had to rest for their work, the longest unheard of first, and until when they count as busy. */
  readonly #busy = new Map<UserRateLimiter, number>()

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
  enter(user: string): UserRateLimiter {
    const known = this.#here.get(user) ?? this.#gone.get(user)
    const told = (text: string) => this.#log({ level: 'warn', event: 'user-slowed', user, code: 'rate-limited', text })
    const pace = known ?? new UserRateLimiter(this.#limits, this.#clock, told, (of, rests) => this.#sharers(of, rests))
    this.#gone.delete(user)
    this.#here.set(user, pace)
    pace.links++
    return pace
  }

  /** One of the user's links, of this reading, has ended. */
  leave(user: string, by: ReadGate): void {
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

  /** How many users share the server's time: those who had to rest lately, and this one. */
  #sharers(pace: UserRateLimiter, rests: boolean): number {
    const now = this.#clock.now()
    if (rests) {
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

/** Whether a link is read: not while too much of what it has asked waits to be done, nor while its user is slowed or its begun frame waits. */
export class ReadGate {
  readonly #peer: Pick<LinkDriver, 'pause' | 'resume'>
  readonly #mostWaiting: () => number
  #waitingBytes = 0
  #slowed = false
  #frameWaits = false
  #paused = false

  constructor(peer: Pick<LinkDriver, 'pause' | 'resume'>, mostWaiting: () => number) {
    this.#peer = peer
    this.#mostWaiting = mostWaiting
  }

  /** So many bytes wait to be carried out; negative: no more. */
  hold(bytes: number): void {
    this.#waitingBytes += bytes
    this.#decide()
  }

  slow(yes: boolean): void {
    this.#slowed = yes
    this.#decide()
  }

  /** Whether its begun frame waits for memory. */
  pauseFrame(yes: boolean): void {
    this.#frameWaits = yes
    this.#decide()
  }

  #decide(): void {
    const pause = this.#slowed || this.#frameWaits || this.#waitingBytes > this.#mostWaiting()
    if (pause === this.#paused) return
    this.#paused = pause
    if (pause) this.#peer.pause()
    else this.#peer.resume()
  }
}
