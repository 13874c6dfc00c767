import assert from 'node:assert/strict'
import { spec } from '../support/spec.ts'
import { canInject } from '../support/strace.ts'
import { cuts, isBadCut } from './cuts.ts'
import { flips, isBadFlip } from './flips.ts'
import { isBadKill, kills } from './kills.ts'
import type { Row } from './table.ts'

/** Fails with every case that does not pass. */
async function holds(
  run: (print: (line: string) => void) => Promise<readonly Row[]>,
  isBad: (column: string) => boolean,
): Promise<void> {
  const lines: string[] = []
  const rows = await run((line) => lines.push(line))
  const bad = rows.flatMap(({ name, counts }) =>
    [...counts].filter(([column]) => isBad(column)).map((one) => [name, ...one]),
  )
  assert.deepEqual(bad, [], lines.join('\n'))
}

const seed = 1

/** Hundreds of servers are started one after another. */
const limitMs = 500_000

spec('acknowledged data still exists, or its loss is logged,', (it) => {
  it(
    'after one byte of any kind of file was changed',
    () => holds((print) => flips({ seed, runs: 6, daemonEvery: 6, print }), isBadFlip),
    { limitMs },
  )

  it('after the daemon and its clients were killed at random', () =>
    holds((print) => kills({ seed, runs: 10, print }), isBadKill))

  if (canInject) {
    it(
      'after a power failure, from the first start of a daemon',
      () => holds((print) => cuts({ seed, runs: 12, print }), isBadCut),
      { limitMs },
    )
  } else it.skip('after a power failure, from the first start of a daemon', 'strace is missing, or may not trace here')
})
