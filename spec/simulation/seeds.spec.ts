import assert from 'node:assert/strict'
import { nodeDigests } from '../../lib/adapters/nodeDigests.ts'
import { simulate } from '../../lib/simulation/simulate.ts'
import { spec } from '../support/spec.ts'
import { mutated, mutations } from './mutations.ts'

const digests = nodeDigests()

spec('a simulated world', (it) => {
  for (const [from, count] of [
    [1, 150],
    [151, 150],
  ] as const) {
    it(
      `holds its invariants: seeds ${from} to ${from + count - 1}`,
      async () => {
        for (let seed = from; seed < from + count; seed++) {
          const { failure, trace } = await simulate(seed, digests, 'files')
          assert.equal(failure, undefined, `seed ${seed}: ${failure}\n${trace.slice(-40).join('\n')}`)
        }
      },
      { limitMs: 110_000 },
    )
  }

  for (const { shownBy: seed, fault } of mutations) {
    if (typeof seed !== 'number') continue
    it(`holds where ${fault}, until that was mended: seed ${seed}`, async () => {
      assert.equal((await simulate(seed, digests, 'files')).failure, undefined)
    })
  }

  it('is the same, to the last line of its trace, whenever it is run', async () => {
    for (const seed of [1, 2, 3, 4, 5]) {
      assert.deepEqual(await simulate(seed, digests, 'files'), await simulate(seed, digests, 'files'))
    }
  })

  it('is another one for another seed, and much happens in it', async () => {
    const runs = await Promise.all([11, 12, 13, 14, 15].map((seed) => simulate(seed, digests, 'files')))
    assert.equal(new Set(runs.map(({ trace }) => trace.join())).size, 5)
    const traces = runs.flatMap(({ trace }) => trace).join('\n')
    for (const event of [
      'is killed',
      'loses its power',
      'is cut',
      'superseded',
      'pauses',
      'cancels',
      'stored',
      'done',
    ]) {
      assert.ok(traces.includes(event), event)
    }
  })
})

spec('the mend of every fault that was found', (it) => {
  for (const mutation of mutations) {
    it(`stands where the list says, so that it can be taken out: ${mutation.fault}`, () => {
      assert.ok(mutated(mutation).includes(mutation.after))
    })
  }
})
