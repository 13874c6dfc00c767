import { ClassicLevel } from 'classic-level'
import type { Change, KeyRange, Shelf } from '../records/shelf.ts'
import { attempt } from './faults.ts'
import { Recent } from './recent.ts'

/** Keys whose values are kept at hand: those of the uploads that are open at once, a few each. */
const keysAtHand = 1_024

interface Waiting {
  readonly changes: readonly Change[]
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** A shelf in LevelDB. What is asked to be written during one flush is written together in the next. */
export class LevelShelf implements Shelf {
  readonly #level: ClassicLevel<string, string>
  readonly #recent = new Recent(keysAtHand)
  #waiting: Waiting[] = []
  #writing: Promise<void> | undefined
  #reopening: Promise<void> | undefined
  #torn = false
  #closed = false

  private constructor(level: ClassicLevel<string, string>) {
    this.#level = level
  }

  /** Rejects with what classic-level rejects with: the code of its cause says why. */
  static async open(directory: string): Promise<LevelShelf> {
    const level = new ClassicLevel(directory)
    await level.open()
    return new LevelShelf(level)
  }

  async get(key: string): Promise<string | undefined> {
    return attempt(`reading ${this.#level.location}`, async () => {
      await this.#opened()
      return this.#recent.get(key, () => this.#level.get(key))
    })
  }

  async *entries({ from, below, limit = -1 }: KeyRange): AsyncIterable<readonly [key: string, value: string]> {
    const doing = `reading ${this.#level.location}`
    await attempt(doing, () => this.#opened())
    const entries = this.#level.iterator({ gte: from, lt: below, limit })
    try {
      for (;;) {
        const entry = await attempt(doing, () => entries.next())
        if (!entry) return
        yield entry
      }
    } finally {
      await entries.close()
    }
  }

  write(changes: readonly Change[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ changes, resolve, reject })
      this.#writing ??= this.#writeWaiting()
    })
  }

  /** Ends what was asked to be written, then closes. */
  async close(): Promise<void> {
    await this.#writing
    this.#closed = true
    await attempt(`closing ${this.#level.location}`, () => this.#level.close())
  }

  async #writeWaiting(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#waiting
      this.#waiting = []
      try {
        await this.#commit(group.flatMap(({ changes }) => changes))
        for (const { resolve } of group) resolve()
      } catch (error) {
        for (const { reject } of group) reject(error)
      }
    }
    this.#writing = undefined
  }

  async #commit(changes: readonly Change[]): Promise<void> {
    await attempt(`writing ${this.#level.location}`, async () => {
      if (this.#torn) await this.#reopen()
      this.#torn = true
      this.#forget(changes)
      try {
        await this.#level.batch(
          changes.map(({ key, value }) => (value === undefined ? { type: 'del', key } : { type: 'put', key, value })),
          { sync: true },
        )
      } catch (error) {
        // It may have been done or not, whatever was read meanwhile.
        this.#forget(changes)
        throw error
      }
      for (const { key, value } of changes) this.#recent.set(key, value)
      this.#torn = false
    })
  }

  #forget(changes: readonly Change[]): void {
    for (const { key } of changes) this.#recent.forget(key)
  }

  /** Resolves when it can be read: it is not open while it is opened anew, nor where that failed for want of room. */
  async #opened(): Promise<void> {
    while (this.#reopening) await this.#reopening
    if (this.#level.status !== 'open' && !this.#closed) await this.#reopen()
  }

  // A write that failed may have left half an entry in LevelDB's log, and what is written behind that would
  // not be found again. Opening it anew puts the good part of the log away and begins another.
  #reopen(): Promise<void> {
    this.#reopening ??= this.#openAnew().finally(() => {
      this.#reopening = undefined
    })
    return this.#reopening
  }

  async #openAnew(): Promise<void> {
    this.#recent.clear()
    await this.#level.close()
    await this.#level.open()
  }
}
