import type { Clock } from '../../lib/ports/platform.ts'

interface Alarm {
  readonly atMs: number
  readonly run: () => void
}

/** A clock that moves only when it is told to. */
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

  /** When the alarms that are set will ring, the first one first. */
  get set(): number[] {
    return [...this.#alarms].map(({ atMs }) => atMs).sort((a, b) => a - b)
  }

  /** Lets `ms` pass; alarms ring at their time. Those that are set again and again for the present are a fault. */
  pass(ms: number): void {
    const endMs = this.#nowMs + ms
    let rung = 0
    for (let next = this.#first(endMs); next; next = this.#first(endMs)) {
      if (++rung > 1_000_000) throw new Error('alarms ring without end')
      this.#alarms.delete(next)
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      next.run()
    }
    this.#nowMs = endMs
  }

  /** Lets `ms` pass in which nothing runs; what is overdue then rings at the next `pass`. */
  freeze(ms: number): void {
    this.#nowMs += ms
  }

  #first(endMs: number): Alarm | undefined {
    let first: Alarm | undefined
    for (const alarm of this.#alarms) if (alarm.atMs <= endMs && !(first && first.atMs <= alarm.atMs)) first = alarm
    return first
  }
}
