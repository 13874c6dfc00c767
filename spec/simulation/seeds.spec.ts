import assert from 'node:assert/strict'
import { nodeDigests } from '../../lib/adapters/nodeDigests.ts'
import { simulate, type WorldKind } from '../../lib/simulation/simulate.ts'
import { spec } from '../support/spec.ts'
import { mutated, mutations, nameOf } from './mutations.ts'

const digests = nodeDigests()

spec('a simulated world', (it) => {
  for (const [world, seeds] of [
    ['files', 300],
    ['messages', 300],
    ['both', 100],
  ] as const) {
    for (let from = 1; from <= seeds; from += 50) {
      it(
        `of ${world} holds its invariants: seeds ${from} to ${from + 49}`,
        async () => {
          for (let seed = from; seed < from + 50; seed++) {
            const { failure, trace } = await simulate(seed, digests, world)
            assert.equal(failure, undefined, `seed ${seed}: ${failure}\n${trace.slice(-40).join('\n')}`)
          }
        },
        { limitMs: 110_000 },
      )
    }
  }

  for (const { shownBy, fault } of mutations) {
    if (typeof shownBy === 'string') continue
    it(`holds where ${fault}, unless that happens: ${nameOf(shownBy)}`, async () => {
      assert.equal((await simulate(shownBy.seed, digests, shownBy.world)).failure, undefined)
    })
  }

  it('is the same, to the last line of its trace, whenever it is run', async () => {
    for (const world of ['files', 'messages', 'both'] as const) {
      for (const seed of [1, 2, 3, 4, 5]) {
        assert.deepEqual(await simulate(seed, digests, world), await simulate(seed, digests, world))
      }
    }
  })

  const told: { readonly [K in WorldKind]: readonly string[] } = {
    files: ['is killed', 'loses its power', 'is cut', 'superseded', 'pauses', 'cancels', 'stored', 'done'],
    messages: [
      'is killed',
      'has stopped',
      'is cut',
      'receives no more: superseded',
      'stops receiving',
      'is handed',
      '(2)',
      'has sent',
      'perhaps',
      'mailbox-full',
      'id-reused',
      'everything heals',
      'everything begins anew',
    ],
    both: ['is handed', 'stored'],
  }
  for (const world of ['files', 'messages', 'both'] as const) {
    it(`of ${world} is another one for another seed, and much happens in it`, async () => {
      const runs = await Promise.all([11, 12, 13, 14, 15, 16].map((seed) => simulate(seed, digests, world)))
      assert.equal(new Set(runs.map(({ trace }) => trace.join())).size, 6)
      const traces = runs.flatMap(({ trace }) => trace).join('\n')
      for (const event of told[world]) assert.ok(traces.includes(event), event)
    })
  }
})

spec('the mend of every fault that was found', (it) => {
  for (const mutation of mutations) {
    it(`stands where the list says, so that it can be taken out: ${mutation.fault}`, () => {
      assert.ok(mutated(mutation).includes(mutation.after))
    })
  }
})
