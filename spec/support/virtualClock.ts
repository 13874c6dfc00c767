import type { Clock } from '../../lib/ports/platform.ts'

interface Alarm {
  readonly atMs: number
  readonly run: () => void
}

/** A clock that moves only on request. */
export class VirtualClock implements Clock {
  #nowMs: number
  readonly #alarms = new Set<Alarm>()

  constructor(startMs = 1_000_000) {
    this.#nowMs = startMs
  }

  now(): number {
    return this.#nowMs
  }

  wallTime(): number {
    return this.#nowMs
  }

  alarm(atMs: number, run: () => void): Disposable {
    const alarm = { atMs, run }
    this.#alarms.add(alarm)
    return { [Symbol.dispose]: () => this.#alarms.delete(alarm) }
  }

  /** The times of the pending alarms, earliest first. */
  get set(): number[] {
    return [...this.#alarms].map(({ atMs }) => atMs).sort((a, b) => a - b)
  }

  /** Lets `ms` pass; alarms fire at their times. Throws if alarms are set for the present endlessly. */
  pass(ms: number): void {
    const endMs = this.#nowMs + ms
    let rung = 0
    for (let next = this.#first(endMs); next; next = this.#first(endMs)) {
      if (++rung > 1_000_000) throw new Error('alarms fire endlessly')
      this.#alarms.delete(next)
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      next.run()
    }
    this.#nowMs = endMs
  }

  /** Lets `ms` pass in which nothing runs; overdue alarms fire at the next `pass`. */
  freeze(ms: number): void {
    this.#nowMs += ms
  }

  #first(endMs: number): Alarm | undefined {
    let first: Alarm | undefined
    for (const alarm of this.#alarms) if (alarm.atMs <= endMs && !(first && first.atMs <= alarm.atMs)) first = alarm
    return first
  }
}
