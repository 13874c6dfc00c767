import type { Clock } from '../ports/platform.ts'

/** One alarm for the earliest of many deadlines. It can ring early, if the deadline has moved, but never late. */
export class Alarm {
  readonly #clock: Clock
  readonly #ring: () => void
  /** The time of the alarm that is set; Infinity if none is set. */
  #atMs = Number.POSITIVE_INFINITY
  #set: Disposable | undefined
  /** Created for the first alarm, and used for all. */
  #run: (() => void) | undefined

  constructor(clock: Clock, ring: () => void) {
    this.#clock = clock
    this.#ring = ring
  }

  /** Rings at `deadlineMs` or earlier, or never if that is Infinity. */
  by(deadlineMs: number): void {
    if (this.#atMs <= deadlineMs) return
    this.stop()
    this.#run ??= () => {
      this.#clear()
      this.#ring()
    }
    this.#atMs = deadlineMs
    this.#set = this.#clock.alarm(deadlineMs, this.#run)
  }

  stop(): void {
    this.#set?.[Symbol.dispose]()
    this.#clear()
  }

  #clear(): void {
    this.#set = undefined
    this.#atMs = Number.POSITIVE_INFINITY
  }
}
