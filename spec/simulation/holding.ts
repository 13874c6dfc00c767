import assert from 'node:assert/strict'
import { nodeDigests } from '../../lib/adapters/node/nodeDigests.ts'
import { spec } from '../support/spec.ts'
import { simulate, type WorldKind } from './simulate.ts'

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
    'id-reused',
    'a bit of the message',
    'logs mailboxes-damaged',
    'everything heals',
    'everything begins anew',
  ],
  both: ['is handed', 'stored'],
}

/**
 * Declares that all worlds after those of `npm test`, up to the seed `last`, hold their invariants, and that many kinds
 * of events happen in them.
 */
export function holding(world: WorldKind, last: number): void {
  const digests = nodeDigests()
  const missing = new Set(actions[world])
  spec(`a simulated world of ${world}`, (it) => {
    for (let from = firstSeeds + 1; from <= last; from += together) {
      const to = Math.min(last, from + together - 1)
      it(`holds its invariants with the seeds ${from} to ${to}`, async () => {
        for (let seed = from; seed <= to; seed++) {
          const { failure, trace } = await simulate(seed, digests, world)
          assert.equal(failure, undefined, `seed ${seed}: ${failure}\n${trace.slice(-40).join('\n')}`)
          for (const part of missing) if (trace.some((line) => line.includes(part))) missing.delete(part)
        }
      })
    }

    it('has every event in some seed', () => assert.deepEqual([...missing], []))
  })
}
