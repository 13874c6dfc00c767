import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Pace } from '../../lib/core/pace.ts'
import { clientLimits, KiB, MiB } from '../../lib/limits.ts'
import { spec } from '../support/spec.ts'

/** Sends one piece after another over a link of this rate, for `seconds`; the last chunk length. */
function sendAt(pace: Pace, bytesPerSecond: number, seconds: number, from = 0): number {
  let now = from
  let length = pace.chunkBytes(MiB)
  while (now < from + seconds * 1_000) {
    length = pace.chunkBytes(MiB)
    pace.sent(length, now)
    now += (length / bytesPerSecond) * 1_000
    pace.acknowledged(length, now)
  }
  return length
}

const near = (value: number, wanted: number) => Math.abs(value / wanted - 1) < 0.1

spec('the length of chunks', (it) => {
  it('begins at a guess, and is never over what the server grants or a buffer holds', () => {
    assert.equal(new Pace().chunkBytes(MiB), clientLimits.firstChunkBytes)
    assert.equal(new Pace().chunkBytes(100), 100)
    const pace = new Pace()
    sendAt(pace, 100 * MiB, 5)
    assert.equal(pace.chunkBytes(100 * MiB), clientLimits.bufferBytes)
  })

  it('becomes about a second of the link', () => {
    for (const rate of [30 * KiB, 100 * KiB, 500 * KiB]) {
      const length = sendAt(new Pace(), rate, 60)
      assert.ok(near(length, rate), `${length} at ${rate}`)
    }
  })

  it('is never below its least', () => {
    assert.equal(sendAt(new Pace(), 500, 600), clientLimits.leastChunkBytes)
  })

  it('follows a link that becomes slower or faster', () => {
    const pace = new Pace()
    sendAt(pace, 500 * KiB, 20)
    assert.ok(near(sendAt(pace, 50 * KiB, 60, 20_000), 50 * KiB))
    assert.ok(near(sendAt(pace, 500 * KiB, 60, 80_000), 500 * KiB))
  })

  it('is not made smaller by a time in which there was nothing to send', () => {
    const pace = new Pace()
    sendAt(pace, 500 * KiB, 20)
    assert.ok(near(sendAt(pace, 500 * KiB, 3, 3_600_000), 500 * KiB))
  })

  it('is not made smaller by a chunk that the server has refused', () => {
    const pace = new Pace()
    sendAt(pace, 500 * KiB, 20)
    pace.sent(MiB, 20_000)
    pace.refused(MiB, 20_100)
    assert.ok(near(sendAt(pace, 500 * KiB, 3, 3_600_000), 500 * KiB))
  })

  it('is measured from the beginning on a new link, on which nothing is in flight', () => {
    const pace = new Pace()
    sendAt(pace, 500 * KiB, 20)
    pace.sent(MiB, 20_000)
    pace.reset()
    assert.ok(near(pace.chunkBytes(MiB), 500 * KiB), 'what was measured is the first guess')
    assert.ok(near(sendAt(pace, 500 * KiB, 3, 3_600_000), 500 * KiB))
  })

  it('is a part of a second where a rate is set', () => {
    assert.equal(new Pace(100 * KiB).chunkBytes(MiB), 25 * KiB)
    assert.equal(new Pace(100).chunkBytes(MiB), clientLimits.leastChunkBytes)
  })
})

spec('a rate that is set', (it) => {
  it('lets nothing wait where there is none', () => {
    const pace = new Pace()
    for (let count = 0; count < 1_000; count++) assert.equal(pace.delayMs(MiB, 0), 0)
  })

  it('is kept over any time, but for one piece', () => {
    const pieces = fc.array(fc.tuple(fc.nat(100_000), fc.nat(3_000)), { minLength: 1, maxLength: 100 })
    const property = fc.property(pieces, fc.integer({ min: 1_000, max: 1_000_000 }), (steps, rate) => {
      const pace = new Pace(rate)
      const went: { readonly at: number; readonly bytes: number }[] = []
      let now = 0
      for (const [bytes, idleMs] of steps) {
        now += idleMs
        const at = now + pace.delayMs(bytes, now)
        went.push({ at, bytes })
        now = at
      }
      for (const [first, { at: from }] of went.entries()) {
        let bytes = 0
        for (const { at, bytes: more } of went.slice(first)) {
          assert.ok(bytes <= ((at - from) / 1_000) * rate + 1, `${bytes} bytes within ${at - from} ms`)
          bytes += more
        }
      }
    })
    fc.assert(property)
  })

  it('is used up: pieces that are ready wait no longer than they must', () => {
    const pace = new Pace(1_000)
    assert.deepEqual([pace.delayMs(500, 0), pace.delayMs(500, 0), pace.delayMs(500, 0)], [0, 500, 1_000])
    assert.equal(pace.delayMs(500, 10_000), 0)
  })
})
