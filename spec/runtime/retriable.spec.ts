import assert from 'node:assert/strict'
import { retriable } from '../../lib/runtime/retriable.ts'
import { spec } from '../support/spec.ts'

spec('retriable work', (it) => {
  it('runs once for all calls, and again after it has failed', async () => {
    let calls = 0
    const work = retriable(async () => {
      calls++
      if (calls === 1) throw new Error('once')
      return calls
    })
    const first = work()
    assert.equal(work(), first)
    await assert.rejects(first, { message: 'once' })
    assert.equal(await work(), 2)
    assert.equal(await work(), 2)
  })
})
