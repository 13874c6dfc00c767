import assert from 'node:assert/strict'
import type { Checks } from '../testCases.ts'
import { type Ends, fillSocket, frameOf, megabyte, sendMegabytes } from './ends.ts'

/** The promises about closing a socket. */
export const closeChecks: Checks<Ends> = {
  'sends the accepted frames, then the last frame, and ends both sides without an error': async (ends) => {
    const { near, nearEvents, farEvents } = ends
    sendMegabytes(near, 6)
    await near.close(frameOf(99))
    await ends.bothClosed()
    assert.deepEqual(farEvents.seqs, [1, 2, 3, 4, 5, 6, 99])
    assert.deepEqual([nearEvents.ends, farEvents.ends], [[undefined], [undefined]])
  },
  'delivers the last frame also while the peer sends continuously': async (ends) => {
    const { near, far, nearEvents, farEvents } = ends
    farEvents.onDrained = () => fillSocket(far)
    fillSocket(far)
    await nearEvents.times('frame', 3)
    await Promise.all([near.close(frameOf(99)), ends.bothClosed()])
    assert.deepEqual(farEvents.seqs, [99])
    assert.deepEqual(nearEvents.ends, [undefined])
  },
  'reports no more frames': async ({ near, far, nearEvents, bothClosed }) => {
    far.send(frameOf(1))
    const closed = near.close()
    far.send(frameOf(2, megabyte))
    await Promise.all([closed, bothClosed()])
    assert.deepEqual(nearEvents.order, ['closed'])
  },
  'reports no drain either': async ({ near, nearEvents, farEvents }) => {
    sendMegabytes(near, 8)
    await Promise.all([near.close(), farEvents.times('closed')])
    assert.equal(farEvents.count('frame'), 8)
    assert.deepEqual(nearEvents.order, ['closed'])
  },
  'reads and drops the frames of the peer': async ({ near, far, nearEvents, farEvents, aWhile }) => {
    near.pause()
    const allFlushed = new Promise<void>((resolve) => {
      sendMegabytes(far, 32, (flushed) => flushed === 32 && resolve())
    })
    far.pause()
    await aWhile()
    const closed = near.close(frameOf(99))
    await allFlushed
    far.resume()
    await Promise.all([closed, farEvents.times('closed')])
    assert.deepEqual(nearEvents.order, ['closed'])
    assert.deepEqual(farEvents.seqs, [99])
  },
  'is reported to a paused side after all frames': async ({ near, far, farEvents }) => {
    near.send(frameOf(1))
    await farEvents.times('frame')
    far.pause()
    await Promise.all([near.close(), farEvents.times('closed')])
  },
  'within a frame event reports no more frames': async ({ near, far, nearEvents, farEvents, bothClosed }) => {
    farEvents.onFrame = () => far.close(frameOf(9))
    for (let seq = 1; seq <= 10; seq++) near.send(frameOf(seq))
    await bothClosed()
    assert.deepEqual([farEvents.seqs, nearEvents.seqs], [[1], [9]])
  },
  'waits at most about two seconds for a peer that never reads': async (ends) => {
    const { near, far, nearEvents, farEvents, clock } = ends
    far.pause()
    sendMegabytes(near, 32)
    const closed = near.close(frameOf(99))
    await ends.aWhile()
    assert.deepEqual(nearEvents.order, [])
    assert.deepEqual(clock.set, [2_000])
    clock.ring()
    await Promise.all([closed, nearEvents.times('closed')])
    assert.deepEqual(nearEvents.ends, [undefined])
    far.resume()
    await farEvents.times('closed')
    const [reason, ...others] = farEvents.ends
    assert.deepEqual([reason?.code, others], ['link-lost', []])
  },
  'leaves no alarm': async ({ near, farEvents, clock }) => {
    await near.close()
    await farEvents.times('closed')
    assert.deepEqual(clock.set, [])
  },
  'works on a paused side': async ({ near, far, nearEvents }) => {
    far.pause()
    sendMegabytes(near, 16)
    await far.close(frameOf(99))
    await nearEvents.times('closed')
    assert.deepEqual(nearEvents.seqs, [99])
  },
  'is idempotent: the first call sets the last frame': async ({ near, farEvents }) => {
    await Promise.all([near.close(frameOf(1)), near.close(frameOf(2)), near.close()])
    await near.close(frameOf(3))
    await farEvents.times('closed')
    assert.deepEqual(farEvents.seqs, [1])
  },
  'by both sides at once ends both without an error': async ({ near, far, nearEvents, farEvents, bothClosed }) => {
    await Promise.all([near.close(frameOf(1)), far.close(frameOf(2)), bothClosed()])
    assert.deepEqual([nearEvents.ends, farEvents.ends], [[undefined], [undefined]])
  },
  'can be cut short by destroying': async ({ near, far, nearEvents }) => {
    far.pause()
    sendMegabytes(near, 16)
    const closed = near.close(frameOf(99))
    near.destroy()
    await Promise.all([closed, nearEvents.times('closed')])
    assert.deepEqual(nearEvents.ends, [undefined])
  },
  'leaves a socket on which no call has an effect or throws': async (ends) => {
    const { near, nearEvents, farEvents } = ends
    const closed = near.close()
    const callAll = () => {
      const isAccepted = near.send(frameOf(1), () => assert.fail('its bytes have left'))
      assert.equal(isAccepted, false)
      near.pause()
      near.resume()
    }
    callAll()
    await Promise.all([closed, ends.bothClosed()])
    callAll()
    near.destroy()
    await near.close(frameOf(2))
    await ends.aWhile()
    assert.deepEqual([nearEvents.order, farEvents.order], [['closed'], ['closed']])
  },
}

/** The promises about destroying a socket. */
export const destroyChecks: Checks<Ends> = {
  'is reported once on each side, and not within the call': async (ends) => {
    const { near, nearEvents, farEvents } = ends
    near.destroy()
    near.destroy()
    assert.deepEqual(nearEvents.order, [])
    await ends.bothClosed()
    await ends.aWhile()
    assert.deepEqual([nearEvents.order, farEvents.order], [['closed'], ['closed']])
    assert.deepEqual(nearEvents.ends, [undefined])
  },
  'sends no frame afterwards': async ({ near, far, nearEvents, aWhile }) => {
    far.pause()
    let flushed = 0
    sendMegabytes(near, 32, () => flushed++)
    await aWhile()
    const before = flushed
    near.destroy()
    await nearEvents.times('closed')
    await aWhile()
    assert.equal(flushed, before)
    assert.deepEqual(nearEvents.order, ['closed'])
  },
  'reports a lost link to a peer with a frame cut off': async ({ near, far, nearEvents, farEvents, aWhile }) => {
    far.pause()
    sendMegabytes(near, 32)
    await aWhile()
    near.destroy()
    await nearEvents.times('closed')
    far.resume()
    await farEvents.times('closed')
    const [reason] = farEvents.ends
    assert.equal(reason?.code, 'link-lost')
    assert.ok(reason.message.includes(far.peer.host), reason.message)
  },
  'in the same turn as sending sends no frame': async ({ near, nearEvents, aWhile }) => {
    near.send(frameOf(1, megabyte), () => assert.fail('its bytes have left'))
    near.destroy()
    await nearEvents.times('closed')
    await aWhile()
  },
  'within a frame event sends no more': async ({ near, nearEvents, farEvents }) => {
    let isDestroyed = false
    farEvents.onFrame = () => {
      near.destroy()
      isDestroyed = true
    }
    near.send(frameOf(1), () => assert.ok(!isDestroyed))
    await nearEvents.times('closed')
  },
  'within a frame event reports no more frames': async ({ near, far, farEvents }) => {
    farEvents.onFrame = () => far.destroy()
    for (let seq = 1; seq <= 10; seq++) near.send(frameOf(seq))
    await farEvents.times('closed')
    assert.deepEqual(farEvents.order, ['frame', 'closed'])
  },
  'by the peer ends a full side: no call throws, and no event follows the end': async ({ near, far, nearEvents }) => {
    far.pause()
    sendMegabytes(near, 32)
    far.destroy()
    while (nearEvents.count('closed') === 0) {
      near.send(frameOf(0, megabyte))
      await new Promise(setImmediate)
    }
    assert.equal(near.send(frameOf(0)), false)
    await near.close(frameOf(99))
    assert.equal(nearEvents.count('closed'), 1)
    assert.equal(nearEvents.order.at(-1), 'closed')
    assert.equal(nearEvents.ends[0]?.code, 'link-lost')
  },
  'resolves a pending close': async ({ near, far, nearEvents }) => {
    far.pause()
    sendMegabytes(near, 32)
    const closed = near.close()
    far.destroy()
    await Promise.all([closed, nearEvents.times('closed')])
    assert.deepEqual(nearEvents.ends, [undefined])
  },
}

/** The promise about closing a socket that is not started. */
export const unstartedCloseChecks: Checks<Ends> = {
  'before the start is reported after it': async ({ near, nearEvents, far, farEvents }) => {
    far.start(farEvents)
    await near.close(frameOf(7))
    await farEvents.times('closed')
    near.start(nearEvents)
    assert.deepEqual(nearEvents.order, [])
    await nearEvents.times('closed')
    assert.deepEqual([nearEvents.ends, farEvents.seqs], [[undefined], [7]])
  },
}
