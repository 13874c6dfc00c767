import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Pacer } from '../../lib/core/pacer.ts'
import { clientLimits, KiB, MiB } from '../../lib/limits.ts'
import { spec } from '../support/spec.ts'

/** Sends one piece after another over a link of this rate, for `seconds`; the last chunk length. */
function sendAt(pace: Pacer, bytesPerSecond: number, seconds: number, from = 0): number {
  let now = from
  let length = pace.chunkBytes(MiB, from)
  while (now < from + seconds * 1_000) {
    length = pace.chunkBytes(MiB, now)
    pace.sent(length, now)
    now += (length / bytesPerSecond) * 1_000
    pace.acknowledged(length, now)
  }
  return length
}

const near = (value: number, wanted: number) => Math.abs(value / wanted - 1) < 0.1

spec('the length of chunks', (it) => {
  it('begins with a default, and is at most the granted one and that of a buffer', () => {
    assert.equal(new Pacer().chunkBytes(MiB, 0), clientLimits.firstChunkBytes)
    assert.equal(new Pacer().chunkBytes(100, 0), 100)
    const pace = new Pacer()
    sendAt(pace, 100 * MiB, 5)
    assert.equal(pace.chunkBytes(100 * MiB, 5_000), clientLimits.bufferBytes)
  })

  it('becomes about one second of the link', () => {
    for (const rate of [30 * KiB, 100 * KiB, 500 * KiB]) {
      const length = sendAt(new Pacer(), rate, 60)
      assert.ok(near(length, rate), `${length} at ${rate}`)
    }
  })

  it('is never below the minimum', () => {
    assert.equal(sendAt(new Pacer(), 500, 600), clientLimits.leastChunkBytes)
  })

  it('follows the rate of the link', () => {
    const pace = new Pacer()
    sendAt(pace, 500 * KiB, 20)
    assert.ok(near(sendAt(pace, 50 * KiB, 60, 20_000), 50 * KiB))
    assert.ok(near(sendAt(pace, 500 * KiB, 60, 80_000), 500 * KiB))
  })

  it('does not decrease by idle time', () => {
    const pace = new Pacer()
    sendAt(pace, 500 * KiB, 20)
    assert.ok(near(sendAt(pace, 500 * KiB, 3, 3_600_000), 500 * KiB))
  })

  it('does not decrease by a refused chunk', () => {
    const pace = new Pacer()
    sendAt(pace, 500 * KiB, 20)
    pace.sent(MiB, 20_000)
    pace.refused(MiB, 20_100)
    assert.ok(near(sendAt(pace, 500 * KiB, 3, 3_600_000), 500 * KiB))
  })

  it('is short on a new link until it is measured, and at most one second of the previous link', () => {
    const pace = new Pacer()
    sendAt(pace, 500 * KiB, 20)
    pace.sent(MiB, 20_000)
    pace.reset()
    assert.equal(pace.chunkBytes(MiB, 20_000), clientLimits.firstChunkBytes)
    assert.ok(near(sendAt(pace, 5 * KiB, 20, 20_000), 5 * KiB))
    pace.reset()
    assert.ok(near(pace.chunkBytes(MiB, 40_000), 5 * KiB), 'what was measured is the most of the first guess')
    assert.ok(near(sendAt(pace, 500 * KiB, 3, 3_600_000), 500 * KiB))
  })

  it('is halved by each link that acknowledges no chunk, and restored by one that does', () => {
    const pace = new Pacer()
    const lengths: number[] = []
    for (let link = 0; link < 8; link++) {
      const length = pace.chunkBytes(MiB, 0)
      lengths.push(length / KiB)
      for (let chunk = 0; chunk < 3; chunk++) pace.sent(length, 0)
      for (let chunk = 0; chunk < 3; chunk++) pace.refused(length, 45_000)
      pace.reset()
    }
    assert.deepEqual(lengths, [32, 16, 8, 4, 2, 1, 1, 1])
    sendAt(pace, 500 * KiB, 20, 100_000)
    pace.reset()
    assert.equal(pace.chunkBytes(MiB, 120_000), clientLimits.firstChunkBytes)
  })

  it('is half of the sent length, even if the previous link was measured as faster', () => {
    const pace = new Pacer()
    sendAt(pace, 6 * KiB, 20)
    pace.reset()
    const length = pace.chunkBytes(MiB, 20_000)
    assert.ok(near(length, 6 * KiB))
    pace.sent(length, 20_000)
    pace.refused(length, 65_000)
    pace.reset()
    assert.equal(pace.chunkBytes(MiB, 65_000), Math.floor(length / 2))
  })

  it('decreases while a chunk is unacknowledged, and after the first slow one', () => {
    const pace = new Pacer()
    sendAt(pace, 500 * MiB, 5)
    assert.equal(pace.chunkBytes(MiB, 5_000), MiB)
    pace.sent(MiB, 5_000)
    const waiting = [1, 8, 32].map((seconds) => pace.chunkBytes(MiB, 5_000 + seconds * 1_000) / KiB)
    assert.deepEqual(waiting, [1024, 128, 32])
    pace.acknowledged(MiB, 57_000)
    assert.ok(near(pace.chunkBytes(MiB, 57_000), MiB / 52))
  })

  it('is a fraction of a second with a maximum rate', () => {
    assert.equal(new Pacer(80 * KiB).chunkBytes(MiB, 0), 20 * KiB)
    assert.equal(new Pacer(100).chunkBytes(MiB, 0), clientLimits.leastChunkBytes)
  })
})

spec('a maximum rate', (it) => {
  it('causes no delay if it is not set', () => {
    const pace = new Pacer()
    for (let count = 0; count < 1_000; count++) assert.equal(pace.delayMs(MiB, 0), 0)
  })

  it('is kept in any period, except for one chunk', () => {
    const pieces = fc.array(fc.tuple(fc.nat(100_000), fc.nat(3_000)), { minLength: 1, maxLength: 100 })
    const property = fc.property(pieces, fc.integer({ min: 1_000, max: 1_000_000 }), (steps, rate) => {
      const pace = new Pacer(rate)
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

  it('is used fully: ready chunks wait no longer than necessary', () => {
    const pace = new Pacer(1_000)
    assert.deepEqual([pace.delayMs(500, 0), pace.delayMs(500, 0), pace.delayMs(500, 0)], [0, 500, 1_000])
    assert.equal(pace.delayMs(500, 10_000), 0)
  })
})
