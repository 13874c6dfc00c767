import type { Clock } from '../../ports/platform.ts'

/** The longest delay that setTimeout supports, in milliseconds. A longer one would fire immediately. */
const longestDelayMs = 2 ** 31 - 1

/** An alarm that is set. Each link has several, so an alarm is one object, without closures and without a timer of its own. */
class NodeAlarm implements Disposable {
  readonly atMs: number
  readonly run: () => void
  readonly #heap: AlarmHeap
  /** The index in the heap; -1 after the alarm has been removed. */
  index = -1

  constructor(atMs: number, run: () => void, heap: AlarmHeap) {
    this.atMs = atMs
    this.run = run
    this.#heap = heap
  }

  [Symbol.dispose](): void {
    if (this.index >= 0) this.#heap.remove(this)
  }
}

/** The alarms of a clock in a binary heap: the alarm at `n` is no later than those at `2n` and `2n + 1`. One timer serves all. */
class AlarmHeap {
  /** The first alarm is at index 1. */
  readonly #alarms: (NodeAlarm | undefined)[] = [undefined]
  #timer: NodeJS.Timeout | undefined
  #timerAtMs = 0

  add(alarm: NodeAlarm): void {
    this.#alarms.push(alarm)
    this.#rise(alarm, this.#alarms.length - 1)
    this.#arm()
  }

  remove(alarm: NodeAlarm): void {
    const { index } = alarm
    const last = this.#alarms.pop()
    alarm.index = -1
    if (last && last !== alarm) {
      this.#sink(last, index)
      this.#rise(last, last.index)
    }
    // A timer that is too early does no harm, but a timer without an alarm would keep the process alive.
    if (this.#alarms.length === 1) this.#disarm()
  }

  /** Puts an alarm at a free index, or above it if it is earlier than the alarms there. */
  #rise(alarm: NodeAlarm, index: number): void {
    let at = index
    for (let above = this.#alarms[at >> 1]; above && above.atMs > alarm.atMs; above = this.#alarms[at >> 1]) {
      this.#put(above, at)
      at >>= 1
    }
    this.#put(alarm, at)
  }

  /** Puts an alarm at a free index, or below it if it is later than the alarms there. */
  #sink(alarm: NodeAlarm, index: number): void {
    let at = index
    for (let below = this.#earlierBelow(at); below && below.atMs < alarm.atMs; below = this.#earlierBelow(at)) {
      const next = below.index
      this.#put(below, at)
      at = next
    }
    this.#put(alarm, at)
  }

  #earlierBelow(index: number): NodeAlarm | undefined {
    const left = this.#alarms[2 * index]
    const right = this.#alarms[2 * index + 1]
    return left && right && right.atMs < left.atMs ? right : left
  }

  #put(alarm: NodeAlarm, index: number): void {
    this.#alarms[index] = alarm
    alarm.index = index
  }

  #arm(): void {
    const first = this.#alarms[1]
    if (!first || (this.#timer && this.#timerAtMs <= first.atMs)) return
    this.#disarm()
    this.#timerAtMs = first.atMs
    const delayMs = Math.ceil(first.atMs - performance.now())
    this.#timer = setTimeout(() => this.#ring(), Math.min(Math.max(delayMs, 1), longestDelayMs))
  }

  #disarm(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** Runs the alarms that are due. A timer can fire early, because of rounding or because its delay was limited. */
  #ring(): void {
    const now = performance.now()
    // Prevents `#arm` from setting a timer for an alarm that is added by `run`.
    this.#timerAtMs = Number.NEGATIVE_INFINITY
    try {
      // Runs no more alarms than were set at the start, since `run` can add alarms for a time in the past.
      for (let left = this.#alarms.length - 1; left > 0; left--) {
        const first = this.#alarms[1]
        if (!first || first.atMs > now) break
        this.remove(first)
        first.run()
      }
    } finally {
      this.#disarm()
      this.#arm()
    }
  }
}

/** Returns the monotonic clock of Node, with its wall clock. */
export function nodeClock(): Clock {
  const heap = new AlarmHeap()
  return {
    now: () => performance.now(),
    wallTime: () => Date.now(),
    alarm(atMs, run) {
      const alarm = new NodeAlarm(atMs, run, heap)
      heap.add(alarm)
      return alarm
    },
  }
}
