import type { Clock } from '../../ports/platform.ts'
import { Alarm } from '../../runtime/alarm.ts'

/** An append is slow if it takes this much longer than usual. */
const slowMs = 4

/** Uploads pause for this multiple of the time by which a slow append exceeded the usual one. */
const cooldownFactor = 2

/** The maximum cooldown, and the maximum wait of an upload. */
const maxWaitMs = 250

/** The share of the time in which uploads can be held back. An unused share can be used later, up to `maxWaitMs`. */
const heldShare = 1 / 5

/** The usual duration rises by this part of the difference with each append that takes longer, and falls at once. */
const risePart = 1 / 100

/**
 * Gives messages priority on a busy disk, since a sender waits for each of them, while an upload has other bytes in
 * flight. Writes and flushes of uploads do not begin during an append, nor soon after a slow append. The reference is
 * the duration of fast appends, like the base delay of RFC 6817. So a slow disk causes no cooldown by itself, and a
 * disk that keeps up with both is used in full. Uploads wait for no more than `heldShare` of the time.
 */
export class WritePriority {
  readonly #clock: Clock
  #appends = 0
  #cooldownUntilMs = 0
  /** The duration of an append on an idle disk. */
  #usualMs = Number.POSITIVE_INFINITY
  #waiting: (() => void)[] = []
  /** The time since which uploads wait, and the latest time at which they resume. */
  #heldSinceMs = 0
  #deadlineMs = 0
  /** The time for which uploads can be held back, at `#creditAtMs`. */
  #creditMs = maxWaitMs
  #creditAtMs = 0
  readonly #alarm: Alarm

  constructor(clock: Clock) {
    this.#clock = clock
    this.#alarm = new Alarm(clock, () => this.#resume())
  }

  /** Runs `work`, which makes messages durable. */
  async append<T>(work: () => Promise<T>): Promise<T> {
    const beganMs = this.#clock.now()
    this.#appends++
    try {
      return await work()
    } finally {
      this.#appends--
      this.#measure(this.#clock.now() - beganMs)
      this.#resume()
    }
  }

  /** Resolves when a write or flush of an upload may begin. */
  ready(): Promise<void> {
    if (this.#isFree) return Promise.resolve()
    if (this.#waiting.length === 0) {
      const credit = this.#credit()
      if (credit === 0) return Promise.resolve()
      this.#heldSinceMs = this.#clock.now()
      this.#deadlineMs = this.#heldSinceMs + credit
    }
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      this.#resume()
    })
  }

  get #isFree(): boolean {
    return this.#appends === 0 && this.#clock.now() >= this.#cooldownUntilMs
  }

  /** Returns the time for which uploads can be held back now. */
  #credit(): number {
    const now = this.#clock.now()
    this.#creditMs = Math.min(maxWaitMs, this.#creditMs + (now - this.#creditAtMs) * heldShare)
    this.#creditAtMs = now
    return this.#creditMs
  }

  #measure(ms: number): void {
    this.#usualMs = ms < this.#usualMs ? ms : this.#usualMs + (ms - this.#usualMs) * risePart
    const longer = ms - this.#usualMs
    if (longer > slowMs) this.#cooldownUntilMs = this.#clock.now() + Math.min(longer * cooldownFactor, maxWaitMs)
  }

  /** Resumes the waiting uploads, now or when they may continue. */
  #resume(): void {
    if (this.#waiting.length === 0) return
    if (this.#isFree || this.#clock.now() >= this.#deadlineMs) {
      this.#alarm.stop()
      this.#creditMs = Math.max(0, this.#credit() - (this.#clock.now() - this.#heldSinceMs))
      for (const resume of this.#waiting.splice(0)) resume()
    } else this.#alarm.by(this.#appends > 0 ? this.#deadlineMs : Math.min(this.#cooldownUntilMs, this.#deadlineMs))
  }
}
