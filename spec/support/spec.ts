import { suite } from 'uvu'

/** The body of a test: it returns (or resolves) if the test passes, and throws if it fails. */
type TestBody = () => void | Promise<void>

/** Declares the tests of one suite. */
export interface It {
  /** A test. `limitMs` (three minutes by default) only detects hangs: no test depends on the speed of the machine. */
  (title: string, body: TestBody, options?: { limitMs?: number }): void
  /** A test that cannot run here, counted as skipped; `reason` is printed. */
  skip(title: string, reason: string): void
}

const defaultLimitMs = 180_000

let begun = false

/**
 * The only entry to uvu: declares a suite of tests, which run one after another. uvu ignores errors of hooks and suites
 * that are not run, has no time limits, and loses suites that are declared after the first test has begun. Therefore
 * hooks are not available, every suite is run, every test has a limit, and a late declaration throws: do not await
 * between declarations.
 */
export function spec(subject: string, declare: (it: It) => void): void {
  if (begun) throw new Error(`"${subject}" was declared after the tests had begun, and would never run`)
  setTimeout(() => {
    begun = true
  })
  const test = suite(subject)
  let declared = false
  const it: It = (title, body, { limitMs = defaultLimitMs } = {}) => {
    if (declared) throw new Error(`"${subject} ${title}" was declared too late: declare all tests of a suite at once`)
    test(title, () => within(limitMs, body))
  }
  it.skip = (title, reason) => {
    test.skip()
    console.log(`skipped: ${subject} ${title}: ${reason}`)
  }
  declare(it)
  declared = true
  test.run()
}

async function within(limitMs: number, body: TestBody): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`timed out: it did not end within ${limitMs} ms`)), limitMs)
  })
  try {
    await Promise.race([body(), timeout])
  } catch (error) {
    throw printable(error)
  } finally {
    clearTimeout(timer)
  }
}

/** uvu crashes on thrown values that are not errors, and repeats (slowly) the comparison of node:assert. */
function printable(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(`a value that is not an error was thrown: ${String(error)}`)
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
