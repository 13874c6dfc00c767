import type { Random } from '../ports/platform.ts'

/** What facts about drawn steps are drawn from. */
export interface Chance {
  /** Randomness that a seed determines. */
  seeded(seed: number): Random
  /** The first seed; each run has one. */
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

  /** True once in so many times. */
  once(inSoMany: number): boolean {
    return this.from(1, inSoMany) === 1
  }

  /** One of them, of which there must be one. */
  pick<T>(choices: readonly T[]): T {
    return choices[this.from(0, choices.length - 1)] as T
  }

  /** What `make` gives, from `least` to `most` times. */
  some<T>(least: number, most: number, make: () => T): T[] {
    return Array.from({ length: this.from(least, most) }, make)
  }
}

/** Runs of steps that are drawn, each with what `prove` makes of them. */
export interface DrawnRuns<T> {
  readonly runs: number
  draw(draw: Draw): readonly T[]
  /** Rejects where something does not hold. */
  prove(steps: readonly T[]): Promise<void>
  textOf(step: T): string
}

/**
 * Rejects if a run fails, and names its seed and its steps, without those that it fails without. A seed draws the same steps
 * always.
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

/** Leaves out ever smaller stretches of the steps, as long as what is left fails. */
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
