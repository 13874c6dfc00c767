import type { SeededRandom } from '../support/random.ts'

/** The part of a run to execute: a failing run is reduced by leaving out whatever is not needed for the failure. */
export interface Part {
  /** Numbers of the actions that happen; all of them if absent. */
  readonly actions?: readonly number[] | undefined
  /** Names of the programs, files and lasting faults that are left out. */
  readonly without: readonly string[]
}

export const whole: Part = { without: [] }

/**
 * The faults of a world. Each world has only some kinds, because many at once hide the effects of a few. The kinds
 * depend only on the seed and their names.
 */
export class Faults {
  /** The lasting faults that were drawn. */
  readonly lasting: string[] = []
  readonly #random: SeededRandom
  readonly #share: number
  readonly #without: ReadonlySet<string>

  constructor(random: SeededRandom, without: readonly string[]) {
    this.#random = random.fork('faults')
    this.#share = this.#random.pick([0.3, 0.6, 0.6, 0.9], 'faults of a world')
    this.#without = new Set(without)
  }

  /** Whether this kind of fault can happen. */
  has(name: string): boolean {
    return this.#random.fork(name).chance(this.#share, name)
  }

  /** Returns one of `choices`, the severities of a lasting fault; `none` if the world does not have this fault. */
  lasts<T>(name: string, choices: readonly T[], none: T): T {
    if (!this.has(name)) return none
    this.lasting.push(name)
    return this.#without.has(name) ? none : this.#random.fork(`how bad ${name}`).pick(choices, name)
  }

  /** Returns whether this fault happens in this world; it does so with this probability. */
  comes(name: string, probability: number): boolean {
    if (!this.#random.fork(name).chance(probability, name)) return false
    this.lasting.push(name)
    return !this.#without.has(name)
  }

  /** Returns whether the program or file with this name is part of the run. */
  takesPart(name: string): boolean {
    return !this.#without.has(name)
  }
}
