import assert from 'node:assert/strict'
import type { OspError } from '../../errors.ts'
import type { Checks } from '../testCases.ts'
import { aWhile, type Ends, EventRecorder, frameOf, socketOptions, type TransportFactory } from './ends.ts'

type Listening = Awaited<ReturnType<typeof openListener>>

/** Opens a listener that is not started, with a transport that reaches it. */
export async function openListener(open: () => TransportFactory) {
  const factory = open()
  const listener = await factory.listening.listen(socketOptions())
  const transport = factory.reaching(listener.address)
  const events = new EventRecorder()
  return {
    listener,
    transport,
    dial: (signal: AbortSignal = new AbortController().signal) => transport.dial(socketOptions(), signal),
    /** Records the events of accepted sockets. */
    events,
    /** Starts the listener. Resolves when it has accepted a socket. */
    accept: () => new Promise<void>((resolve) => listener.start((far) => resolve(far.start(events)))),
    aWhile: () => aWhile(open),
    [Symbol.asyncDispose]: () => listener.close(),
  }
}

/** The promises about the two ends of a connection. */
export const connectedChecks: Checks<Ends> = {
  'connects at the address of its listener, in both directions': async ({ near, far, nearEvents, farEvents }) => {
    near.send(frameOf(1))
    far.send(frameOf(2))
    await Promise.all([nearEvents.times('frame'), farEvents.times('frame')])
    assert.deepEqual([nearEvents.seqs, farEvents.seqs], [[2], [1]])
  },
  'reports at both ends that the peer is on this machine': async ({ near, far }) => {
    assert.deepEqual([near.peer.local, far.peer.local], [true, true])
  },
}

/** The promises about listening and dialling. */
export const diallingChecks: Checks<Listening> = {
  'keeps sockets that connect before the listener is started, and what they send': async (listening) => {
    const { events } = listening
    const near = await listening.dial()
    near.send(frameOf(5))
    await listening.aWhile()
    await listening.accept()
    await events.times('frame')
    assert.deepEqual(events.seqs, [5])
    near.destroy()
    await events.times('closed')
  },
  'rejects a dial without a listener as unreachable, with the address': async ({ listener, dial }) => {
    await listener.close()
    await assert.rejects(dial(), ({ code, message }: OspError) => {
      assert.equal(code, 'unreachable')
      assert.ok(message.includes(listener.address.host), message)
      return true
    })
  },
  'rejects a dial as closed when its signal has aborted': async ({ dial }) => {
    await assert.rejects(dial(AbortSignal.abort()), { code: 'closed' })
  },
  'ignores an abort after the dial has succeeded': async ({ dial, accept, events }) => {
    const abort = new AbortController()
    const [near] = await Promise.all([dial(abort.signal), accept()])
    abort.abort()
    near.send(frameOf(1))
    await events.times('frame')
    near.destroy()
    await near.close()
  },
  'refuses a second listener at one address as unreachable, with advice': async ({ transport }) => {
    const message = /cannot listen on .*: .* already .*; /u
    await assert.rejects(transport.listen(socketOptions()), { code: 'unreachable', message })
  },
  'can listen again at the address of a closed listener': async ({ listener, transport }) => {
    await listener.close()
    await using second = await transport.listen(socketOptions())
    assert.deepEqual(second.address, listener.address)
  },
  'keeps the accepted sockets of a closed listener open': async ({ listener, dial, accept, events }) => {
    const [near] = await Promise.all([dial(), accept()])
    await listener.close()
    await listener.close()
    near.send(frameOf(1))
    await events.times('frame')
    near.destroy()
    await near.close()
  },
  'closes the sockets that a closed listener has not accepted': async ({ listener, dial, events, aWhile }) => {
    const near = await dial()
    near.start(events)
    await aWhile()
    await listener.close()
    await events.times('closed')
  },
}
