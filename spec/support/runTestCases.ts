import type { TestCase } from '../../lib/testing/testCases.ts'
import { spec } from './spec.ts'

/** Runs the test cases of a contract, grouped by subject. */
export function runTestCases(cases: readonly TestCase[]): void {
  for (const subject of new Set(cases.map((each) => each.subject))) {
    spec(subject, (it) => {
      for (const { name, run, limitMs, skipped } of cases.filter((each) => each.subject === subject)) {
        if (skipped === undefined) it(name, run, { limitMs })
        else it.skip(name, skipped)
      }
    })
  }
}
