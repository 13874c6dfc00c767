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

const { firstChunkBytes, leastChunkBytes, bufferBytes, chunkMs, queuedMs } = clientLimits

/** The bytes of a chunk at this rate. */
const chunkAt = (bytesPerSecond: number) => (bytesPerSecond * chunkMs) / 1_000

spec('the length of chunks', (it) => {
  it('begins with a default, and is at most the granted one and that of a buffer', () => {
    assert.equal(new Pacer().chunkBytes(MiB, 0), firstChunkBytes)
    assert.equal(new Pacer().chunkBytes(100, 0), 100)
    const pace = new Pacer()
    sendAt(pace, 100 * MiB, 5)
    assert.equal(pace.chunkBytes(100 * MiB, 5_000), bufferBytes)
  })

  it('becomes about 0.15 s of the link', () => {
    for (const rate of [30 * KiB, 100 * KiB, 500 * KiB]) {
      const length = sendAt(new Pacer(), rate, 60)
      assert.ok(near(length, chunkAt(rate)), `${length} at ${rate}`)
    }
  })

  it('is never below the minimum', () => {
    assert.equal(sendAt(new Pacer(), 500, 600), leastChunkBytes)
  })

  it('follows the rate of the link', () => {
    const pace = new Pacer()
    sendAt(pace, 500 * KiB, 20)
    assert.ok(near(sendAt(pace, 50 * KiB, 60, 20_000), chunkAt(50 * KiB)))
    assert.ok(near(sendAt(pace, 500 * KiB, 60, 80_000), chunkAt(500 * KiB)))
  })

  it('does not decrease by idle time', () => {
    const pace = new Pacer()
    sendAt(pace, 500 * KiB, 20)
    assert.ok(near(sendAt(pace, 500 * KiB, 3, 3_600_000), chunkAt(500 * KiB)))
  })

  it('does not decrease by a refused chunk', () => {
    const pace = new Pacer()
    sendAt(pace, 500 * KiB, 20)
    pace.sent(MiB, 20_000)
    pace.refused(MiB, 20_100)
    assert.ok(near(sendAt(pace, 500 * KiB, 3, 3_600_000), chunkAt(500 * KiB)))
  })

  it('does not decrease by files that are shorter than what the link holds', () => {
    const pace = new Pacer()
    const length = sendAt(pace, 500 * KiB, 20)
    for (let now = 20_000; now < 30_000; now += 100) {
      pace.sent(KiB, now)
      pace.acknowledged(KiB, now + 100)
    }
    assert.equal(pace.chunkBytes(MiB, 30_000), length)
  })

  it('is not below the first one because a short file was the first on the link', () => {
    for (const bytes of [0, 1, KiB]) {
      const pace = new Pacer()
      pace.reset(0, 5)
      pace.sent(bytes, 0)
      pace.acknowledged(bytes, 10)
      assert.equal(pace.chunkBytes(MiB, 10), firstChunkBytes, `${bytes} bytes`)
    }
  })

  it('is not changed by an empty file whose reply takes long', () => {
    const pace = new Pacer()
    pace.sent(0, 0)
    pace.acknowledged(0, 5_000)
    assert.equal(pace.chunkBytes(MiB, 5_000), firstChunkBytes)
    assert.equal(pace.sendingMs(0, 5_000), 0)
    const length = sendAt(pace, 500 * KiB, 20, 5_000)
    pace.sent(0, 25_000)
    pace.acknowledged(0, 30_000)
    assert.equal(pace.chunkBytes(MiB, 30_000), length)
  })

  it('is short on a new link until it is measured, and at most 0.15 s of the previous link', () => {
    const pace = new Pacer()
    sendAt(pace, 500 * KiB, 20)
    pace.sent(MiB, 20_000)
    pace.reset(20_000)
    assert.equal(pace.chunkBytes(MiB, 20_000), firstChunkBytes)
    assert.ok(near(sendAt(pace, 8 * KiB, 20, 20_000), chunkAt(8 * KiB)))
    pace.reset(40_000)
    assert.ok(
      near(pace.chunkBytes(MiB, 40_000), chunkAt(8 * KiB)),
      'the first length is at most that of the former link',
    )
    assert.ok(near(sendAt(pace, 500 * KiB, 3, 3_600_000), chunkAt(500 * KiB)))
  })

  it('is halved by each link that acknowledges no chunk, and restored by one that does', () => {
    const pace = new Pacer()
    const lengths: number[] = []
    for (let link = 0; link < 8; link++) {
      const length = pace.chunkBytes(MiB, 0)
      lengths.push(length / KiB)
      for (let chunk = 0; chunk < 3; chunk++) pace.sent(length, 0)
      for (let chunk = 0; chunk < 3; chunk++) pace.refused(length, 45_000)
      pace.reset(45_000)
    }
    assert.deepEqual(lengths, [32, 16, 8, 4, 2, 1, 1, 1])
    sendAt(pace, 500 * KiB, 20, 100_000)
    pace.reset(120_000)
    assert.equal(pace.chunkBytes(MiB, 120_000), firstChunkBytes)
  })

  it('is half of the sent length, even if the previous link was measured as faster', () => {
    const pace = new Pacer()
    sendAt(pace, 24 * KiB, 20)
    pace.reset(20_000)
    const length = pace.chunkBytes(MiB, 20_000)
    assert.ok(near(length, chunkAt(24 * KiB)))
    pace.sent(length, 20_000)
    pace.refused(length, 65_000)
    pace.reset(65_000)
    assert.equal(pace.chunkBytes(MiB, 65_000), Math.floor(length / 2))
  })

  it('decreases while a chunk is unacknowledged, and after the first slow one', () => {
    const pace = new Pacer()
    sendAt(pace, 500 * MiB, 5)
    assert.equal(pace.chunkBytes(MiB, 5_000), MiB)
    pace.sent(MiB, 5_000)
    const waiting = [0.25, 1, 8, 32].map((seconds) => pace.chunkBytes(MiB, 5_000 + seconds * 1_000) / KiB)
    assert.deepEqual(waiting.map(Math.round), [1024, 1024, 19, 5])
    pace.acknowledged(MiB, 57_000)
    assert.ok(near(pace.chunkBytes(MiB, 57_000), chunkAt(MiB / 52)))
  })

  it('is 0.15 s of a maximum rate', () => {
    assert.equal(new Pacer(100 * KiB).chunkBytes(MiB, 0), 15 * KiB)
    assert.equal(new Pacer(100).chunkBytes(MiB, 0), leastChunkBytes)
  })
})

/**
 * A path with a queue: chunks pass one after another at `bytesPerSecond`, and their acknowledgements arrive after `roundTripMs`.
 * `send` passes as many chunks as the pacer admits, for `seconds`.
 */
class Path {
  readonly pace = new Pacer()
  bytesPerSecond: number
  readonly #roundTripMs: number
  readonly #arrivals: { readonly atMs: number; readonly bytes: number }[] = []
  #freeAtMs = 0
  now = 0
  /** Bytes sent and not acknowledged. */
  inFlight = 0
  acknowledged = 0

  constructor(bytesPerSecond: number, roundTripMs: number) {
    this.bytesPerSecond = bytesPerSecond
    this.#roundTripMs = roundTripMs
    this.pace.reset(0, roundTripMs)
  }

  /** Returns the highest number of bytes in flight meanwhile. */
  send(seconds: number): number {
    const endMs = this.now + seconds * 1_000
    let most = this.inFlight
    for (;;) {
      this.#fill()
      most = Math.max(most, this.inFlight)
      const first = this.#arrivals[0]
      if (!first || first.atMs > endMs) break
      this.#arrivals.shift()
      this.now = first.atMs
      this.inFlight -= first.bytes
      this.acknowledged += first.bytes
      this.pace.acknowledged(first.bytes, this.now)
    }
    this.now = endMs
    return most
  }

  #fill(): void {
    for (;;) {
      const bytes = this.pace.chunkBytes(MiB, this.now)
      if (!this.pace.admit(bytes, this.now)) return
      this.#freeAtMs = Math.max(this.now, this.#freeAtMs) + (bytes / this.bytesPerSecond) * 1_000
      this.#arrivals.push({ atMs: this.#freeAtMs + this.#roundTripMs, bytes })
      this.inFlight += bytes
    }
  }
}

spec('the bytes in flight', (it) => {
  it('are two short chunks on a new link', () => {
    const pace = new Pacer()
    assert.ok(pace.admit(firstChunkBytes, 0))
    assert.ok(pace.admit(firstChunkBytes, 0))
    assert.ok(!pace.admit(1, 0))
  })

  it('become what the link carries in its round trip and 0.3 s, at any rate', () => {
    for (const rate of [5 * KiB, 50 * KiB, 200 * KiB, MiB]) {
      for (const roundTripMs of [0, 20, 100, 300]) {
        const path = new Path(rate, roundTripMs)
        path.send(60)
        const most = path.send(30)
        const bound = Math.max(2 * leastChunkBytes, (rate * (roundTripMs + queuedMs)) / 1_000)
        assert.ok(most <= bound * 1.1 && most >= bound * 0.5, `${most} of ${bound} at ${rate} and ${roundTripMs} ms`)
      }
    }
  })

  it('use the whole rate of a link from the first seconds on', () => {
    for (const rate of [50 * KiB, 200 * KiB, MiB, 4 * MiB, 20 * MiB]) {
      for (const roundTripMs of [0, 20, 100, 300, 600, 1_500]) {
        const path = new Path(rate, roundTripMs)
        path.send(4 + 8 * (roundTripMs / 1_000))
        const before = path.acknowledged
        path.send(30)
        const used = (path.acknowledged - before) / (30 * rate)
        assert.ok(used > 0.97, `${used} of ${rate} at ${roundTripMs} ms`)
      }
    }
  })

  it('follow the rate of the link', () => {
    const path = new Path(MiB, 50)
    path.send(20)
    path.bytesPerSecond = 100 * KiB
    path.send(15)
    assert.ok(path.send(10) <= 100 * KiB * 0.5, 'lower')
    path.bytesPerSecond = 2 * MiB
    path.send(5)
    const before = path.acknowledged
    path.send(10)
    assert.ok(path.acknowledged - before > 19 * MiB, 'higher')
  })

  it('are never fewer than two chunks, however slow the link is', () => {
    const pace = new Pacer()
    sendAt(pace, 100, 600)
    const bytes = 600 * KiB
    assert.ok(pace.admit(bytes, 600_000))
    assert.ok(pace.admit(bytes, 600_000))
    assert.ok(!pace.admit(bytes, 600_000))
  })

  it('stay the same by a single stall', () => {
    const path = new Path(200 * KiB, 50)
    path.send(20)
    const bound = path.pace.boundBytes
    path.pace.sent(KiB, path.now)
    path.pace.acknowledged(KiB, path.now + 3_000)
    assert.ok(path.pace.boundBytes >= bound * 0.99, `${path.pace.boundBytes} of ${bound}`)
  })

  it('do not decrease because the server takes its time to store files', () => {
    const pace = new Pacer()
    pace.reset(0, 5)
    for (let now = 0; now < 60_000; now += 900) {
      for (let file = 0; file < 5; file++) assert.ok(pace.admit(KiB, now))
      for (let file = 0; file < 5; file++) pace.acknowledged(KiB, now + 900, clientLimits.storeMs)
    }
    assert.ok(pace.boundBytes >= 2 * firstChunkBytes)
  })

  it('are shared: chunks that wait are admitted in their order, one for each that is acknowledged', () => {
    const pace = new Pacer()
    const said: string[] = []
    for (let chunk = 0; chunk < 2; chunk++) assert.ok(pace.admit(firstChunkBytes, 0))
    for (const name of ['a', 'b', 'c']) {
      assert.ok(!pace.admit(firstChunkBytes, 0))
      const waiting = pace.queue(firstChunkBytes, () => said.push(name))
      if (name === 'b') waiting[Symbol.dispose]()
    }
    pace.refused(firstChunkBytes, 10)
    assert.deepEqual(said, ['a'])
    assert.ok(!pace.admit(1, 10), 'a later chunk does not overtake')
    pace.refused(firstChunkBytes, 20)
    assert.deepEqual(said, ['a', 'c'])
  })

  it('are none on the next link', () => {
    const pace = new Pacer()
    for (let chunk = 0; chunk < 2; chunk++) pace.sent(firstChunkBytes, 0)
    pace.reset(10)
    assert.ok(pace.admit(firstChunkBytes, 10))
    pace.acknowledged(firstChunkBytes, 20)
    pace.refused(firstChunkBytes, 20)
    assert.ok(pace.admit(firstChunkBytes, 30))
    assert.ok(pace.admit(firstChunkBytes, 30))
  })
})

spec('the length of a file in one request', (it) => {
  it('begins with that of a chunk, and grows with what a link with a long round trip carries', () => {
    const pace = new Pacer()
    pace.reset(0, 300)
    assert.equal(pace.fileBytes(MiB, 0), firstChunkBytes)
    for (let now = 0; now < 30_000; now += 300) {
      for (let file = 0; file < 5; file++) pace.sent(20 * KiB, now)
      for (let file = 0; file < 5; file++) pace.acknowledged(20 * KiB, now + 300, clientLimits.storeMs)
    }
    assert.equal(pace.fileBytes(MiB, 30_000), MiB)
    assert.equal(pace.fileBytes(100, 30_000), 100)
  })

  it('is about that of a chunk on a slow link, and with a maximum rate', () => {
    const path = new Path(200 * KiB, 20)
    path.send(20)
    assert.ok(path.pace.fileBytes(MiB, path.now) <= 1.1 * chunkAt(200 * KiB))
    assert.equal(new Pacer(50 * KiB).fileBytes(MiB, 0), 7.5 * KiB)
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
