import assert from 'node:assert/strict'
import { MiB } from '../../limits.ts'
import { type TestCases, testCasesOf } from '../testCases.ts'
import { aWhile, bytesOf, frameOf, type TransportFactory, withEnds } from './ends.ts'

const megabyte = bytesOf(MiB)

/** The promises about destroying a socket. */
export function destroyCases(name: string, open: () => TransportFactory): TestCases {
  return testCasesOf(`${name}: destroying`, (it) => {
    it('is reported once on each side, and not within the call', () =>
      withEnds(open(), async ({ near, nearHeard, farHeard, start }) => {
        start()
        near.destroy()
        near.destroy()
        assert.deepEqual(nearHeard.order, [])
        await Promise.all([nearHeard.times('closed'), farHeard.times('closed')])
        await aWhile(open())
        assert.deepEqual([nearHeard.order, farHeard.order], [['closed'], ['closed']])
        assert.deepEqual(nearHeard.ends, [undefined])
      }))

    it('reports a lost link to a peer with a frame cut off', () =>
      withEnds(open(), async ({ near, far, nearHeard, farHeard, start }) => {
        far.pause()
        start()
        for (let seq = 1; seq <= 32; seq++) near.send(frameOf(seq, megabyte))
        await aWhile(open())
        near.destroy()
        await nearHeard.times('closed')
        far.resume()
        await farHeard.times('closed')
        assert.equal(farHeard.ends[0]?.code, 'link-lost')
        assert.ok(farHeard.ends[0]?.message.includes(far.peer.host), farHeard.ends[0]?.message)
      }))

    it('sends no frame afterwards', () =>
      withEnds(open(), async ({ near, far, nearHeard, start }) => {
        far.pause()
        start()
        let left = 0
        for (let seq = 1; seq <= 32; seq++) near.send(frameOf(seq, megabyte), () => left++)
        await aWhile(open())
        const before = left
        near.destroy()
        await nearHeard.times('closed')
        await aWhile(open())
        assert.equal(left, before)
        assert.deepEqual(nearHeard.order, ['closed'])
      }))

    it('in the same turn as sending sends no frame', () =>
      withEnds(open(), async ({ near, nearHeard, start }) => {
        start()
        near.send(frameOf(1, megabyte), () => assert.fail('it left'))
        near.destroy()
        await nearHeard.times('closed')
        await aWhile(open())
      }))

    it('within a frame event sends no more', () =>
      withEnds(open(), async ({ near, nearHeard, farHeard, start }) => {
        let destroyed = false
        farHeard.onFrame = () => {
          near.destroy()
          destroyed = true
        }
        start()
        near.send(frameOf(1), () => assert.ok(!destroyed))
        await nearHeard.times('closed')
      }))

    it('within a frame event reports no more frames', () =>
      withEnds(open(), async ({ near, far, farHeard, start }) => {
        farHeard.onFrame = () => far.destroy()
        start()
        for (let seq = 1; seq <= 10; seq++) near.send(frameOf(seq))
        await farHeard.times('closed')
        assert.deepEqual(farHeard.order, ['frame', 'closed'])
      }))

    it('by the peer ends a full side: no call throws, and no event follows the end', () =>
      withEnds(open(), async ({ near, far, nearHeard, start }) => {
        far.pause()
        start()
        for (let seq = 1; seq <= 32; seq++) near.send(frameOf(seq, megabyte))
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
      }))

    it('resolves a pending close', () =>
      withEnds(open(), async ({ near, far, nearHeard, start }) => {
        far.pause()
        start()
        for (let seq = 1; seq <= 32; seq++) near.send(frameOf(seq, megabyte))
        const closed = near.close()
        far.destroy()
        await Promise.all([closed, nearHeard.times('closed')])
        assert.deepEqual(nearHeard.ends, [undefined])
      }))
  })
}
