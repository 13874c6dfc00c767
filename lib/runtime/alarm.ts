import type { Clock } from '../ports/platform.ts'

/** One alarm for the earliest of many deadlines. It can ring early, if the deadline has moved, but never late. */
export class Alarm {
  readonly #clock: Clock
  readonly #ring: () => void
  #set: { readonly atMs: number; readonly disposable: Disposable } | undefined

  constructor(clock: Clock, ring: () => void) {
    this.#clock = clock
    this.#ring = ring
  }

  /** Rings at `deadlineMs` or earlier, or never if that is Infinity. */
  by(deadlineMs: number): void {
    if (this.#set && this.#set.atMs <= deadlineMs) return
    this.stop()
    if (deadlineMs === Number.POSITIVE_INFINITY) return
    const disposable = this.#clock.alarm(deadlineMs, () => {
      this.#set = undefined
      this.#ring()
    })
    this.#set = { atMs: deadlineMs, disposable }
  }

  stop(): void {
    this.#set?.disposable[Symbol.dispose]()
    this.#set = undefined
  }
}
