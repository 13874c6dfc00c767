import assert from 'node:assert/strict'
import { nodeDigests } from '../../lib/adapters/nodeDigests.ts'
import { simulate, type WorldKind } from '../../lib/simulation/simulate.ts'
import { spec } from '../support/spec.ts'

/** Worlds in one fact, so that each is well within its time also where much else runs. */
const together = 50

/** That the worlds of the first so many seeds hold. */
export function holding(world: WorldKind, seeds: number): void {
  const digests = nodeDigests()
  spec(`a simulated world of ${world} holds its invariants`, (it) => {
    for (let from = 1; from <= seeds; from += together) {
      const last = Math.min(seeds, from + together - 1)
      it(`with the seeds ${from} to ${last}`, async () => {
        for (let seed = from; seed <= last; seed++) {
          const { failure, trace } = await simulate(seed, digests, world)
          assert.equal(failure, undefined, `seed ${seed}: ${failure}\n${trace.slice(-40).join('\n')}`)
        }
      })
    }
  })
}
