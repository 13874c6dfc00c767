import assert from 'node:assert/strict'
import { nodeDigests } from '../../lib/adapters/node/nodeDigests.ts'
import { spec } from '../support/spec.ts'
import { World } from './world.ts'

/** Queues that no world brings near their bounds: the table in docs/simulation.md names the specs that check them. */
const distant: readonly string[] = [
  'server: unsentRepliesPerLink',
  'server: pendingPresenceChanges',
  'server: waitingUploads',
  'client: unsentBytesPerLink',
  'client: unsentRepliesPerLink',
  'client: runningRequestsPerLink',
  'client: rememberedRepliesPerLink',
  'client: outOfOrderRequests',
  'client: waitingChunks',
]

spec('the queues of simulated worlds', (it) => {
  it('reach half of their bounds in some of the first 160 seeds, except those that no world can fill', async () => {
    const digests = nodeDigests()
    const far = new Set<string>()
    const near = new Set<string>()
    for (const kind of ['messages', 'both'] as const) {
      for (let seed = 1; seed <= 160; seed++) {
        const world = new World(seed, digests, kind)
        await world.run()
        for (const [queue, part] of world.queues.reached) (part >= 0.5 ? near : far).add(queue)
      }
    }
    const never = [...far].filter((queue) => !near.has(queue) && !distant.includes(queue))
    assert.deepEqual(never, [])
  })
})
