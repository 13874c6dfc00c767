import assert from 'node:assert/strict'
import { defaultLimits } from '../../lib/limits.ts'
import { spec } from '../support/spec.ts'
import { Queues } from './queues.ts'
import type { World } from './world.ts'

spec('the queues of simulated worlds', (it) => {
  it('are named where they go beyond, with what they hold and their bounds', () => {
    const failures: string[] = []
    const world = { limits: { ...defaultLimits, messageIds: 20 }, fail: (what: string) => failures.push(what) }
    const queues = new Queues(world as unknown as World)
    queues.saw('message ids', 20)
    assert.deepEqual([failures, queues.reached.get('server: message ids')], [[], 1])
    queues.saw('message ids', 21)
    assert.deepEqual(failures, ['the server holds more than it may: message ids: 21, over 20'])
  })
})
