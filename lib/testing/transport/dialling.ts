import assert from 'node:assert/strict'
import { type TestCases, testCasesOf } from '../testCases.ts'
import { aWhile, frameOf, Heard, socketOptions, type TransportFactory, withEnds } from './ends.ts'

const never = () => new AbortController().signal

/** The promises about listening and dialling. */
export function diallingCases(name: string, open: () => TransportFactory): TestCases {
  return testCasesOf(`${name}: a transport`, (it) => {
    it('connects at the address of its listener, in both directions', () =>
      withEnds(open(), async ({ near, far, nearHeard, farHeard, start }) => {
        start()
        near.send(frameOf(1))
        far.send(frameOf(2))
        await Promise.all([nearHeard.times('frame'), farHeard.times('frame')])
        assert.deepEqual([nearHeard.seqs, farHeard.seqs], [[2], [1]])
      }))

    it('reports at both ends that the peer is on this machine', () =>
      withEnds(open(), async ({ near, far }) => {
        assert.deepEqual([near.peer.local, far.peer.local], [true, true])
      }))

    it('keeps sockets that connect before the listener is started, and what they send', async () => {
      const ways = open()
      await using listener = await ways.listening.listen(socketOptions())
      const near = await ways.reaching(listener.address).dial(socketOptions(), never())
      near.send(frameOf(5))
      await aWhile(open())
      const heard = new Heard()
      listener.start((far) => far.start(heard))
      await heard.times('frame')
      assert.deepEqual(heard.seqs, [5])
      near.destroy()
      await heard.times('closed')
    })

    it('rejects a dial without a listener as unreachable, with the address', async () => {
      const ways = open()
      const listener = await ways.listening.listen(socketOptions())
      await listener.close()
      await assert.rejects(ways.reaching(listener.address).dial(socketOptions(), never()), (error: Error) => {
        assert.equal('code' in error && error.code, 'unreachable')
        assert.ok(error.message.includes(listener.address.host), error.message)
        return true
      })
    })

    it('rejects a dial as closed when its signal has aborted', async () => {
      const ways = open()
      await using listener = await ways.listening.listen(socketOptions())
      await assert.rejects(ways.reaching(listener.address).dial(socketOptions(), AbortSignal.abort()), {
        code: 'closed',
      })
    })

    it('ignores an abort after the dial has succeeded', async () => {
      const ways = open()
      const abort = new AbortController()
      await using listener = await ways.listening.listen(socketOptions())
      const heard = new Heard()
      listener.start((far) => far.start(heard))
      const near = await ways.reaching(listener.address).dial(socketOptions(), abort.signal)
      abort.abort()
      near.send(frameOf(1))
      await heard.times('frame')
      near.destroy()
      await near.close()
    })

    it('refuses a second listener at one address as unreachable, with advice', async () => {
      const ways = open()
      await using listener = await ways.listening.listen(socketOptions())
      await assert.rejects(ways.reaching(listener.address).listen(socketOptions()), {
        code: 'unreachable',
        message: /cannot listen on .*: .* already .*; /u,
      })
    })

    it('can listen again at the address of a closed listener', async () => {
      const ways = open()
      const first = await ways.listening.listen(socketOptions())
      await first.close()
      await using second = await ways.reaching(first.address).listen(socketOptions())
      assert.deepEqual(second.address, first.address)
    })

    it('keeps the accepted sockets of a closed listener open', async () => {
      const ways = open()
      const listener = await ways.listening.listen(socketOptions())
      const heard = new Heard()
      const accepted = new Promise<void>((resolve) => {
        listener.start((far) => {
          far.start(heard)
          resolve()
        })
      })
      const near = await ways.reaching(listener.address).dial(socketOptions(), never())
      await accepted
      await listener.close()
      await listener.close()
      near.send(frameOf(1))
      await heard.times('frame')
      near.destroy()
      await near.close()
    })

    it('closes the sockets that a closed listener has not accepted', async () => {
      const ways = open()
      const listener = await ways.listening.listen(socketOptions())
      const near = await ways.reaching(listener.address).dial(socketOptions(), never())
      const heard = new Heard()
      near.start(heard)
      await aWhile(open())
      await listener.close()
      await heard.times('closed')
    })
  })
}
