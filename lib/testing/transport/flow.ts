import assert from 'node:assert/strict'
import type { Checks } from '../testCases.ts'
import { bytesOf, type Ends, fill, frameOf, megabyte, sendMegabytes, upTo } from './ends.ts'

/** The promises about flow control. */
export const flowChecks: Checks<Ends> = {
  'is full after about two of the longest chunks': async ({ near }) => {
    const frames = fill(near)
    assert.ok(frames > 1 && frames < 5, `it was full after ${frames} MiB`)
  },
  'accepts frames also when it is full, and reports once that it has drained': async (ends) => {
    const { near, nearHeard, farHeard } = ends
    const frames = fill(near)
    for (const more of upTo(10)) assert.equal(near.send(frameOf(frames + more)), false)
    await Promise.all([nearHeard.times('drained'), farHeard.times('frame', frames + 10)])
    assert.deepEqual(farHeard.seqs, upTo(frames + 10))
    assert.equal(near.send(frameOf(0)), true)
    await farHeard.times('frame', frames + 11)
    assert.deepEqual(nearHeard.order, ['drained'])
  },
  'that was never full reports no drain': async ({ near, nearHeard, farHeard, aWhile }) => {
    assert.equal(near.send(frameOf(1, megabyte)), true)
    await farHeard.times('frame')
    await aWhile()
    assert.deepEqual(nearHeard.order, [])
  },
  'stays full until it has drained, regardless of other frames': async ({ near, far, nearHeard, farHeard }) => {
    farHeard.onFrame = () => far.pause()
    const frames = fill(near)
    await farHeard.times('frame')
    assert.equal(near.send(frameOf(0)), nearHeard.count('drained') > 0)
    farHeard.onFrame = () => {}
    far.resume()
    await Promise.all([nearHeard.times('drained'), farHeard.times('frame', frames + 1)])
  },
  'becomes full and drained again and again': async ({ near, nearHeard, farHeard }) => {
    let sent = 0
    for (const round of upTo(5)) {
      sent += fill(near)
      await nearHeard.times('drained', round)
    }
    await farHeard.times('frame', sent)
  },
  'of a paused side stops until it resumes, and stops its sender': async (ends) => {
    const { near, far, nearHeard, farHeard } = ends
    far.pause()
    let flushed = 0
    sendMegabytes(near, 64, () => flushed++)
    await ends.aWhile()
    assert.deepEqual([farHeard.order, nearHeard.order], [[], []])
    assert.ok(flushed < 64, 'all of 64 MiB left towards a side that does not read')
    far.resume()
    await Promise.all([farHeard.times('frame', 64), nearHeard.times('drained')])
    assert.equal(flushed, 64)
  },
  'of a paused side does not stop the other direction': async ({ near, far, nearHeard }) => {
    far.pause()
    fill(near)
    for (const seq of upTo(20)) {
      far.send(frameOf(seq, bytesOf(10_000)))
      await nearHeard.times('frame', seq)
    }
  },
  'can be paused and resumed within every frame': async ({ near, far, farHeard }) => {
    farHeard.onFrame = () => {
      far.pause()
      queueMicrotask(() => far.resume())
    }
    for (const seq of upTo(300)) near.send(frameOf(seq, bytesOf(1_000)))
    await farHeard.times('frame', 300)
    assert.deepEqual(farHeard.seqs, upTo(300))
  },
}

/** The promise about flow control on connections with a low `maxPayload`. */
export const limitedFlowChecks: Checks<Ends> = {
  'stays stopped after a fault, also after a resume': async ({ near, far, farHeard, aWhile }) => {
    let flushed = 0
    sendMegabytes(near, 64, () => flushed++)
    await farHeard.times('fault')
    far.pause()
    far.resume()
    await aWhile()
    assert.ok(flushed < 64, 'all of 64 MiB left towards a side that has met a fault')
    const events = farHeard.order.filter((event) => event !== 'begun')
    assert.deepEqual(events, ['fault'])
  },
}

/** The promises about flow control on connections that are not started. */
export const unstartedFlowChecks: Checks<Ends> = {
  'reports nothing before the start, and everything afterwards': async ({ near, far, farHeard, aWhile }) => {
    near.send(frameOf(1))
    near.send(frameOf(2, megabyte))
    await aWhile()
    assert.deepEqual(farHeard.order, [])
    far.start(farHeard)
    await farHeard.times('frame', 2)
    assert.deepEqual(farHeard.seqs, [1, 2])
  },
  'is held by a pause before the start': async ({ near, far, farHeard, start, aWhile }) => {
    far.pause()
    start()
    near.send(frameOf(1))
    await aWhile()
    assert.deepEqual(farHeard.order, [])
    far.resume()
    await farHeard.times('frame')
  },
  'is not started by a resume before the start': async ({ near, far, farHeard, start, aWhile }) => {
    far.pause()
    far.resume()
    near.send(frameOf(1))
    await aWhile()
    start()
    await farHeard.times('frame')
  },
}
