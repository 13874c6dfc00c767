import type { Journal } from './journal.ts'

/** What was found out about the free room counts for so long, and for so many bytes that are written. */
const freshMs = 100
const freshBytes = 4 * 1024 * 1024

/** Knows how many bytes the disk has left, without asking it for each message. */
export class FreeSpace {
  readonly #journal: Journal
  readonly #now: () => number
  #free = 0
  #lookedAt = Number.NEGATIVE_INFINITY
  #taken = 0

  constructor(journal: Journal, now: () => number) {
    this.#journal = journal
    this.#now = now
  }

  get isFresh(): boolean {
    return this.#taken < freshBytes && this.#now() - this.#lookedAt <= freshMs
  }

  /** Asks the disk. */
  async look(): Promise<void> {
    this.#free = await this.#journal.free()
    this.#lookedAt = this.#now()
    this.#taken = 0
  }

  /** Whether `reserve` is left when so many bytes were taken. If not, the disk is asked again before the next answer. */
  has(bytes: number, reserve: number): boolean {
    if (this.#free - bytes >= reserve) return true
    this.#lookedAt = Number.NEGATIVE_INFINITY
    return false
  }

  /** So many bytes are being written. */
  take(bytes: number): void {
    this.#free -= bytes
    this.#taken += bytes
  }
}
