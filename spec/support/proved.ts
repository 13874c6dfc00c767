import type { TestCase } from '../../lib/testing/testCases.ts'
import { spec } from './spec.ts'

/** Has the facts of a contract proved here, each under its subject. */
export function proved(facts: readonly TestCase[]): void {
  for (const subject of new Set(facts.map((fact) => fact.subject))) {
    spec(subject, (it) => {
      for (const { fact, run, limitMs, skipped } of facts.filter((fact) => fact.subject === subject)) {
        if (skipped === undefined) it(fact, run, { limitMs })
        else it.skip(fact, skipped)
      }
    })
  }
}
