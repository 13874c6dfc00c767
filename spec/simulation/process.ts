import { crc32 } from 'node:zlib'
import type { Clock, Digests, Platform } from '../../lib/ports/platform.ts'
import type { SeededRandom } from '../support/random.ts'
import type { VirtualTime } from './time.ts'

/** The base of every simulated process. */
export interface Machine {
  readonly time: VirtualTime
  readonly random: SeededRandom
  readonly digests: Digests
}

/** A moment in the work of a process: just before or after an effect with this reason takes place. */
export interface Breakpoint {
  readonly when: 'before' | 'after'
  readonly reason: string
  /** Called when a process reaches it, before the process knows of the effect. */
  readonly reached: (process: SimulatedProcess) => void
}

/**
 * One run of a program, from its start until it ends or is killed. After a kill its alarms do not fire and its pending
 * operations do not finish, so that its code stops at its current position, as in a killed process. The same is true
 * while it is frozen, but nothing is lost: all pending events happen when it continues, and so do some of the effects in progress.
 */
export class SimulatedProcess {
  readonly name: string
  readonly platform: Platform
  readonly machine: Machine
  /** Files and sockets that it has open, including those that are being closed. */
  handles = 0
  sockets = 0
  /** Each is removed when a process reaches it. */
  breakpoints: Breakpoint[] = []
  readonly #random: SeededRandom
  readonly #unfinished = new Set<() => void>()
  /** Alarms that have neither fired nor been disposed. */
  readonly #alarms = new Set<object>()
  /** Work for the time when it continues: alarms first, as in an event loop. */
  #rung: (() => void)[] = []
  #arrived: (() => void)[] = []
  #frozenSince: number | undefined
  #frozenMs = 0
  #alive = true

  constructor(name: string, machine: Machine) {
    this.name = name
    this.machine = machine
    this.#random = machine.random.fork(name)
    const { time, digests } = machine
    const clock: Clock = {
      now: () => time.now(),
      wallTime: () => time.wallTime(),
      alarm: (atMs, run) => this.#alarm(atMs, run),
    }
    this.platform = { clock, random: this.#random, digests, crc32: (bytes, start = 0) => crc32(bytes, start) }
  }

  get alive(): boolean {
    return this.#alive
  }

  get frozen(): boolean {
    return this.#frozenSince !== undefined
  }

  /** Number of its pending alarms. */
  get alarms(): number {
    return this.#alarms.size
  }

  /** Kills it. Some of the effects in progress happen, and some do not. */
  kill(): void {
    if (!this.#alive) return
    this.#alive = false
    for (const effect of this.#unfinished) {
      if (this.#random.chance(0.5, 'an effect that was under way at the kill takes place')) effect()
    }
    this.#unfinished.clear()
    this.#alarms.clear()
    this.#rung = []
    this.#arrived = []
  }

  /** Freezes it for this time, or until it is thawed: it neither reads nor writes nor looks at a clock. */
  freezeFor(ms: number): void {
    if (this.frozen) return
    const { time } = this.machine
    const since = time.now()
    this.#frozenSince = since
    time.alarm(time.now() + ms, () => this.#frozenSince === since && this.thaw())
  }

  thaw(): void {
    if (this.#frozenSince === undefined) return
    const { time } = this.machine
    const now = time.now()
    this.#frozenMs += now - this.#frozenSince
    this.#frozenSince = undefined
    const held = [...this.#rung, ...this.#arrived]
    this.#rung = []
    this.#arrived = []
    for (const run of held) time.alarm(now, () => this.awake(run))
  }

  /** Runs a function in it: now, when it continues, or never. */
  awake(run: () => void): void {
    if (this.frozen) this.#arrived.push(run)
    else if (this.#alive) run()
  }

  /** Calls `late` if it is alive after this time, in which it was not frozen. */
  within(ms: number, late: () => void): void {
    const { time } = this.machine
    const before = this.#sumFrozenMs
    time.alarm(time.now() + ms, () => {
      const lostMs = this.#sumFrozenMs - before
      if (!this.#alive) return
      if (lostMs > 0) this.within(lostMs, late)
      else late()
    })
  }

  /**
   * Runs `effect` after a while, at least `leastMs`, and resolves with its result. If the process is killed before, `partly`
   * runs instead, if it is given.
   */
  effect<T>(
    mostMs: number,
    reason: string,
    effect: () => T | PromiseLike<T>,
    partly: () => unknown = effect,
    leastMs = 0,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!this.#alive) return
      const { time } = this.machine
      const inTime = () => {
        // The process is dead, so errors and rejections have no handler.
        void (async () => partly())().catch(() => {})
      }
      this.#unfinished.add(inTime)
      const take = () => {
        if (!this.#unfinished.delete(inTime)) return
        try {
          const result = effect()
          this.#reach('after', reason)
          this.awake(() => resolve(result))
        } catch (error) {
          this.awake(() => reject(error))
        }
      }
      time.alarm(time.now() + leastMs + this.#random.fraction(reason) * mostMs, () => {
        const isReached = this.#reach('before', reason)
        const isLate = this.frozen && (isReached || this.#random.chance(0.5, 'an effect takes place after a freeze'))
        if (isLate) this.#arrived.push(take)
        else take()
      })
    })
  }

  /** Returns whether it has reached a breakpoint. */
  #reach(when: Breakpoint['when'], reason: string): boolean {
    const at = this.frozen ? -1 : this.breakpoints.findIndex((each) => each.when === when && each.reason === reason)
    const [breakpoint] = at < 0 ? [] : this.breakpoints.splice(at, 1)
    breakpoint?.reached(this)
    return breakpoint !== undefined
  }

  get #sumFrozenMs(): number {
    return this.#frozenMs + (this.#frozenSince === undefined ? 0 : this.machine.time.now() - this.#frozenSince)
  }

  #alarm(atMs: number, run: () => void): Disposable {
    const pending = {}
    this.#alarms.add(pending)
    const ring = () => {
      if (this.#alarms.delete(pending)) run()
    }
    const alarm = this.machine.time.alarm(atMs, () => {
      if (this.frozen) this.#rung.push(ring)
      else ring()
    })
    return {
      [Symbol.dispose]: () => {
        this.#alarms.delete(pending)
        alarm[Symbol.dispose]()
      },
    }
  }
}
