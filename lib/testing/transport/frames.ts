import assert from 'node:assert/strict'
import { KiB, MiB } from '../../limits.ts'
import { lengthOf, type Parts } from '../../wire/codec.ts'
import { type TestCases, testCasesOf } from '../testCases.ts'
import { bytesOf, frameOf, type Heard, type TransportFactory, withEnds } from './ends.ts'

const sameBytes = (got: Parts, expected: Parts) => assert.ok(Buffer.concat(got).equals(Buffer.concat(expected)))
const upTo = (count: number) => Array.from({ length: count }, (_, at) => at + 1)

/** The promises about frames. */
export function frameCases(name: string, open: () => TransportFactory): TestCases {
  return testCasesOf(`${name}: a frame`, (it) => {
    it('arrives with every field', () =>
      withEnds(open(), async ({ near, farHeard, start }) => {
        start()
        const fields = { version: 250, flags: 1, event: 65_534, seq: 4_294_967_294, app: 2, instance: 65_533 }
        near.send({ ...fields, payload: [bytesOf(3)] })
        await farHeard.times('frame')
        const { payload, ...got } = farHeard.frames[0] ?? frameOf(0)
        assert.deepEqual(got, fields)
        sameBytes(payload, [bytesOf(3)])
      }))

    it('arrives without a payload, and with empty parts', () =>
      withEnds(open(), async ({ near, farHeard, start }) => {
        start()
        near.send(frameOf(1))
        near.send(frameOf(2, new Uint8Array(0), bytesOf(2), new Uint8Array(0)))
        await farHeard.times('frame', 2)
        assert.deepEqual(
          farHeard.frames.map(({ payload }) => lengthOf(payload)),
          [0, 2],
        )
      }))

    it('keeps its order, in both directions at once', () =>
      withEnds(open(), async ({ near, far, nearHeard, farHeard, start }) => {
        start()
        for (const seq of upTo(1_000)) {
          near.send(frameOf(seq, bytesOf(seq % 97)))
          far.send(frameOf(seq, bytesOf(seq % 89)))
        }
        await Promise.all([nearHeard.times('frame', 1_000), farHeard.times('frame', 1_000)])
        assert.deepEqual(nearHeard.seqs, upTo(1_000))
        assert.deepEqual(farHeard.seqs, upTo(1_000))
      }))

    it('of 1 MiB in parts arrives intact', () =>
      withEnds(open(), async ({ near, farHeard, start }) => {
        start()
        const parts = [bytesOf(8, 1), bytesOf(MiB - 100_000, 2), bytesOf(1, 3), bytesOf(99_991, 4)]
        for (const seq of upTo(4)) near.send(frameOf(seq, ...parts))
        await farHeard.times('frame', 4)
        for (const { payload } of farHeard.frames) sameBytes(payload, parts)
      }))

    it('belongs to the receiver: the sender may overwrite the bytes after they have left', () =>
      withEnds(open(), async ({ near, farHeard, start }) => {
        start()
        const buffer = bytesOf(200 * KiB)
        await new Promise<void>((left) => near.send(frameOf(1, buffer), left))
        buffer.fill(0xee)
        await farHeard.times('frame')
        sameBytes(farHeard.frames[0]?.payload ?? [], [bytesOf(200 * KiB)])
      }))

    it('reports once, in order, that it has left', () =>
      withEnds(open(), async ({ near, farHeard, start }) => {
        start()
        const left: number[] = []
        const all = upTo(50).map(
          (seq) =>
            new Promise<void>((resolve) => {
              near.send(frameOf(seq, bytesOf(seq * 100)), () => {
                left.push(seq)
                resolve()
              })
            }),
        )
        await Promise.all([...all, farHeard.times('frame', 50)])
        assert.deepEqual(left, upTo(50))
      }))

    it('of exactly maxPayload arrives', () =>
      withEnds(
        open(),
        async ({ near, farHeard, start }) => {
          start()
          near.send(frameOf(1, bytesOf(600), bytesOf(400)))
          await farHeard.times('frame')
          assert.deepEqual(farHeard.faults, [])
        },
        1_000,
      ))

    it('over maxPayload is a fault that is reported once, and no event follows', () =>
      withEnds(
        open(),
        async ({ near, far, farHeard, start }) => {
          start()
          for (const [seq, length] of [10, 1_001, 10, 1_001].entries()) near.send(frameOf(seq, bytesOf(length)))
          await farHeard.times('fault')
          far.resume()
          await Promise.all([near.close(), far.close(), farHeard.times('closed')])
          assert.deepEqual(farHeard.seqs, [0])
          assert.deepEqual(
            farHeard.faults.map(({ code }) => code),
            ['malformed'],
          )
        },
        1_000,
      ))

    it('can follow a fault in the other direction: the last frame gives the reason', () =>
      withEnds(
        open(),
        async ({ near, far, nearHeard, farHeard, start }) => {
          start()
          near.send(frameOf(1, bytesOf(5_000)))
          await farHeard.times('fault')
          await far.close(frameOf(99))
          await nearHeard.times('closed')
          assert.deepEqual(nearHeard.seqs, [99])
          assert.deepEqual(nearHeard.ends, [undefined])
        },
        1_000,
      ))

    it('is checked against the current maxPayload: a change within a frame event applies to the next frame', () =>
      withEnds(
        open(),
        async ({ near, far, farHeard, start }) => {
          farHeard.onFrame = () => {
            far.maxPayload = 5_000
          }
          start()
          near.send(frameOf(1))
          near.send(frameOf(2, bytesOf(5_000)))
          await farHeard.times('frame', 2)
          assert.equal(far.maxPayload, 5_000)
          assert.deepEqual(farHeard.faults, [])
        },
        1_000,
      ))

    it('is announced, if at all, with its length or with 0', () =>
      withEnds(open(), async ({ near, farHeard, start }) => {
        start()
        for (const seq of upTo(40)) near.send(frameOf(seq, bytesOf(seq * 7_001)))
        await farHeard.times('frame', 40)
        assert.ok(announcedLengths(farHeard).every(({ announced, actual }) => announced === 0 || announced === actual))
      }))
  })
}

/** Returns each announced length of a payload, with the length of the next frame. */
function announcedLengths({
  order,
  begunBytes,
  frames,
}: Heard): { readonly announced: number; readonly actual: number }[] {
  const begun = order.flatMap((event, at) => (event === 'begun' ? [at] : []))
  return begun.map((at, index) => {
    const arrived = order.slice(0, at).filter((event) => event === 'frame').length
    return { announced: begunBytes[index] ?? -1, actual: lengthOf(frames[arrived]?.payload ?? []) }
  })
}
