/** Returns a function that generates random numbers from 0 to below 1 (the generator mulberry32). */
export function randomFractions(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000
  }
}

/** Random choices of one seed. */
export class Draw {
  readonly #fraction: () => number

  constructor(seed: number) {
    this.#fraction = randomFractions(seed)
  }

  /** Returns a whole number from `least` to `most`, both included. */
  from(least: number, most: number): number {
    return least + Math.floor(this.#fraction() * (most - least + 1))
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

/** Runs of random steps. */
export interface RandomRuns<T> {
  readonly runs: number
  draw(draw: Draw): readonly T[]
  /** Rejects if an expectation fails. */
  check(steps: readonly T[]): Promise<void>
  textOf(step: T): string
}

/** Rejects if a run fails, naming its seed and the shortest failing steps. A seed always generates the same steps. */
export async function checkRandomRuns<T>(first: number, random: RandomRuns<T>): Promise<void> {
  for (let seed = first; seed < first + random.runs; seed++) {
    const steps = random.draw(new Draw(seed))
    const failure = await failureOf(random, steps)
    if (failure === undefined) continue
    const least = await shortened(random, steps)
    const cause = (await failureOf(random, least)) ?? failure
    const text = least.map((step) => `- ${random.textOf(step)}`).join('\n')
    throw new Error(`with seed ${seed} it fails after these steps:\n${text}\n${cause.message}`, { cause })
  }
}

/** Removes shorter and shorter sequences of steps while the rest still fails. */
async function shortened<T>(random: RandomRuns<T>, failing: readonly T[]): Promise<readonly T[]> {
  let least = failing
  for (let length = Math.ceil(failing.length / 2); length >= 1; length = Math.floor(length / 2)) {
    for (let at = 0; at < least.length; ) {
      const steps = least.toSpliced(at, length)
      if (await failureOf(random, steps)) least = steps
      else at += length
    }
  }
  return least
}

async function failureOf<T>(random: RandomRuns<T>, steps: readonly T[]): Promise<Error | undefined> {
  try {
    await random.check(steps)
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}
