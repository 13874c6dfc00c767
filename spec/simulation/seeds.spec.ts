import assert from 'node:assert/strict'
import { nodeDigests } from '../../lib/adapters/node/nodeDigests.ts'
import { spec } from '../support/spec.ts'
import { firstSeeds } from './holding.ts'
import { type RunReport, simulate } from './simulate.ts'

const digests = nodeDigests()

spec('a simulated world', (it) => {
  it('is the same each time, to the last line of its trace', async () => {
    for (const world of ['files', 'messages', 'both', 'cluster-messages'] as const) {
      for (const seed of [1, 2]) {
        assert.deepEqual(await simulate(seed, digests, world), await simulate(seed, digests, world))
      }
    }
  })

  for (const world of ['files', 'messages', 'both', 'cluster-messages'] as const) {
    it(`of ${world} holds its invariants, and differs for another seed`, async () => {
      const runs: RunReport[] = []
      for (let seed = 1; seed <= firstSeeds; seed++) {
        const run = await simulate(seed, digests, world)
        assert.equal(run.failure, undefined, `seed ${seed}: ${run.failure}\n${run.trace.slice(-40).join('\n')}`)
        runs.push(run)
      }
      assert.equal(new Set(runs.map(({ trace }) => trace.join())).size, runs.length)
    })
  }
})
