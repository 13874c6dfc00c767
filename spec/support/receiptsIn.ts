import assert from 'node:assert/strict'
import type { Running } from './processes.ts'

/** Returns the times at which the server stored the receipts that these programs have printed, by result. */
export function receiptsIn(programs: readonly Running[]): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map<string, Set<string>>()
  for (const { stdout } of programs) {
    // The last line of a killed program can be incomplete.
    for (const line of stdout.split('\n').slice(0, -1)) {
      const { event, state, result, at } = JSON.parse(line)
      if (event !== 'receipt' && event !== 'handled') continue
      assert.equal(state, 'handled')
      found.set(result, (found.get(result) ?? new Set()).add(at))
    }
  }
  return found
}
