import assert from 'node:assert/strict'
import { defaultLimits } from '../../lib/limits.ts'
import { spec } from '../support/spec.ts'
import { Queues } from './queues.ts'

spec('the queues of simulated worlds', (it) => {
  it('are named with their length and bound if they exceed it', () => {
    const failures: string[] = []
    const trace = { fail: (failure: string) => void failures.push(failure) }
    const queues = new Queues(trace, { now: () => 0 }, { ...defaultLimits, messageIds: 20 })
    queues.saw('message ids', 20)
    assert.deepEqual([failures, queues.reached.get('server: message ids')], [[], 1])
    queues.saw('message ids', 21)
    assert.deepEqual(failures, ['the server exceeds a bound: message ids: 21, over 20'])
  })
})
