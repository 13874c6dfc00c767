import assert from 'node:assert/strict'
import { LeakyBucket } from '../../lib/core/leakyBucket.ts'
import { spec } from '../support/spec.ts'

const second = 1_000

/** How much is taken in `ms` by one who takes whenever that is allowed, `amount` each time, `atOnce` times. */
function takenIn(ms: number, allowance: LeakyBucket, amount: number, atOnce: number): number {
  let taken = 0
  for (let now = 0; now < ms; ) {
    let restMs = 0
    for (let one = 0; one < atOnce; one++) restMs = allowance.take(amount, now)
    taken += atOnce * amount
    now += restMs
  }
  return taken
}

const mostRestMs = 15 * second

spec('an allowance', (it) => {
  it("lets a second's worth through at once", () => {
    const allowance = new LeakyBucket(10, { mostRestMs })
    const told = Array.from({ length: 12 }, () => allowance.take(1, 0))
    assert.deepEqual(told, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200, 300])
  })

  it('lets through a shorter burst, and asks for a shorter rest, where it is told so', () => {
    const allowance = new LeakyBucket(1_000, { mostRestMs, burstMs: 10, restMs: 5 })
    assert.deepEqual([allowance.take(10, 0), allowance.take(1, 0), allowance.take(1, 6)], [0, 6, 0])
  })

  it('lets no more than its amount through in the long run, however much arrives at once', () => {
    for (const atOnce of [1, 50]) {
      const taken = takenIn(100 * second, new LeakyBucket(100, { mostRestMs }), 1, atOnce)
      assert.ok(taken > 9_000 && taken < 10_300, `${taken}`)
    }
    const bytes = takenIn(100 * second, new LeakyBucket(100_000, { mostRestMs }), 10_000, 3)
    assert.ok(bytes > 9_000_000 && bytes < 10_300_000, `${bytes} bytes`)
  })

  it('never asks for a longer rest than it may, and forgives the remainder', () => {
    const allowance = new LeakyBucket(1, { mostRestMs })
    for (let frame = 0; frame < 1_000; frame++) allowance.take(1, 0)
    assert.equal(allowance.take(1, 0), 15 * second)
    assert.equal(allowance.take(1, 17 * second), 0)
  })

  it('is whole again when what was taken has been made up for', () => {
    const allowance = new LeakyBucket(10, { mostRestMs })
    assert.ok(allowance.whole(0))
    for (let frame = 0; frame < 5; frame++) allowance.take(1, 0)
    assert.deepEqual([allowance.whole(499), allowance.whole(500)], [false, true])
  })
})
