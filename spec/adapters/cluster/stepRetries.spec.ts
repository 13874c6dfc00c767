import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { StepRetries, untilChanged } from '../../../lib/adapters/cluster/stepRetries.ts'
import { OutcomeUnknown } from '../../../lib/adapters/cluster/steps.ts'
import { spec } from '../../support/spec.ts'
import { pass } from '../../support/turn.ts'
import { VirtualClock } from '../../support/virtualClock.ts'

const lost = () => new OutcomeUnknown('the connection ended')

/** Retries with a clock that advances on request. */
function retrying() {
  const clock = new VirtualClock()
  const closing = new AbortController()
  return { clock, closing, retries: new StepRetries(clock, closing.signal) }
}

spec('a step whose outcome is unknown', (it) => {
  it('is repeated until the outcome is known', async () => {
    const { clock, retries } = retrying()
    let calls = 0
    const result = retries.run(async () => {
      if (++calls < 5) throw lost()
      return calls
    })
    for (let at = 0; at < 10; at++) await pass(clock, 100)
    assert.equal(await result, 5)
    assert.deepEqual(clock.set, [])
  })

  it('is an internal error after 30 seconds', async () => {
    const { clock, retries } = retrying()
    let calls = 0
    const result = retries.run(async () => {
      calls++
      throw lost()
    })
    const rejected = assert.rejects(result, { code: 'internal' })
    for (let at = 0; at < 29; at++) await pass(clock, 1_000)
    const before = calls
    assert.ok(before > 20, `${before} calls`)
    for (let at = 0; at < 3; at++) await pass(clock, 1_000)
    await rejected
    assert.ok(calls - before <= 2)
  })

  it('waits without a listener of its own on the signal', async () => {
    const { clock, closing, retries } = retrying()
    assert.equal(getEventListeners(closing.signal, 'abort').length, 1)
    const results = Array.from({ length: 20 }, () => retries.run(async () => Promise.reject(lost())))
    const rejected = results.map((result) => assert.rejects(result, { code: 'closed' }))
    for (let at = 0; at < 10; at++) await pass(clock, 100)
    assert.equal(clock.set.length, 20)
    assert.equal(getEventListeners(closing.signal, 'abort').length, 1)
    closing.abort()
    await Promise.all(rejected)
    assert.deepEqual(clock.set, [])
    await assert.rejects(retries.wait(1), { code: 'closed' })
  })

  it('is not repeated once the storage is closing', async () => {
    const { closing, retries } = retrying()
    const result = retries.run(async () => {
      throw lost()
    })
    closing.abort()
    await assert.rejects(result, { code: 'closed' })
  })
})

spec('a step whose outcome is known', (it) => {
  it('is not repeated, even if it is an error', async () => {
    const { clock, retries } = retrying()
    let calls = 0
    const result = retries.run(async () => {
      calls++
      throw new TypeError('a fault')
    })
    await assert.rejects(result, { message: 'a fault' })
    assert.deepEqual([calls, clock.set], [1, []])
  })
})

spec('a change that other servers prevent', (it) => {
  it('is attempted until there is a result', async () => {
    let calls = 0
    assert.equal(await untilChanged(async () => (++calls < 16 ? undefined : calls)), 16)
  })

  it('is refused with file-busy after 16 attempts, and with the error of an attempt at once', async () => {
    let calls = 0
    const attempt = async () => {
      calls++
    }
    await assert.rejects(untilChanged(attempt), { code: 'file-busy' })
    assert.equal(calls, 16)
    const failing = () => Promise.reject(lost())
    await assert.rejects(untilChanged(failing), { message: 'the connection ended' })
  })
})
