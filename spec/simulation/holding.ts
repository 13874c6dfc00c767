import assert from 'node:assert/strict'
import { nodeDigests } from '../../lib/adapters/node/nodeDigests.ts'
import { spec } from '../support/spec.ts'
import type { WorldKind } from './simulate.ts'
import { World } from './world.ts'

/** Number of worlds per test. */
const together = 50

/** The first seeds of each kind of world, up to this one, run in `npm test`; `npm run test:long` continues after it. */
export const firstSeeds = 40

/** Events that happen in some worlds: parts of lines of their traces. */
const actions: { readonly [K in WorldKind]: readonly string[] } = {
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
    'task editor',
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
    'too-many-receipts',
    'has a receipt of',
    'id-reused',
    'a bit of the message',
    'logs mailboxes-damaged',
    'everything heals',
    'everything begins anew',
  ],
  both: ['is handed', 'stored'],
}

/** Queues that no world brings near their bounds: the table in docs/simulation.md names the specs that check them. */
const distantQueues: readonly string[] = [
  'server: unsentRepliesPerLink',
  'server: pendingPresenceChanges',
  'server: waitingUploads',
  'client: unsentBytesPerLink',
  'client: unsentRepliesPerLink',
  'client: runningRequestsPerLink',
  'client: rememberedRepliesPerLink',
  'client: outOfOrderRequests',
  'client: waitingChunks',
  // The simulated storage has no catalogue, so no file is read.
  'server: openFiles',
  'server: readBytes',
]

/** Queues that only files fill. Worlds of messages fill all others. */
const queuesOfFiles: readonly string[] = ['server: parkedUploads', 'server: grantedChunkBytes', 'client: chunkBuffers']

/** Returns the queues that worlds of this kind bring to half of their bounds in some seeds. */
const nearQueues: { readonly [K in WorldKind]: (queues: readonly string[]) => readonly string[] } = {
  files: () => [],
  messages: (queues) => queues.filter((queue) => !distantQueues.includes(queue) && !queuesOfFiles.includes(queue)),
  both: () => queuesOfFiles,
}

/**
 * Declares that all worlds after those of `npm test`, up to the seed `last`, hold their invariants, that many kinds of
 * events happen in them, and that they fill their queues.
 */
export function holding(world: WorldKind, last: number): void {
  const digests = nodeDigests()
  const missing = new Set(actions[world])
  const queues = new Set<string>()
  const near = new Set<string>()
  const holds = async (seed: number) => {
    const simulated = new World(seed, digests, world)
    const { failure, trace } = await simulated.run()
    assert.equal(failure, undefined, `seed ${seed}: ${failure}\n${trace.slice(-40).join('\n')}`)
    for (const part of missing) if (trace.some((line) => line.includes(part))) missing.delete(part)
    for (const [queue, part] of simulated.queues.reached) {
      queues.add(queue)
      if (part >= 0.5) near.add(queue)
    }
  }
  spec(`a simulated world of ${world}`, (it) => {
    for (let from = firstSeeds + 1; from <= last; from += together) {
      const to = Math.min(last, from + together - 1)
      it(`holds its invariants with the seeds ${from} to ${to}`, async () => {
        for (let seed = from; seed <= to; seed++) await holds(seed)
      })
    }

    it('has every event in some seed', () => assert.deepEqual([...missing], []))

    it('brings queues to half of their bounds in some seeds', () => {
      assert.deepEqual(
        nearQueues[world]([...queues]).filter((queue) => !near.has(queue)),
        [],
      )
    })
  })
}
