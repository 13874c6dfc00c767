import type { Clock } from '../../ports/platform.ts'

/** An append may take so much longer than usual before uploads give way to the next ones. */
const slowMs = 4

/** Uploads rest this many times what a slow append took longer than usual. */
const restTimes = 2

/** No rest is longer, and no upload waits longer for its turn, whatever appends take. */
const mostMs = 250

/** What is usual rises by this part of the difference with each append that takes longer, and falls at once. */
const risePart = 1 / 100

/**
 * Messages go first on a disk that uploads keep busy: somebody waits for each of them, while an upload has bytes enough
 * that wait anyway. A write or flush of an upload begins neither while an append is under way nor soon after one that
 * was slow. What is slow is told by what appends take when they are quick (as in RFC 6817, by the base delay), so a disk
 * that is slow by itself is no reason to rest, and one that keeps up with both is used in full.
 */
export class WritePriority {
  readonly #clock: Clock
  #appends = 0
  #restUntilMs = 0
  /** What an append takes while nothing else keeps the disk busy. */
  #usualMs = Number.POSITIVE_INFINITY
  #waiting: (() => void)[] = []
  #rest: Disposable | undefined
  #most: Disposable | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Runs `work`, which makes messages durable. */
  async append<T>(work: () => Promise<T>): Promise<T> {
    const beganMs = this.#clock.now()
    this.#appends++
    try {
      return await work()
    } finally {
      this.#appends--
      this.#took(this.#clock.now() - beganMs)
      this.#look()
    }
  }

  /** Resolves when a write or flush of an upload may begin. */
  turn(): Promise<void> {
    if (this.#isFree) return Promise.resolve()
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      this.#most ??= this.#clock.alarm(this.#clock.now() + mostMs, () => this.#go())
      this.#look()
    })
  }

  get #isFree(): boolean {
    return this.#appends === 0 && this.#clock.now() >= this.#restUntilMs
  }

  #took(ms: number): void {
    this.#usualMs = ms < this.#usualMs ? ms : this.#usualMs + (ms - this.#usualMs) * risePart
    const longer = ms - this.#usualMs
    if (longer > slowMs) this.#restUntilMs = this.#clock.now() + Math.min(longer * restTimes, mostMs)
  }

  /** Lets those go that wait, or sees to it that they go when the rest is over. */
  #look(): void {
    if (this.#waiting.length === 0 || this.#appends > 0) return
    if (this.#isFree) this.#go()
    else {
      this.#rest?.[Symbol.dispose]()
      this.#rest = this.#clock.alarm(this.#restUntilMs, () => this.#look())
    }
  }

  #go(): void {
    this.#rest?.[Symbol.dispose]()
    this.#most?.[Symbol.dispose]()
    this.#rest = undefined
    this.#most = undefined
    for (const go of this.#waiting.splice(0)) go()
  }
}
