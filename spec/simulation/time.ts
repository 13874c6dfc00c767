import type { Clock } from '../../lib/ports/platform.ts'

interface Event {
  readonly atMs: number
  readonly order: number
  readonly run: () => void
  disposed: boolean
}

const before = (a: Event, b: Event) => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)

/** Virtual time: a heap of events, ordered by time and then by the order of scheduling. It advances only in `step`. */
export class VirtualTime implements Clock {
  readonly #heap: Event[] = []
  /** How far the wall clock was set forward. */
  #wallLeadMs = 0
  /** Whether the wall clock was ever set. */
  hasJumped = false
  #nowMs = 0
  #order = 0

  now(): number {
    return this.#nowMs
  }

  set wallLeadMs(ms: number) {
    this.#wallLeadMs = ms
    this.hasJumped = true
  }

  wallTime(): number {
    return 1_700_000_000_000 + this.#wallLeadMs + Math.floor(this.#nowMs)
  }

  alarm(atMs: number, run: () => void): Disposable {
    const event = { atMs: Math.max(atMs, this.#nowMs), order: this.#order++, run, disposed: false }
    this.#push(event)
    return {
      [Symbol.dispose]: () => {
        event.disposed = true
      },
    }
  }

  /** Runs the next event up to `endMs`. Returns false, and advances to `endMs`, if there is none. */
  step(endMs: number): boolean {
    for (let next = this.#heap[0]; next && (next.disposed || next.atMs <= endMs); next = this.#heap[0]) {
      this.#pop()
      if (next.disposed) continue
      this.#nowMs = next.atMs
      next.run()
      return true
    }
    this.#nowMs = Math.max(this.#nowMs, endMs)
    return false
  }

  #push(event: Event): void {
    const heap = this.#heap
    let at = heap.push(event) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = heap[parent]
      if (!above || !before(event, above)) break
      heap[at] = above
      at = parent
    }
    heap[at] = event
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (!last || heap.length === 0) return
    let at = 0
    for (;;) {
      const left = heap[2 * at + 1]
      const right = heap[2 * at + 2]
      const below = right && left && before(right, left) ? right : left
      if (!below || !before(below, last)) break
      heap[at] = below
      at = below === right ? 2 * at + 2 : 2 * at + 1
    }
    heap[at] = last
  }
}
