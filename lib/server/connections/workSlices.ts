import { Queue } from '../../core/queue.ts'
import type { Clock } from '../../ports/platform.ts'
import { Alarm } from '../../runtime/alarm.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'

/** Work that is done at once before other links are served. */
const sliceMs = 5
/** Time after which the next slice begins, if all other links have been served by then. */
const pauseMs = 1

/**
 * Spreads requests that take long over many turns of the event loop, in the order in which they arrived. If thousands of clients
 * arrive at once, the server thus answers each HELLO_REQ before it sends the first clients the whole presence list.
 */
export class WorkSlices {
  readonly #clock: Clock
  readonly #alarm: Alarm
  readonly #waiting = new Queue<{ readonly costMs: number; readonly turn: Deferred<void> }>()
  #usedMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
    this.#alarm = new Alarm(clock, () => this.#begin())
  }

  /** Returns `undefined` if work of `costMs` can begin at once, otherwise a promise that resolves when it can begin. */
  turn(costMs: number): Promise<void> | undefined {
    if (this.#usedMs === 0) this.#alarm.by(this.#clock.now() + pauseMs)
    if (this.#usedMs < sliceMs && this.#waiting.length === 0) {
      this.#usedMs += costMs
      return undefined
    }
    const turn = deferred<void>()
    this.#waiting.push({ costMs, turn })
    return turn.promise
  }

  /** Drops the work that waits. */
  stop(): void {
    this.#alarm.stop()
  }

  #begin(): void {
    this.#usedMs = 0
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
      next.turn.resolve()
      this.#usedMs += next.costMs
      if (this.#usedMs >= sliceMs) break
    }
    if (this.#usedMs > 0) this.#alarm.by(this.#clock.now() + pauseMs)
  }
}
