import assert from 'node:assert/strict'
import { OspError } from '../../lib/errors.ts'
import { Backoff, type BackoffOptions } from '../../lib/runtime/backoff.ts'
import { spec } from '../support/spec.ts'

/** A backoff of 100 to 1,000 ms on a clock that the spec sets. */
function backoff(options: Partial<BackoffOptions> = {}) {
  const time = { now: 0 }
  const clock = { now: () => time.now, wallTime: () => 0, alarm: () => ({ [Symbol.dispose]: () => {} }) }
  return { time, waits: new Backoff({ clock, firstMs: 100, mostMs: 1_000, ...options }) }
}

const overloaded = new OspError('overloaded', 'it has too much to do', { retryAfterMs: 50 })
const lost = new OspError('instance-lost')

spec('the waits between retries', (it) => {
  it('double up to a maximum, and start again after a success', () => {
    const { waits } = backoff()
    assert.deepEqual(
      [1, 2, 3, 4, 5, 6].map(() => waits.next()),
      [100, 200, 400, 800, 1_000, 1_000],
    )
    waits.reset()
    assert.equal(waits.next(), 100)
  })

  it('are a fraction of the maximum, in addition to the time that the server requests', () => {
    const { waits } = backoff({ fraction: () => 0.5 })
    assert.deepEqual([waits.next(overloaded), waits.next(overloaded)], [100, 150])
  })

  it('start at 0 after an automatic error, with that option', () => {
    assert.equal(lost.retry, 'automatic')
    assert.deepEqual([backoff().waits.next(lost), backoff({ automaticAtOnce: true }).waits.next(lost)], [100, 0])
  })

  it('end with the last error when the time is over, with a last retry at its end', () => {
    const { time, waits } = backoff({ retryForMs: 150 })
    assert.equal(waits.next(lost), 100)
    time.now = 100
    assert.equal(waits.next(lost), 50)
    time.now = 150
    assert.throws(() => waits.next(overloaded), overloaded)
    waits.restartTime()
    assert.equal(waits.next(lost), 150)
  })
})
