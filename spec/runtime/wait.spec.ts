import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { deferred } from '../../lib/runtime/deferred.ts'
import { unlessAborted, wait } from '../../lib/runtime/wait.ts'
import { spec } from '../support/spec.ts'
import { VirtualClock } from '../support/virtualClock.ts'

const listeners = (signal: AbortSignal) => getEventListeners(signal, 'abort').length
const turn = () => new Promise((go) => setImmediate(go))

spec('waiting', (it) => {
  it('ends after the time, and leaves no alarm or listener', async () => {
    const clock = new VirtualClock()
    const { signal } = new AbortController()
    let over = false
    const waiting = wait(clock, 100, signal).then(() => {
      over = true
    })
    clock.pass(99)
    await turn()
    assert.equal(over, false)
    clock.pass(1)
    await waiting
    assert.deepEqual([clock.set, listeners(signal)], [[], 0])
  })

  it('ends when it is aborted, and leaves no alarm or listener', async () => {
    const clock = new VirtualClock()
    const closing = new AbortController()
    const waiting = wait(clock, 100, closing.signal)
    closing.abort()
    await assert.rejects(waiting, { code: 'closed' })
    assert.deepEqual([clock.set, listeners(closing.signal)], [[], 0])
  })

  it('does not start if it was aborted before', async () => {
    const clock = new VirtualClock()
    await assert.rejects(wait(clock, 100, AbortSignal.abort()), { code: 'closed' })
    assert.deepEqual(clock.set, [])
  })
})

spec('a promise unless aborted', (it) => {
  it('settles as the promise, and leaves no listener', async () => {
    const { signal } = new AbortController()
    assert.equal(await unlessAborted(Promise.resolve(5), signal), 5)
    await assert.rejects(unlessAborted(Promise.reject(new Error('why')), signal), /why/u)
    await turn()
    assert.equal(listeners(signal), 0)
  })

  it('rejects if it is aborted first, however the promise settles', async () => {
    for (const settle of ['resolve', 'reject'] as const) {
      const closing = new AbortController()
      const late = deferred<unknown>()
      const waiting = unlessAborted(late.promise, closing.signal)
      closing.abort()
      await assert.rejects(waiting, { code: 'closed' })
      assert.equal(listeners(closing.signal), 0)
      late[settle](new Error('late'))
      await turn()
    }
  })

  it('rejects at once if it was aborted before', async () => {
    await assert.rejects(unlessAborted(new Promise(() => {}), AbortSignal.abort()), { code: 'closed' })
  })
})
