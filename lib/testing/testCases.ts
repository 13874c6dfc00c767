/** Something that is true of an adapter which keeps its port's promises, in a way that any test runner can run it. */
export interface TestCase {
  readonly subject: string
  /** With the subject before it, a sentence. */
  readonly fact: string
  /** Resolves if it holds, and rejects if it does not. */
  readonly run: () => Promise<void>
  /** It does not hold where proving it takes longer. */
  readonly limitMs: number
  /** Why it can't be shown of this adapter; `prove` rejects with that. */
  readonly skipped?: string
}

export type Facts = Iterable<TestCase>

/** States a fact about a subject, proved within `limitMs`. */
export type It = (fact: string, proof: () => Promise<void>, options?: { limitMs?: number }) => void

const defaultLimitMs = 180_000

/** The facts about a subject; with `skipped`, why none of them can be shown. */
export function factsOf(subject: string, state: (it: It) => void, skipped?: string): readonly TestCase[] {
  const facts: TestCase[] = []
  const it: It = (fact, proof, { limitMs = defaultLimitMs } = {}) => {
    const stated = { subject, fact, limitMs }
    if (skipped === undefined) facts.push({ ...stated, run: () => proof() })
    else facts.push({ ...stated, skipped, run: () => Promise.reject(new Error(`it can't be shown: ${skipped}`)) })
  }
  state(it)
  return facts
}
