import assert from 'node:assert/strict'
import { nodeDigests } from '../../lib/adapters/node/nodeDigests.ts'
import { spec } from '../support/spec.ts'
import { firstSeeds } from './holding.ts'
import { type RunReport, type SimulatedKind, simulate } from './simulate.ts'

const digests = nodeDigests()
/** The numbers of seeds of worlds with several servers, which take longer, and the seeds of former faults. */
const fewSeeds: { readonly [K in SimulatedKind]?: number } = {
  'cluster-files': 6,
  'cluster-messages': 15,
  'cluster-both': 2,
}
const formerFaults: { readonly [K in SimulatedKind]?: readonly number[] } = {
  files: [840, 883],
  'cluster-files': [49, 53, 101, 232, 456, 490, 1096, 2042],
  'cluster-messages': [185, 755, 1151],
  'cluster-both': [2119],
}

spec('a simulated world', (it) => {
  const repeated = new Map<SimulatedKind, readonly RunReport[]>()

  for (const world of ['files', 'messages', 'both', 'cluster-files', 'cluster-messages', 'cluster-both'] as const) {
    it(`of ${world} holds its invariants, and differs for another seed`, async () => {
      const runs: RunReport[] = []
      for (const seed of seedsOf(world)) {
        const run = await simulate(seed, digests, world)
        assert.equal(run.failure, undefined, `seed ${seed}: ${run.failure}\n${run.trace.slice(-40).join('\n')}`)
        runs.push(run)
      }
      assert.equal(new Set(runs.map(({ trace }) => trace.join())).size, runs.length)
      repeated.set(world, runs.slice(0, 2))
    })

    it(`of ${world} is the same each time, to the last line of its trace`, async () => {
      const runs = repeated.get(world) ?? assert.fail('it has not run')
      for (const run of runs) assert.deepEqual(await simulate(run.seed, digests, world), run)
    })
  }
})

function seedsOf(world: SimulatedKind): readonly number[] {
  const first = fewSeeds[world] ?? firstSeeds
  return [...Array.from({ length: first }, (_, at) => at + 1), ...(formerFaults[world] ?? [])]
}
