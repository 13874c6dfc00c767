import type { Change, KeyRange, Shelf } from '../records/shelf.ts'
import { Pace } from './pace.ts'

/** A shelf in memory; "durable" is what outlives the closing of its storage. */
export class MemoryShelf implements Shelf {
  readonly #pace: Pace
  readonly #texts: Map<string, string>

  constructor(pace = new Pace(), texts: ReadonlyMap<string, string> = new Map()) {
    this.#pace = pace
    this.#texts = new Map(texts)
  }

  /** Another one of the same texts, which goes its own way from then on. */
  copy(pace: Pace): MemoryShelf {
    return new MemoryShelf(pace, this.#texts)
  }

  get(key: string): Promise<string | undefined> {
    return this.#pace.take(() => this.#texts.get(key))
  }

  write(changes: readonly Change[]): Promise<void> {
    return this.#pace.take(() => {
      for (const { key, value } of changes) {
        if (value === undefined) this.#texts.delete(key)
        else this.#texts.set(key, value)
      }
    })
  }

  async *entries({ from, below, limit }: KeyRange): AsyncIterable<readonly [key: string, value: string]> {
    const all = await this.#pace.take(() => Array.from(this.#texts))
    const within = all.filter(([key]) => compareKeys(key, from) >= 0 && compareKeys(key, below) < 0)
    yield* within.sort(([a], [b]) => compareKeys(a, b)).slice(0, limit)
  }
}

/** The order of the bytes of UTF-8, which is that of code points, not that of `<`. */
export function compareKeys(a: string, b: string): number {
  if (a === b) return 0
  let index = 0
  while (a[index] === b[index] && index < Math.min(a.length, b.length)) index++
  // Where only the second halves of two pairs differ, their order is right too.
  return (a.codePointAt(index) ?? -1) - (b.codePointAt(index) ?? -1)
}
