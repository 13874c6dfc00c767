import { crc32 } from 'node:zlib'
import type { Clock, Digests, Platform } from '../../lib/ports/platform.ts'
import type { SeededRandom } from '../../lib/testing/random.ts'
import type { VirtualTime } from './time.ts'

/** What every simulated process runs on. */
export interface Machine {
  readonly time: VirtualTime
  readonly random: SeededRandom
  readonly digests: Digests
}

/**
 * One run of a program, from its start until it ends or is killed. Once killed its alarms do not ring and nothing that it
 * waits for comes, so that its code stops where it stands, as a killed process does. While it is frozen the same holds,
 * but nothing is lost: all that comes has come when it goes on.
 */
export class SimulatedProcess {
  readonly name: string
  readonly platform: Platform
  readonly machine: Machine
  /** Files that it has open, and sockets, also those that are just being closed. */
  handles = 0
  sockets = 0
  readonly #random: SeededRandom
  readonly #unfinished = new Set<() => void>()
  /** Alarms that have neither rung nor been disposed of. */
  readonly #alarms = new Set<object>()
  /** What is to run when it goes on: alarms first, as an event loop does it. */
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

  /** How many alarms it has set. */
  get alarms(): number {
    return this.#alarms.size
  }

  /** Kills it. Of the effects that were under way some take place, and some don't. */
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

  /** It neither reads nor writes nor looks at a clock for so long, or until it is thawed before. */
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

  /** Runs something in it: now, when it goes on, or never. */
  awake(run: () => void): void {
    if (this.frozen) this.#arrived.push(run)
    else if (this.#alive) run()
  }

  /** Calls `late` if it is alive after so long, in which it was not frozen. */
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
   * Lets `effect` take place after a while, and resolves with what it returns, unless the process is killed before: what
   * takes place then is `partly`, where that is given.
   */
  effect<T>(
    mostMs: number,
    reason: string,
    effect: () => T | PromiseLike<T>,
    partly: () => unknown = effect,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!this.#alive) return
      const { time } = this.machine
      const inTime = () => {
        // The process is dead: nothing takes an error, neither one that is thrown nor one of a rejected promise.
        void (async () => partly())().catch(() => {})
      }
      this.#unfinished.add(inTime)
      time.alarm(time.now() + this.#random.fraction(reason) * mostMs, () => {
        if (!this.#unfinished.delete(inTime)) return
        try {
          const result = effect()
          this.awake(() => resolve(result))
        } catch (error) {
          this.awake(() => reject(error))
        }
      })
    })
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
