import assert from 'node:assert/strict'
import { LeakyBucket, LeakyRate } from '../../lib/core/leakyBucket.ts'
import { spec } from '../support/spec.ts'

const second = 1_000

/** How much is taken in `ms` by one who takes whenever that is allowed, `amount` each time, `atOnce` times. */
function takenIn(ms: number, bucket: LeakyBucket, amount: number, atOnce: number): number {
  let taken = 0
  for (let now = 0; now < ms; ) {
    let waitMs = 0
    for (let one = 0; one < atOnce; one++) waitMs = bucket.take(amount, now)
    taken += atOnce * amount
    now += waitMs
  }
  return taken
}

const maxWaitMs = 15 * second

spec('a leaky bucket', (it) => {
  it('accepts the amount of one second at once', () => {
    const bucket = new LeakyBucket(new LeakyRate(10, { maxWaitMs }))
    const told = Array.from({ length: 12 }, () => bucket.take(1, 0))
    assert.deepEqual(told, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200, 300])
  })

  it('accepts a shorter burst, and requires a shorter wait, with these options', () => {
    const bucket = new LeakyBucket(new LeakyRate(1_000, { maxWaitMs, burstMs: 10, minWaitMs: 5 }))
    assert.deepEqual([bucket.take(10, 0), bucket.take(1, 0), bucket.take(1, 6)], [0, 6, 0])
  })

  it('accepts no more than its rate in the long run, whatever arrives at once', () => {
    for (const atOnce of [1, 50]) {
      const taken = takenIn(100 * second, new LeakyBucket(new LeakyRate(100, { maxWaitMs })), 1, atOnce)
      assert.ok(taken > 9_000 && taken < 10_300, `${taken}`)
    }
    const bytes = takenIn(100 * second, new LeakyBucket(new LeakyRate(100_000, { maxWaitMs })), 10_000, 3)
    assert.ok(bytes > 9_000_000 && bytes < 10_300_000, `${bytes} bytes`)
  })

  it('never requires more than the maximum wait, and forgives the rest', () => {
    const bucket = new LeakyBucket(new LeakyRate(1, { maxWaitMs }))
    for (let frame = 0; frame < 1_000; frame++) bucket.take(1, 0)
    assert.equal(bucket.take(1, 0), 15 * second)
    assert.equal(bucket.take(1, 17 * second), 0)
  })

  it('is empty again after the time of the taken amount', () => {
    const bucket = new LeakyBucket(new LeakyRate(10, { maxWaitMs }))
    assert.ok(bucket.isEmpty(0))
    for (let frame = 0; frame < 5; frame++) bucket.take(1, 0)
    assert.deepEqual([bucket.isEmpty(499), bucket.isEmpty(500)], [false, true])
  })
})
