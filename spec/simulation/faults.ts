import type { SeededRandom } from '../../lib/testing/random.ts'

/** What of a run takes place: a failing one is made smaller by leaving out what it fails without. */
export interface Part {
  /** Numbers of the actions that take place; all where it is absent. */
  readonly actions?: readonly number[] | undefined
  /** Names of programs, files and lasting faults that are left out. */
  readonly without: readonly string[]
}

export const whole: Part = { without: [] }

/**
 * Which faults exist in a world at all. Each world has only some, since many at once hide what a few of them show; which,
 * depends on the seed and their names alone.
 */
export class Faults {
  /** Those that last, and were drawn. */
  readonly lasting: string[] = []
  readonly #random: SeededRandom
  readonly #share: number
  readonly #without: ReadonlySet<string>

  constructor(random: SeededRandom, without: readonly string[]) {
    this.#random = random.fork('faults')
    this.#share = this.#random.pick([0.3, 0.6, 0.6, 0.9], 'faults of a world')
    this.#without = new Set(without)
  }

  /** Whether this kind of thing may happen. */
  has(name: string): boolean {
    return this.#random.fork(name).chance(this.#share, name)
  }

  /** One of `choices`, which are how bad a lasting trouble is; `none` where the world does not have it. */
  lasts<T>(name: string, choices: readonly T[], none: T): T {
    if (!this.has(name)) return none
    this.lasting.push(name)
    return this.#without.has(name) ? none : this.#random.fork(`how bad ${name}`).pick(choices, name)
  }

  /** Whether it comes to this world, which it does with this probability. */
  comes(name: string, probability: number): boolean {
    if (!this.#random.fork(name).chance(probability, name)) return false
    this.lasting.push(name)
    return !this.#without.has(name)
  }

  /** Whether a program or a file of this name takes part. */
  takesPart(name: string): boolean {
    return !this.#without.has(name)
  }
}
