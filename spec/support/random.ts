import type { Random } from '../../lib/ports/platform.ts'
import { randomFractions } from '../../lib/testing/chance.ts'

/** Random numbers of a seed. Each call names its purpose, for readable traces. */
export class SeededRandom implements Random {
  readonly #seed: number
  readonly #next: () => number

  constructor(seed: number) {
    this.#seed = seed >>> 0
    this.#next = randomFractions(seed)
  }

  /** Returns independent random numbers that depend only on this seed and the name. */
  fork(name: string): SeededRandom {
    let mixed = this.#seed ^ 0x811c9dc5
    for (let at = 0; at < name.length; at++) mixed = Math.imul(mixed ^ name.charCodeAt(at), 0x01000193)
    return new SeededRandom(Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d))
  }

  /** 0 <= fraction < 1. */
  fraction(_reason: string): number {
    return this.#next()
  }

  bytes(length: number, reason: string): Uint8Array {
    return Uint8Array.from({ length }, () => this.integer(0, 255, reason))
  }

  /** A whole number from `least` to `most`, both included. */
  integer(least: number, most: number, reason: string): number {
    return least + Math.floor(this.fraction(reason) * (most - least + 1))
  }

  /** True with this probability. */
  chance(probability: number, reason: string): boolean {
    return this.fraction(reason) < probability
  }

  /** One of `choices`, which must not be empty. */
  pick<T>(choices: readonly T[], reason: string): T {
    const picked = choices[this.integer(0, choices.length - 1, reason)]
    if (picked === undefined) throw new RangeError(`there is nothing to pick: ${reason}`)
    return picked
  }
}
