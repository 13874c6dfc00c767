import assert from 'node:assert/strict'
import { MiB } from '../../limits.ts'
import { type TestCases, testCasesOf } from '../testCases.ts'
import { aWhile, bytesOf, frameOf, Heard, type TransportFactory, withEnds } from './ends.ts'

const megabyte = bytesOf(MiB)

/** The promises about closing a socket. */
export function closeCases(name: string, open: () => TransportFactory): TestCases {
  return testCasesOf(`${name}: closing`, (it) => {
    it('sends the accepted frames, then the last frame, and ends both sides without an error', () =>
      withEnds(open(), async ({ near, nearHeard, farHeard, start }) => {
        start()
        for (let seq = 1; seq <= 6; seq++) near.send(frameOf(seq, megabyte))
        await near.close(frameOf(99))
        await Promise.all([nearHeard.times('closed'), farHeard.times('closed')])
        assert.deepEqual(farHeard.seqs, [1, 2, 3, 4, 5, 6, 99])
        assert.deepEqual([nearHeard.ends, farHeard.ends], [[undefined], [undefined]])
      }))

    it('delivers the last frame also while the peer sends continuously', () =>
      withEnds(open(), async ({ near, far, nearHeard, farHeard, start }) => {
        start()
        const pump = () => {
          while (far.send(frameOf(1, megabyte))) if (farHeard.count('closed') > 0) return
        }
        farHeard.onDrained = pump
        pump()
        await nearHeard.times('frame', 3)
        const closed = near.close(frameOf(99))
        await Promise.all([closed, nearHeard.times('closed'), farHeard.times('closed')])
        assert.deepEqual(farHeard.seqs, [99])
        assert.deepEqual(nearHeard.ends, [undefined])
      }))

    it('reports no more frames', () =>
      withEnds(open(), async ({ near, far, nearHeard, farHeard, start }) => {
        start()
        far.send(frameOf(1))
        const closed = near.close()
        far.send(frameOf(2, megabyte))
        await Promise.all([closed, nearHeard.times('closed'), farHeard.times('closed')])
        assert.deepEqual(nearHeard.order, ['closed'])
      }))

    it('reports no drain either', () =>
      withEnds(open(), async ({ near, nearHeard, farHeard, start }) => {
        start()
        for (let seq = 1; seq <= 8; seq++) near.send(frameOf(seq, megabyte))
        await Promise.all([near.close(), farHeard.times('closed')])
        assert.equal(farHeard.count('frame'), 8)
        assert.deepEqual(nearHeard.order, ['closed'])
      }))

    it('reads and drops the frames of the peer', () =>
      withEnds(open(), async ({ near, far, nearHeard, farHeard, start }) => {
        near.pause()
        start()
        const allLeft = Array.from(
          { length: 32 },
          (_, at) => new Promise<void>((left) => far.send(frameOf(at, megabyte), left)),
        )
        far.pause()
        await aWhile(open())
        const closed = near.close(frameOf(99))
        await Promise.all(allLeft)
        far.resume()
        await Promise.all([closed, farHeard.times('closed')])
        assert.deepEqual(nearHeard.order, ['closed'])
        assert.deepEqual(farHeard.seqs, [99])
      }))

    it('is reported to a paused side after all frames', () =>
      withEnds(open(), async ({ near, far, farHeard, start }) => {
        start()
        near.send(frameOf(1))
        await farHeard.times('frame')
        far.pause()
        await Promise.all([near.close(), farHeard.times('closed')])
      }))

    it('within a frame event reports no more frames', () =>
      withEnds(open(), async ({ near, far, nearHeard, farHeard, start }) => {
        farHeard.onFrame = () => void far.close(frameOf(9))
        start()
        for (let seq = 1; seq <= 10; seq++) near.send(frameOf(seq))
        await Promise.all([nearHeard.times('closed'), farHeard.times('closed')])
        assert.deepEqual([farHeard.seqs, nearHeard.seqs], [[1], [9]])
      }))

    it('waits at most about two seconds for a peer that never reads', () =>
      withEnds(open(), async ({ near, far, nearHeard, farHeard, clock, start }) => {
        far.pause()
        start()
        for (let seq = 1; seq <= 32; seq++) near.send(frameOf(seq, megabyte))
        const closed = near.close(frameOf(99))
        await aWhile(open())
        assert.deepEqual(nearHeard.order, [])
        assert.deepEqual(clock.set, [2_000])
        clock.ring()
        await Promise.all([closed, nearHeard.times('closed')])
        assert.deepEqual(nearHeard.ends, [undefined])
        far.resume()
        await farHeard.times('closed')
        assert.deepEqual(
          farHeard.ends.map((why) => why?.code),
          ['link-lost'],
        )
      }))

    it('leaves no alarm', () =>
      withEnds(open(), async ({ near, farHeard, clock, start }) => {
        start()
        await near.close()
        await farHeard.times('closed')
        assert.deepEqual(clock.set, [])
      }))

    it('works on a paused side', () =>
      withEnds(open(), async ({ near, far, nearHeard, start }) => {
        start()
        far.pause()
        for (let seq = 1; seq <= 16; seq++) near.send(frameOf(seq, megabyte))
        await far.close(frameOf(99))
        await nearHeard.times('closed')
        assert.deepEqual(nearHeard.seqs, [99])
      }))

    it('is idempotent: the first call sets the last frame', () =>
      withEnds(open(), async ({ near, farHeard, start }) => {
        start()
        await Promise.all([near.close(frameOf(1)), near.close(frameOf(2)), near.close()])
        await near.close(frameOf(3))
        await farHeard.times('closed')
        assert.deepEqual(farHeard.seqs, [1])
      }))

    it('by both sides at once ends both without an error', () =>
      withEnds(open(), async ({ near, far, nearHeard, farHeard, start }) => {
        start()
        await Promise.all([near.close(frameOf(1)), far.close(frameOf(2))])
        await Promise.all([nearHeard.times('closed'), farHeard.times('closed')])
        assert.deepEqual([nearHeard.ends, farHeard.ends], [[undefined], [undefined]])
      }))

    it('can be cut short by destroying', () =>
      withEnds(open(), async ({ near, far, nearHeard, start }) => {
        far.pause()
        start()
        for (let seq = 1; seq <= 16; seq++) near.send(frameOf(seq, megabyte))
        const closed = near.close(frameOf(99))
        near.destroy()
        await Promise.all([closed, nearHeard.times('closed')])
        assert.deepEqual(nearHeard.ends, [undefined])
      }))

    it('leaves a socket on which no call has an effect or throws', () =>
      withEnds(open(), async ({ near, nearHeard, farHeard, start }) => {
        start()
        const closed = near.close()
        const callAll = () => {
          assert.equal(
            near.send(frameOf(1), () => assert.fail('it left')),
            false,
          )
          near.pause()
          near.resume()
        }
        callAll()
        await Promise.all([closed, nearHeard.times('closed'), farHeard.times('closed')])
        callAll()
        near.destroy()
        await near.close(frameOf(2))
        await aWhile(open())
        assert.deepEqual([nearHeard.order, farHeard.order], [['closed'], ['closed']])
      }))

    it('before the start is reported after it', () =>
      withEnds(open(), async ({ near, far, farHeard }) => {
        far.start(farHeard)
        await near.close(frameOf(7))
        await farHeard.times('closed')
        const late = new Heard()
        near.start(late)
        assert.deepEqual(late.order, [])
        await late.times('closed')
        assert.deepEqual([late.ends, farHeard.seqs], [[undefined], [7]])
      }))
  })
}
