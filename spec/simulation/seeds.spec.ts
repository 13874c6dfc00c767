import assert from 'node:assert/strict'
import { nodeDigests } from '../../lib/adapters/nodeDigests.ts'
import { type RunReport, simulate, type WorldKind } from '../../lib/simulation/simulate.ts'
import { spec } from '../support/spec.ts'
import { firstSeeds } from './holding.ts'

const digests = nodeDigests()

spec('a simulated world', (it) => {
  it('is the same, to the last line of its trace, whenever it is run', async () => {
    for (const world of ['files', 'messages', 'both'] as const) {
      for (const seed of [1, 2]) {
        assert.deepEqual(await simulate(seed, digests, world), await simulate(seed, digests, world))
      }
    }
  })

  const told: { readonly [K in WorldKind]: readonly string[] } = {
    files: [
      'is killed',
      'loses its power',
      'is cut',
      'is mute from the',
      'only connecting gets through',
      'arrives late',
      'freezes',
      'the disk fails',
      'the disk is full',
      'a bit of',
      'the wall clock',
      'the token of',
      'is turned away: unauthorized',
      'steerer',
      'superseded',
      'pauses',
      'cancels',
      'stored',
      'done',
    ],
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
      'a bit of the message',
      'logs mailboxes-damaged',
      'everything heals',
      'everything begins anew',
    ],
    both: ['is handed', 'stored'],
  }
  for (const world of ['files', 'messages', 'both'] as const) {
    it(`of ${world} holds its invariants, is another one for another seed, and much happens in some`, async () => {
      const runs: RunReport[] = []
      for (let seed = 1; seed <= firstSeeds; seed++) {
        const run = await simulate(seed, digests, world)
        assert.equal(run.failure, undefined, `seed ${seed}: ${run.failure}\n${run.trace.slice(-40).join('\n')}`)
        runs.push(run)
      }
      assert.equal(new Set(runs.map(({ trace }) => trace.join())).size, runs.length)
      const traces = runs.flatMap(({ trace }) => trace).join('\n')
      for (const event of told[world]) assert.ok(traces.includes(event), event)
    })
  }
})
