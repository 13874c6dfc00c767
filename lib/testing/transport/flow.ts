import assert from 'node:assert/strict'
import { type Checks, upTo } from '../testCases.ts'
import { bytesOf, type Ends, fillSocket, frameOf, megabyte, sendMegabytes } from './ends.ts'

/** The promises about flow control. */
export const flowChecks: Checks<Ends> = {
  'is full after about two of the longest chunks': async ({ near }) => {
    const frames = fillSocket(near)
    assert.ok(frames > 1 && frames < 5, `it was full after ${frames} MiB`)
  },
  'accepts frames also when it is full, and reports once that it has drained': async (ends) => {
    const { near, nearEvents, farEvents } = ends
    const frames = fillSocket(near)
    for (const more of upTo(10)) assert.equal(near.send(frameOf(frames + more)), false)
    await Promise.all([nearEvents.times('drained'), farEvents.times('frame', frames + 10)])
    assert.deepEqual(farEvents.seqs, upTo(frames + 10))
    assert.equal(near.send(frameOf(0)), true)
    await farEvents.times('frame', frames + 11)
    assert.deepEqual(nearEvents.order, ['drained'])
  },
  'that was never full reports no drain': async ({ near, nearEvents, farEvents, aWhile }) => {
    assert.equal(near.send(frameOf(1, megabyte)), true)
    await farEvents.times('frame')
    await aWhile()
    assert.deepEqual(nearEvents.order, [])
  },
  'stays full until it has drained, regardless of other frames': async ({ near, far, nearEvents, farEvents }) => {
    farEvents.onFrame = () => far.pause()
    const frames = fillSocket(near)
    await farEvents.times('frame')
    assert.equal(near.send(frameOf(0)), nearEvents.count('drained') > 0)
    farEvents.onFrame = () => {}
    far.resume()
    await Promise.all([nearEvents.times('drained'), farEvents.times('frame', frames + 1)])
  },
  'becomes full and drained again and again': async ({ near, nearEvents, farEvents }) => {
    let sent = 0
    for (const round of upTo(5)) {
      sent += fillSocket(near)
      await nearEvents.times('drained', round)
    }
    await farEvents.times('frame', sent)
  },
  'of a paused side stops until it resumes, and stops its sender': async (ends) => {
    const { near, far, nearEvents, farEvents } = ends
    far.pause()
    let flushed = 0
    sendMegabytes(near, 64, () => flushed++)
    await ends.aWhile()
    assert.deepEqual([farEvents.order, nearEvents.order], [[], []])
    assert.ok(flushed < 64, 'all of 64 MiB left towards a side that does not read')
    far.resume()
    await Promise.all([farEvents.times('frame', 64), nearEvents.times('drained')])
    assert.equal(flushed, 64)
  },
  'of a paused side does not stop the other direction': async ({ near, far, nearEvents }) => {
    far.pause()
    fillSocket(near)
    for (const seq of upTo(20)) {
      far.send(frameOf(seq, bytesOf(10_000)))
      await nearEvents.times('frame', seq)
    }
  },
  'can be paused and resumed within every frame': async ({ near, far, farEvents }) => {
    farEvents.onFrame = () => {
      far.pause()
      queueMicrotask(() => far.resume())
    }
    for (const seq of upTo(300)) near.send(frameOf(seq, bytesOf(1_000)))
    await farEvents.times('frame', 300)
    assert.deepEqual(farEvents.seqs, upTo(300))
  },
}

/** The promise about flow control on connections with a low `maxPayload`. */
export const limitedFlowChecks: Checks<Ends> = {
  'stays stopped after a fault, also after a resume': async ({ near, far, farEvents, aWhile }) => {
    let flushed = 0
    sendMegabytes(near, 64, () => flushed++)
    await farEvents.times('fault')
    far.pause()
    far.resume()
    await aWhile()
    assert.ok(flushed < 64, 'all of 64 MiB left towards a side that has met a fault')
    const events = farEvents.order.filter((event) => event !== 'begun')
    assert.deepEqual(events, ['fault'])
  },
}

/** The promises about flow control on connections that are not started. */
export const unstartedFlowChecks: Checks<Ends> = {
  'reports nothing before the start, and everything afterwards': async ({ near, far, farEvents, aWhile }) => {
    near.send(frameOf(1))
    near.send(frameOf(2, megabyte))
    await aWhile()
    assert.deepEqual(farEvents.order, [])
    far.start(farEvents)
    await farEvents.times('frame', 2)
    assert.deepEqual(farEvents.seqs, [1, 2])
  },
  'is held by a pause before the start': async ({ near, far, farEvents, start, aWhile }) => {
    far.pause()
    start()
    near.send(frameOf(1))
    await aWhile()
    assert.deepEqual(farEvents.order, [])
    far.resume()
    await farEvents.times('frame')
  },
  'is not started by a resume before the start': async ({ near, far, farEvents, start, aWhile }) => {
    far.pause()
    far.resume()
    near.send(frameOf(1))
    await aWhile()
    start()
    await farEvents.times('frame')
  },
}
