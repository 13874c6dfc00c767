/** One promise of a port, as a test that any test runner can run. */
export interface TestCase {
  readonly subject: string
  /** The promise; a sentence together with the subject. */
  readonly name: string
  /** Resolves if the adapter keeps the promise, and rejects if it does not. */
  readonly run: () => Promise<void>
  /** The test case fails if it takes longer. */
  readonly limitMs: number
  /** The reason why the case cannot run for this adapter; `run` rejects with it. */
  readonly skipped?: string
}

/** Functions that check a promise with a new fixture, by the name of the promise. */
export type Checks<T> = Readonly<Record<string, (fixture: T) => Promise<void>>>

const limitMs = 180_000

/** Returns the test cases of a subject. `open` makes the fixture of one case, if it needs one; `skipped` is why none of them can run. */
export function testCasesOf<T extends AsyncDisposable | undefined>(
  subject: string,
  checks: Checks<T>,
  open: () => Promise<T>,
  skipped?: string,
): readonly TestCase[] {
  return Object.entries(checks).map(([name, check]) => {
    const stated = { subject, name, limitMs }
    if (skipped !== undefined) {
      return { ...stated, skipped, run: () => Promise.reject(new Error(`the test case cannot run: ${skipped}`)) }
    }
    const run = async () => {
      await using fixture = await open()
      await check(fixture)
    }
    return { ...stated, run }
  })
}

/** Returns the numbers from 1 to `last`. */
export const upTo = (last: number): number[] => Array.from({ length: last }, (_, at) => at + 1)
