import type { Clock } from '../../ports/platform.ts'

/** The longest delay that setTimeout supports, in milliseconds. A longer one would fire immediately. */
const longestDelayMs = 2 ** 31 - 1

/** Each link has several alarms, so an alarm is one object without closures and without a timer of its own. */
class NodeAlarm implements Disposable {
  readonly atMs: number
  readonly run: () => void
  readonly #heap: AlarmHeap
  /** Its index in the heap; -1 when it has left it. */
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

/** The alarms of a clock in a binary heap: none is later than the two at twice its index and the next. One timer serves all. */
class AlarmHeap {
  /** From index 1 on. */
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

  /** Puts an alarm at a free index, or above it. */
  #rise(alarm: NodeAlarm, index: number): void {
    let at = index
    for (let above = this.#alarms[at >> 1]; above && above.atMs > alarm.atMs; above = this.#alarms[at >> 1]) {
      this.#put(above, at)
      at >>= 1
    }
    this.#put(alarm, at)
  }

  /** Puts an alarm at a free index, or below it. */
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

  /** A timer can fire early, because of rounding or because its delay was limited. */
  #ring(): void {
    const now = performance.now()
    // So that no timer is set for an alarm that is added meanwhile.
    this.#timerAtMs = Number.NEGATIVE_INFINITY
    try {
      // An alarm for a time in the past, which is added meanwhile, rings in another turn.
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
