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

export type TestCases = Iterable<TestCase>

/** States a test case of a subject, with a time limit. */
export type It = (name: string, proof: () => Promise<void>, options?: { limitMs?: number }) => void

const defaultLimitMs = 180_000

/** Returns the test cases of a subject; with `skipped`, the reason why none of them can run. */
export function testCasesOf(subject: string, state: (it: It) => void, skipped?: string): readonly TestCase[] {
  const cases: TestCase[] = []
  const it: It = (name, proof, { limitMs = defaultLimitMs } = {}) => {
    const stated = { subject, name, limitMs }
    if (skipped === undefined) cases.push({ ...stated, run: () => proof() })
    else
      cases.push({ ...stated, skipped, run: () => Promise.reject(new Error(`the test case cannot run: ${skipped}`)) })
  }
  state(it)
  return cases
}
