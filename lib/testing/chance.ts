import type { Random } from '../ports/platform.ts'

/** The randomness of test cases with random steps. */
export interface Chance {
  /** Returns the random numbers of a seed. */
  seeded(seed: number): Random
  /** The seed of the first run; later runs count up. */
  readonly seed: number
}

/** Choices of one seed. */
export class Draw {
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  /** A whole number from `least` to `most`, both included. */
  from(least: number, most: number): number {
    return least + Math.floor(this.#random.fraction('a step of a contract') * (most - least + 1))
  }

  /** Returns true with the probability 1 / `times`. */
  once(times: number): boolean {
    return this.from(1, times) === 1
  }

  /** Returns one of the choices, which must not be empty. */
  pick<T>(choices: readonly T[]): T {
    return choices[this.from(0, choices.length - 1)] as T
  }

  /** Returns `least` to `most` results of `make`. */
  some<T>(least: number, most: number, make: () => T): T[] {
    return Array.from({ length: this.from(least, most) }, make)
  }
}

/** Random runs of steps, each checked by `prove`. */
export interface DrawnRuns<T> {
  readonly runs: number
  draw(draw: Draw): readonly T[]
  /** Rejects if an expectation fails. */
  prove(steps: readonly T[]): Promise<void>
  textOf(step: T): string
}

/**
 * Rejects if a run fails. The error names the seed and the shortest failing steps. A seed always generates the same
 * steps.
 */
export async function proveDrawn<T>({ seed: first, seeded }: Chance, drawn: DrawnRuns<T>): Promise<void> {
  for (let seed = first; seed < first + drawn.runs; seed++) {
    const steps = drawn.draw(new Draw(seeded(seed)))
    const failure = await failureOf(drawn, steps)
    if (failure === undefined) continue
    const least = await lessened(drawn, { steps, failure })
    const told = least.steps.map((step) => `- ${drawn.textOf(step)}`).join('\n')
    const { message } = least.failure
    throw new Error(`with seed ${seed} it fails after these steps:\n${told}\n${message}`, { cause: least.failure })
  }
}

interface Failing<T> {
  readonly steps: readonly T[]
  readonly failure: Error
}

/** Removes shorter and shorter sequences of steps while the rest still fails. */
async function lessened<T>(drawn: DrawnRuns<T>, { steps, failure }: Failing<T>): Promise<Failing<T>> {
  let least: Failing<T> = { steps, failure }
  for (let length = Math.ceil(steps.length / 2); length >= 1; length = Math.floor(length / 2)) {
    for (let at = 0; at < least.steps.length; ) {
      const fewer = least.steps.toSpliced(at, length)
      const failure = await failureOf(drawn, fewer)
      if (failure === undefined) at += length
      else least = { steps: fewer, failure }
    }
  }
  return least
}

async function failureOf<T>({ prove }: DrawnRuns<T>, steps: readonly T[]): Promise<Error | undefined> {
  try {
    await prove(steps)
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}
