import { SeededRandom } from '../support/random.ts'

/** Random choices, determined by a seed. */
export class Draw {
  readonly #random: SeededRandom

  constructor(seed: number) {
    this.#random = new SeededRandom(seed)
  }

  /** Returns an integer from 0 to `count` - 1. */
  below(count: number): number {
    return Math.floor(this.#random.fraction('') * count)
  }

  /** Returns an integer from `least` to `most`, both included. */
  from(least: number, most: number): number {
    return least + this.below(most - least + 1)
  }

  /** Returns true once in this many calls, on average. */
  once(inSoMany: number): boolean {
    return this.below(inSoMany) === 0
  }

  /** Returns one of the items, of which there must be one. */
  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256))
  }

  /** Calls `make` from `least` to `most` times and returns the results. */
  some<T>(least: number, most: number, make: () => T): T[] {
    return Array.from({ length: this.from(least, most) }, make)
  }
}
