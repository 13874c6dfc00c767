/** Something that is true of an adapter which keeps its port's promises, in a way that any test runner can run it. */
export interface Fact {
  readonly subject: string
  /** With the subject before it, a sentence. */
  readonly fact: string
  /** Resolves if it holds, and rejects if it does not. */
  readonly prove: () => Promise<void>
  /** It does not hold where proving it takes longer. */
  readonly limitMs: number
  /** Why it can't be shown of this adapter; `prove` rejects with that. */
  readonly skipped?: string
}

export type Facts = Iterable<Fact>

/** States a fact about a subject, proved within `limitMs`. */
export type It = (fact: string, proof: () => Promise<void>, options?: { limitMs?: number }) => void

const defaultLimitMs = 180_000

/** The facts about a subject; with `skipped`, why none of them can be shown. */
export function factsOf(subject: string, state: (it: It) => void, skipped?: string): readonly Fact[] {
  const facts: Fact[] = []
  const it: It = (fact, proof, { limitMs = defaultLimitMs } = {}) => {
    const stated = { subject, fact, limitMs }
    if (skipped === undefined) facts.push({ ...stated, prove: () => proof() })
    else facts.push({ ...stated, skipped, prove: () => Promise.reject(new Error(`it can't be shown: ${skipped}`)) })
  }
  state(it)
  return facts
}
