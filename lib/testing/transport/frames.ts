import assert from 'node:assert/strict'
import { KiB, MiB } from '../../limits.ts'
import { lengthOf, type Parts } from '../../wire/codec.ts'
import { type Checks, upTo } from '../testCases.ts'
import { bytesOf, type Ends, frameOf } from './ends.ts'

const sameBytes = (got: Parts, expected: Parts) => assert.ok(Buffer.concat(got).equals(Buffer.concat(expected)))

/** The promises about frames. */
export const frameChecks: Checks<Ends> = {
  'arrives with every field': async ({ near, farEvents }) => {
    const fields = { version: 250, flags: 1, event: 65_534, seq: 4_294_967_294, app: 2, instance: 65_533 }
    near.send({ ...fields, payload: [bytesOf(3)] })
    await farEvents.times('frame')
    const { payload, ...got } = farEvents.frames[0] ?? frameOf(0)
    assert.deepEqual(got, fields)
    sameBytes(payload, [bytesOf(3)])
  },
  'arrives without a payload, and with empty parts': async ({ near, farEvents }) => {
    near.send(frameOf(1))
    near.send(frameOf(2, bytesOf(0), bytesOf(2), bytesOf(0)))
    await farEvents.times('frame', 2)
    const lengths = farEvents.frames.map(({ payload }) => lengthOf(payload))
    assert.deepEqual(lengths, [0, 2])
  },
  'keeps its order, in both directions at once': async ({ near, far, nearEvents, farEvents }) => {
    for (const seq of upTo(1_000)) {
      near.send(frameOf(seq, bytesOf(seq % 97)))
      far.send(frameOf(seq, bytesOf(seq % 89)))
    }
    await Promise.all([nearEvents.times('frame', 1_000), farEvents.times('frame', 1_000)])
    assert.deepEqual(nearEvents.seqs, upTo(1_000))
    assert.deepEqual(farEvents.seqs, upTo(1_000))
  },
  'of 1 MiB in parts arrives intact': async ({ near, farEvents }) => {
    const parts = [bytesOf(8, 1), bytesOf(MiB - 100_000, 2), bytesOf(1, 3), bytesOf(99_991, 4)]
    for (const seq of upTo(4)) near.send(frameOf(seq, ...parts))
    await farEvents.times('frame', 4)
    for (const { payload } of farEvents.frames) sameBytes(payload, parts)
  },
  'belongs to the receiver: the sender may overwrite the bytes after they have left': async ({ near, farEvents }) => {
    const buffer = bytesOf(200 * KiB)
    await new Promise<void>((left) => near.send(frameOf(1, buffer), left))
    buffer.fill(0xee)
    await farEvents.times('frame')
    sameBytes(farEvents.frames[0]?.payload ?? [], [bytesOf(200 * KiB)])
  },
  'reports once, in order, that it has left, also among others': async ({ near, farEvents }) => {
    const left: number[] = []
    const allLeft = new Promise<void>((resolve) => {
      for (const seq of upTo(50)) {
        for (const _ of upTo(seq % 9)) near.send(frameOf(seq, bytesOf(300)))
        near.send(frameOf(seq, bytesOf(seq * 100)), () => left.push(seq) === 50 && resolve())
      }
    })
    await Promise.all([allLeft, farEvents.times('frame', 50)])
    assert.deepEqual(left, upTo(50))
  },
  'is announced, if at all, with its length or with 0': async ({ near, farEvents }) => {
    for (const seq of upTo(40)) near.send(frameOf(seq, bytesOf(seq * 7_001)))
    await farEvents.times('frame', 40)
    const begun = farEvents.order.flatMap((event, at) => (event === 'begun' ? [at] : []))
    for (const [index, at] of begun.entries()) {
      const arrived = farEvents.order.slice(0, at).filter((event) => event === 'frame').length
      const length = lengthOf(farEvents.frames[arrived]?.payload ?? [])
      assert.ok([0, length].includes(farEvents.begunBytes[index] ?? -1))
    }
  },
}

/** The promises about frames on connections whose `maxPayload` is 1,000 bytes. */
export const limitedFrameChecks: Checks<Ends> = {
  'of exactly maxPayload arrives': async ({ near, farEvents }) => {
    near.send(frameOf(1, bytesOf(600), bytesOf(400)))
    await farEvents.times('frame')
    assert.deepEqual(farEvents.faults, [])
  },
  'over maxPayload is a fault that is reported once, and no event follows': async ({ near, far, farEvents }) => {
    for (const [seq, length] of [10, 1_001, 10, 1_001].entries()) near.send(frameOf(seq, bytesOf(length)))
    await farEvents.times('fault')
    far.resume()
    await Promise.all([near.close(), far.close(), farEvents.times('closed')])
    assert.deepEqual(farEvents.seqs, [0])
    const codes = farEvents.faults.map(({ code }) => code)
    assert.deepEqual(codes, ['malformed'])
  },
  'can follow a fault in the other direction: the last frame gives the reason': async (ends) => {
    const { near, far, nearEvents, farEvents } = ends
    near.send(frameOf(1, bytesOf(5_000)))
    await farEvents.times('fault')
    await far.close(frameOf(99))
    await nearEvents.times('closed')
    assert.deepEqual(nearEvents.seqs, [99])
    assert.deepEqual(nearEvents.ends, [undefined])
  },
  'is checked against the current maxPayload, which a frame event can change': async ({ near, far, farEvents }) => {
    farEvents.onFrame = () => {
      far.maxPayload = 5_000
    }
    near.send(frameOf(1))
    near.send(frameOf(2, bytesOf(5_000)))
    await farEvents.times('frame', 2)
    assert.equal(far.maxPayload, 5_000)
    assert.deepEqual(farEvents.faults, [])
  },
}
