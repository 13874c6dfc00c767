import assert from 'node:assert/strict'
import type { Checks } from '../testCases.ts'
import { type Ends, fill, frameOf, megabyte, sendMegabytes } from './ends.ts'

/** The promises about closing a socket. */
export const closeChecks: Checks<Ends> = {
  'sends the accepted frames, then the last frame, and ends both sides without an error': async (ends) => {
    const { near, nearHeard, farHeard } = ends
    sendMegabytes(near, 6)
    await near.close(frameOf(99))
    await ends.bothClosed()
    assert.deepEqual(farHeard.seqs, [1, 2, 3, 4, 5, 6, 99])
    assert.deepEqual([nearHeard.ends, farHeard.ends], [[undefined], [undefined]])
  },
  'delivers the last frame also while the peer sends continuously': async (ends) => {
    const { near, far, nearHeard, farHeard } = ends
    farHeard.onDrained = () => fill(far)
    fill(far)
    await nearHeard.times('frame', 3)
    await Promise.all([near.close(frameOf(99)), ends.bothClosed()])
    assert.deepEqual(farHeard.seqs, [99])
    assert.deepEqual(nearHeard.ends, [undefined])
  },
  'reports no more frames': async ({ near, far, nearHeard, bothClosed }) => {
    far.send(frameOf(1))
    const closed = near.close()
    far.send(frameOf(2, megabyte))
    await Promise.all([closed, bothClosed()])
    assert.deepEqual(nearHeard.order, ['closed'])
  },
  'reports no drain either': async ({ near, nearHeard, farHeard }) => {
    sendMegabytes(near, 8)
    await Promise.all([near.close(), farHeard.times('closed')])
    assert.equal(farHeard.count('frame'), 8)
    assert.deepEqual(nearHeard.order, ['closed'])
  },
  'reads and drops the frames of the peer': async ({ near, far, nearHeard, farHeard, aWhile }) => {
    near.pause()
    const allFlushed = new Promise<void>((resolve) => {
      sendMegabytes(far, 32, (flushed) => flushed === 32 && resolve())
    })
    far.pause()
    await aWhile()
    const closed = near.close(frameOf(99))
    await allFlushed
    far.resume()
    await Promise.all([closed, farHeard.times('closed')])
    assert.deepEqual(nearHeard.order, ['closed'])
    assert.deepEqual(farHeard.seqs, [99])
  },
  'is reported to a paused side after all frames': async ({ near, far, farHeard }) => {
    near.send(frameOf(1))
    await farHeard.times('frame')
    far.pause()
    await Promise.all([near.close(), farHeard.times('closed')])
  },
  'within a frame event reports no more frames': async ({ near, far, nearHeard, farHeard, bothClosed }) => {
    farHeard.onFrame = () => far.close(frameOf(9))
    for (let seq = 1; seq <= 10; seq++) near.send(frameOf(seq))
    await bothClosed()
    assert.deepEqual([farHeard.seqs, nearHeard.seqs], [[1], [9]])
  },
  'waits at most about two seconds for a peer that never reads': async (ends) => {
    const { near, far, nearHeard, farHeard, clock } = ends
    far.pause()
    sendMegabytes(near, 32)
    const closed = near.close(frameOf(99))
    await ends.aWhile()
    assert.deepEqual(nearHeard.order, [])
    assert.deepEqual(clock.set, [2_000])
    clock.ring()
    await Promise.all([closed, nearHeard.times('closed')])
    assert.deepEqual(nearHeard.ends, [undefined])
    far.resume()
    await farHeard.times('closed')
    const [reason, ...others] = farHeard.ends
    assert.deepEqual([reason?.code, others], ['link-lost', []])
  },
  'leaves no alarm': async ({ near, farHeard, clock }) => {
    await near.close()
    await farHeard.times('closed')
    assert.deepEqual(clock.set, [])
  },
  'works on a paused side': async ({ near, far, nearHeard }) => {
    far.pause()
    sendMegabytes(near, 16)
    await far.close(frameOf(99))
    await nearHeard.times('closed')
    assert.deepEqual(nearHeard.seqs, [99])
  },
  'is idempotent: the first call sets the last frame': async ({ near, farHeard }) => {
    await Promise.all([near.close(frameOf(1)), near.close(frameOf(2)), near.close()])
    await near.close(frameOf(3))
    await farHeard.times('closed')
    assert.deepEqual(farHeard.seqs, [1])
  },
  'by both sides at once ends both without an error': async ({ near, far, nearHeard, farHeard, bothClosed }) => {
    await Promise.all([near.close(frameOf(1)), far.close(frameOf(2)), bothClosed()])
    assert.deepEqual([nearHeard.ends, farHeard.ends], [[undefined], [undefined]])
  },
  'can be cut short by destroying': async ({ near, far, nearHeard }) => {
    far.pause()
    sendMegabytes(near, 16)
    const closed = near.close(frameOf(99))
    near.destroy()
    await Promise.all([closed, nearHeard.times('closed')])
    assert.deepEqual(nearHeard.ends, [undefined])
  },
  'leaves a socket on which no call has an effect or throws': async (ends) => {
    const { near, nearHeard, farHeard } = ends
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
    assert.deepEqual([nearHeard.order, farHeard.order], [['closed'], ['closed']])
  },
}

/** The promises about destroying a socket. */
export const destroyChecks: Checks<Ends> = {
  'is reported once on each side, and not within the call': async (ends) => {
    const { near, nearHeard, farHeard } = ends
    near.destroy()
    near.destroy()
    assert.deepEqual(nearHeard.order, [])
    await ends.bothClosed()
    await ends.aWhile()
    assert.deepEqual([nearHeard.order, farHeard.order], [['closed'], ['closed']])
    assert.deepEqual(nearHeard.ends, [undefined])
  },
  'reports a lost link to a peer with a frame cut off': async ({ near, far, nearHeard, farHeard, aWhile }) => {
    far.pause()
    sendMegabytes(near, 32)
    await aWhile()
    near.destroy()
    await nearHeard.times('closed')
    far.resume()
    await farHeard.times('closed')
    const [reason] = farHeard.ends
    assert.equal(reason?.code, 'link-lost')
    assert.ok(reason.message.includes(far.peer.host), reason.message)
  },
  'sends no frame afterwards': async ({ near, far, nearHeard, aWhile }) => {
    far.pause()
    let flushed = 0
    sendMegabytes(near, 32, () => flushed++)
    await aWhile()
    const before = flushed
    near.destroy()
    await nearHeard.times('closed')
    await aWhile()
    assert.equal(flushed, before)
    assert.deepEqual(nearHeard.order, ['closed'])
  },
  'in the same turn as sending sends no frame': async ({ near, nearHeard, aWhile }) => {
    near.send(frameOf(1, megabyte), () => assert.fail('its bytes have left'))
    near.destroy()
    await nearHeard.times('closed')
    await aWhile()
  },
  'within a frame event sends no more': async ({ near, nearHeard, farHeard }) => {
    let isDestroyed = false
    farHeard.onFrame = () => {
      near.destroy()
      isDestroyed = true
    }
    near.send(frameOf(1), () => assert.ok(!isDestroyed))
    await nearHeard.times('closed')
  },
  'within a frame event reports no more frames': async ({ near, far, farHeard }) => {
    farHeard.onFrame = () => far.destroy()
    for (let seq = 1; seq <= 10; seq++) near.send(frameOf(seq))
    await farHeard.times('closed')
    assert.deepEqual(farHeard.order, ['frame', 'closed'])
  },
  'by the peer ends a full side: no call throws, and no event follows the end': async ({ near, far, nearHeard }) => {
    far.pause()
    sendMegabytes(near, 32)
    far.destroy()
    while (nearHeard.count('closed') === 0) {
      near.send(frameOf(0, megabyte))
      await new Promise(setImmediate)
    }
    assert.equal(near.send(frameOf(0)), false)
    await near.close(frameOf(99))
    assert.equal(nearHeard.count('closed'), 1)
    assert.equal(nearHeard.order.at(-1), 'closed')
    assert.equal(nearHeard.ends[0]?.code, 'link-lost')
  },
  'resolves a pending close': async ({ near, far, nearHeard }) => {
    far.pause()
    sendMegabytes(near, 32)
    const closed = near.close()
    far.destroy()
    await Promise.all([closed, nearHeard.times('closed')])
    assert.deepEqual(nearHeard.ends, [undefined])
  },
}

/** The promise about closing a socket that is not started. */
export const unstartedCloseChecks: Checks<Ends> = {
  'before the start is reported after it': async ({ near, nearHeard, far, farHeard }) => {
    far.start(farHeard)
    await near.close(frameOf(7))
    await farHeard.times('closed')
    near.start(nearHeard)
    assert.deepEqual(nearHeard.order, [])
    await nearHeard.times('closed')
    assert.deepEqual([nearHeard.ends, farHeard.seqs], [[undefined], [7]])
  },
}
