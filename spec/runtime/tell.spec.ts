import assert from 'node:assert/strict'
import { tell } from '../../lib/runtime/tell.ts'
import { spec } from '../support/spec.ts'
import { uncaught } from '../support/uncaught.ts'

spec('telling the application', (it) => {
  it('is done at once', () => {
    let told = 0
    tell(() => told++)
    assert.equal(told, 1)
  })

  it('goes on where a listener throws, and what it throws is not lost', async () => {
    const bug = new Error('a listener has a bug')
    using thrown = uncaught()
    tell(() => {
      throw bug
    })
    assert.deepEqual(thrown.errors, [])
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(thrown.errors, [bug])
  })
})
