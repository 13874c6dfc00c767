import assert from 'node:assert/strict'
import { nodeDigests } from '../../lib/adapters/nodeDigests.ts'
import { simulate, type WorldKind } from '../../lib/simulation/simulate.ts'
import { spec } from '../support/spec.ts'

/** Worlds in one fact. */
const together = 50

/** The first seeds of each kind of world, up to this one, run in `npm test`; `npm run test:long` continues after it. */
export const firstSeeds = 40

/** States that the worlds after those of `npm test` hold, up to the seed `last`. */
export function holding(world: WorldKind, last: number): void {
  const digests = nodeDigests()
  spec(`a simulated world of ${world} holds its invariants`, (it) => {
    for (let from = firstSeeds + 1; from <= last; from += together) {
      const to = Math.min(last, from + together - 1)
      it(`with the seeds ${from} to ${to}`, async () => {
        for (let seed = from; seed <= to; seed++) {
          const { failure, trace } = await simulate(seed, digests, world)
          assert.equal(failure, undefined, `seed ${seed}: ${failure}\n${trace.slice(-40).join('\n')}`)
        }
      })
    }
  })
}
