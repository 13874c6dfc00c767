import { suite } from 'uvu'

/** A fact's proof: it returns (or resolves) if the fact holds, and throws if it does not. */
type Proof = () => void | Promise<void>

/** States the facts of one subject. */
export interface It {
  /** A fact. `limitMs` (three minutes by default) is for hangs only: no fact depends on how fast the machine is. */
  (fact: string, proof: Proof, options?: { limitMs?: number }): void
  /** A fact that cannot be proved here, counted as skipped; `reason` is printed. */
  skip(fact: string, reason: string): void
}

const defaultLimitMs = 180_000

let begun = false

/**
 * The only door to uvu: states facts about a subject and has them proved, one after another.
 *
 * uvu forgets errors of hooks and suites that nobody runs, knows no time limits, and loses suites that are
 * stated after the first test has begun. So hooks are not handed on, every suite is run, every fact has a
 * limit, and a late subject or fact throws: await nothing between two of them.
 */
export function spec(subject: string, state: (it: It) => void): void {
  if (begun) throw new Error(`"${subject}" was stated after the tests had begun, and would never be tested`)
  setTimeout(() => {
    begun = true
  })
  const test = suite(subject)
  let stated = false
  const it: It = (fact, proof, { limitMs = defaultLimitMs } = {}) => {
    if (stated) throw new Error(`"${subject} ${fact}" was stated too late: the facts of a subject are stated at once`)
    test(fact, () => within(limitMs, proof))
  }
  it.skip = (fact, reason) => {
    test.skip()
    console.log(`skipped: ${subject} ${fact}: ${reason}`)
  }
  state(it)
  stated = true
  test.run()
}

async function within(limitMs: number, proof: Proof): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`timed out: it did not end within ${limitMs} ms`)), limitMs)
  })
  try {
    await Promise.race([proof(), timeout])
  } catch (error) {
    throw printable(error)
  } finally {
    clearTimeout(timer)
  }
}

/** uvu dies of thrown values that are no errors, and compares by itself (slowly) what node:assert has compared. */
function printable(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(`something that is no error was thrown: ${String(error)}`)
  const plain = new Error(error.message, { cause: error })
  plain.stack = [`${error.name}: `, ...calls(error), ...causes(error.cause)].join('\n')
  return plain
}

const calls = (error: Error) => error.stack?.split('\n').filter((line) => /^\s+at /u.test(line)) ?? []

function causes(cause: unknown): string[] {
  if (cause === undefined) return []
  if (!(cause instanceof Error)) return [`caused by ${String(cause)}`]
  return [`caused by ${cause.name}: ${cause.message}`, ...calls(cause), ...causes(cause.cause)]
}
