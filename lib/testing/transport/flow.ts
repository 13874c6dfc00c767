import assert from 'node:assert/strict'
import { MiB } from '../../limits.ts'
import { type TestCases, testCasesOf } from '../testCases.ts'
import { aWhile, bytesOf, type Ends, frameOf, type TransportFactory, withEnds } from './ends.ts'

const megabyte = bytesOf(MiB)

/** Sends until the socket is full. Returns the number of the last frame. */
function fill(near: Ends['near'], left?: () => void): number {
  for (let seq = 1; seq < 100; seq++) if (!near.send(frameOf(seq, megabyte), left)) return seq
  return assert.fail('it took 100 MiB and was never full')
}

/** The promises about flow control. */
export function flowCases(name: string, open: () => TransportFactory): TestCases {
  return testCasesOf(`${name}: the flow`, (it) => {
    it('is full after about two of the longest chunks', () =>
      withEnds(open(), async ({ near }) => {
        const frames = fill(near)
        assert.ok(frames > 1 && frames < 5, `it was full after ${frames} MiB`)
      }))

    it('accepts frames also when it is full, and reports once that it has drained', () =>
      withEnds(open(), async ({ near, nearHeard, farHeard, start }) => {
        start()
        const frames = fill(near)
        for (let more = 1; more <= 10; more++) assert.equal(near.send(frameOf(frames + more)), false)
        await Promise.all([nearHeard.times('drained'), farHeard.times('frame', frames + 10)])
        assert.deepEqual(
          farHeard.seqs,
          Array.from({ length: frames + 10 }, (_, at) => at + 1),
        )
        assert.equal(near.send(frameOf(0)), true)
        await farHeard.times('frame', frames + 11)
        assert.deepEqual(nearHeard.order, ['drained'])
      }))

    it('that was never full reports no drain', () =>
      withEnds(open(), async ({ near, nearHeard, farHeard, start }) => {
        start()
        assert.equal(near.send(frameOf(1, megabyte)), true)
        await farHeard.times('frame')
        await aWhile(open())
        assert.deepEqual(nearHeard.order, [])
      }))

    it('stays full until it has drained, regardless of other frames', () =>
      withEnds(open(), async ({ near, far, nearHeard, farHeard, start }) => {
        farHeard.onFrame = () => far.pause()
        start()
        const frames = fill(near)
        await farHeard.times('frame')
        assert.equal(near.send(frameOf(0)), nearHeard.count('drained') > 0)
        farHeard.onFrame = () => {}
        far.resume()
        await Promise.all([nearHeard.times('drained'), farHeard.times('frame', frames + 1)])
      }))

    it('becomes full and drained again and again', () =>
      withEnds(open(), async ({ near, nearHeard, farHeard, start }) => {
        start()
        let sent = 0
        for (let round = 1; round <= 5; round++) {
          sent += fill(near)
          await nearHeard.times('drained', round)
        }
        await farHeard.times('frame', sent)
      }))

    it('reports nothing before the start, and everything afterwards', () =>
      withEnds(open(), async ({ near, far, farHeard }) => {
        near.send(frameOf(1))
        near.send(frameOf(2, megabyte))
        await aWhile(open())
        assert.deepEqual(farHeard.order, [])
        far.start(farHeard)
        await farHeard.times('frame', 2)
        assert.deepEqual(farHeard.seqs, [1, 2])
      }))

    it('of a paused side stops until it resumes, and stops its sender', () =>
      withEnds(open(), async ({ near, far, nearHeard, farHeard, start }) => {
        start()
        far.pause()
        let left = 0
        const frames = 64
        for (let seq = 1; seq <= frames; seq++) near.send(frameOf(seq, megabyte), () => left++)
        await aWhile(open())
        assert.deepEqual([farHeard.order, nearHeard.order], [[], []])
        assert.ok(left < frames, 'all of 64 MiB left towards a side that does not read')
        far.resume()
        await Promise.all([farHeard.times('frame', frames), nearHeard.times('drained')])
        assert.equal(left, frames)
      }))

    it('of a paused side does not stop the other direction', () =>
      withEnds(open(), async ({ near, far, nearHeard, start }) => {
        start()
        far.pause()
        fill(near)
        for (let seq = 1; seq <= 20; seq++) {
          far.send(frameOf(seq, bytesOf(10_000)))
          await nearHeard.times('frame', seq)
        }
      }))

    it('is held by a pause before the start', () =>
      withEnds(open(), async ({ near, far, farHeard, start }) => {
        far.pause()
        start()
        near.send(frameOf(1))
        await aWhile(open())
        assert.deepEqual(farHeard.order, [])
        far.resume()
        await farHeard.times('frame')
      }))

    it('is not started by a resume before the start', () =>
      withEnds(open(), async ({ near, far, farHeard, start }) => {
        far.pause()
        far.resume()
        near.send(frameOf(1))
        await aWhile(open())
        start()
        await farHeard.times('frame')
      }))

    it('stays stopped after a fault, also after a resume', () =>
      withEnds(
        open(),
        async ({ near, far, farHeard, start }) => {
          start()
          let left = 0
          const frames = 64
          for (let seq = 1; seq <= frames; seq++) near.send(frameOf(seq, megabyte), () => left++)
          await farHeard.times('fault')
          far.pause()
          far.resume()
          await aWhile(open())
          assert.ok(left < frames, 'all of 64 MiB left towards a side that has met a fault')
          assert.deepEqual(
            farHeard.order.filter((told) => told !== 'begun'),
            ['fault'],
          )
        },
        1_000,
      ))

    it('can be paused and resumed within every frame', () =>
      withEnds(open(), async ({ near, far, farHeard, start }) => {
        farHeard.onFrame = () => {
          far.pause()
          queueMicrotask(() => far.resume())
        }
        start()
        for (let seq = 1; seq <= 300; seq++) near.send(frameOf(seq, bytesOf(1_000)))
        await farHeard.times('frame', 300)
        assert.deepEqual(
          farHeard.seqs,
          Array.from({ length: 300 }, (_, at) => at + 1),
        )
      }))
  })
}
