import { crc32 } from 'node:zlib'
import type { Clock, Digests, Platform } from '../ports/platform.ts'
import type { SeededRandom } from './random.ts'
import type { VirtualTime } from './time.ts'

/** What every simulated process runs on. */
export interface Machine {
  readonly time: VirtualTime
  readonly random: SeededRandom
  readonly digests: Digests
}

/**
 * One run of a program, from its start until it ends or is killed. Once killed its alarms do not ring and nothing that it
 * waits for comes, so that its code stops where it stands, as a killed process does.
 */
export class SimulatedProcess {
  readonly name: string
  readonly platform: Platform
  readonly machine: Machine
  readonly #unfinished = new Set<() => void>()
  #alive = true

  constructor(name: string, machine: Machine) {
    this.name = name
    this.machine = machine
    const { time, random, digests } = machine
    const clock: Clock = {
      now: () => time.now(),
      wallTime: () => time.wallTime(),
      alarm: (atMs, run) => time.alarm(atMs, () => this.#alive && run()),
    }
    this.platform = { clock, random, digests, crc32: (bytes, start = 0) => crc32(bytes, start) }
  }

  get alive(): boolean {
    return this.#alive
  }

  /** Kills it. Of the effects that were under way some take place, and some don't. */
  kill(): void {
    if (!this.#alive) return
    this.#alive = false
    for (const effect of this.#unfinished) {
      if (this.machine.random.chance(0.5, 'an effect that was under way at the kill takes place')) effect()
    }
    this.#unfinished.clear()
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
      const { time, random } = this.machine
      const inTime = () => {
        try {
          partly()
        } catch {
          // Nobody is left to be told.
        }
      }
      this.#unfinished.add(inTime)
      time.alarm(time.now() + random.fraction(reason) * mostMs, () => {
        if (!this.#unfinished.delete(inTime)) return
        try {
          resolve(effect())
        } catch (error) {
          reject(error)
        }
      })
    })
  }
}
