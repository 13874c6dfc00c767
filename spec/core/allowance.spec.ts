import assert from 'node:assert/strict'
import { Allowance } from '../../lib/core/allowance.ts'
import { spec } from '../support/spec.ts'

const second = 1_000

/** How many frames are read in `ms` by one who is read whenever that is allowed, `atOnce` frames each time. */
function framesIn(ms: number, allowance: Allowance, bytes: number, atOnce: number): number {
  let frames = 0
  for (let now = 0; now < ms; ) {
    let restMs = 0
    for (let one = 0; one < atOnce; one++) restMs = allowance.take(bytes, now)
    frames += atOnce
    now += restMs
  }
  return frames
}

spec('an allowance', (it) => {
  it("lets a second's worth through at once", () => {
    const allowance = new Allowance(10, 1e9, 15 * second)
    const told = Array.from({ length: 12 }, () => allowance.take(1, 0))
    assert.deepEqual(told, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200, 300])
  })

  it('lets no more than its frames through in the long run, however many arrive at once', () => {
    for (const atOnce of [1, 50]) {
      const frames = framesIn(100 * second, new Allowance(100, 1e9, 15 * second), 20, atOnce)
      assert.ok(frames > 9_000 && frames < 10_300, `${frames} frames`)
    }
  })

  it('lets no more than its bytes through in the long run', () => {
    const frames = framesIn(100 * second, new Allowance(1e9, 100_000, 15 * second), 10_000, 3)
    assert.ok(frames > 900 && frames < 1_030, `${frames} frames`)
  })

  it('never asks for a longer rest than it may, and forgives the remainder', () => {
    const allowance = new Allowance(1, 1e9, 15 * second)
    for (let frame = 0; frame < 1_000; frame++) allowance.take(1, 0)
    assert.equal(allowance.take(1, 0), 15 * second)
    assert.equal(allowance.take(1, 17 * second), 0)
  })

  it('is whole again when what was taken has been made up for', () => {
    const allowance = new Allowance(10, 1e9, 15 * second)
    assert.ok(allowance.whole(0))
    for (let frame = 0; frame < 5; frame++) allowance.take(1, 0)
    assert.deepEqual([allowance.whole(499), allowance.whole(500)], [false, true])
  })
})
