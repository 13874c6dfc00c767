import assert from 'node:assert/strict'
import { OspError } from '../../lib/errors.ts'
import { decode, type WireMessage } from '../../lib/wire/message.ts'
import { chunkFrame, eventNames, frameFor, pauseFrame } from '../support/frames.ts'
import { spec } from '../support/spec.ts'
import { Rig } from './linkDriverRig.ts'

const pause = { event: 'PauseFileReq' } as const
const paused: WireMessage = { event: 'PauseFileAck', progress: 5, durable: 5 }
const chunk = { event: 'PostFileReq', progress: 0, content: [Uint8Array.of(1, 2, 3)] } as const
const acked: WireMessage = { event: 'PostFileAck', progress: 3, durable: 0 }
const turn = () => new Promise((go) => setImmediate(go))

spec('a request of a link driver', (it) => {
  it('resolves with the ACK', async () => {
    const { peer, socket } = new Rig()
    const asked = peer.ask(pause, 3)
    assert.equal(asked.seq, 1)
    assert.deepEqual(eventNames(socket.sent), ['PauseFileReq'])
    socket.hear(paused, 1, 3)
    assert.deepEqual(await asked.reply, paused)
  })

  it('rejects with the error of the NACK', async () => {
    const { peer, socket } = new Rig()
    const { reply } = peer.ask({ event: 'FileMd5Req', digest: new Uint8Array(4) }, 3)
    socket.hear({ event: 'FileMd5Nack', code: 12, retryAfter: 250, text: 'no', progress: 9 }, 1, 3)
    await assert.rejects(reply, {
      name: 'OspError',
      code: 'wrong-offset',
      message: 'no',
      retryAfterMs: 250,
      progress: 9,
    })
  })

  it('rejects at once if the link has ended', async () => {
    const { peer, socket } = new Rig()
    await peer.close(new OspError('closed'))
    const { seq, reply } = peer.ask(pause, 3)
    assert.equal(seq, 0)
    await assert.rejects(reply, { code: 'closed' })
    assert.equal(socket.sent.length, 0)
  })

  it('that cannot be encoded throws, and leaves nothing', () => {
    const { peer, clock, socket } = new Rig()
    assert.throws(() => peer.ask({ event: 'PostFileReq', progress: -1, content: [] }, 3), RangeError)
    assert.equal(peer.ended, undefined)
    peer.ask(pause, 3)
    assert.deepEqual(eventNames(socket.sent), ['PauseFileReq'])
    assert.equal(clock.set.length, 1)
  })

  it('reports that the bytes of a chunk can be overwritten when they have left a reliable socket', () => {
    const { peer, socket } = new Rig()
    let left = 0
    peer.ask(chunk, 3, 'chunks', () => left++)
    assert.equal(left, 0)
    socket.leave()
    socket.hear(acked, 1, 3)
    assert.equal(left, 1)
  })

  it('reports it on a socket that loses frames after the reply and all repetitions', async () => {
    const { peer, socket, clock } = new Rig({ reliable: false })
    let left = 0
    peer.ask(chunk, 3, 'chunks', () => left++)
    socket.leave()
    clock.pass(1_000)
    await turn()
    assert.equal(left, 0)
    assert.deepEqual(eventNames(socket.sent), ['PostFileReq', 'PostFileReq'])
    socket.hear(acked, 1, 3)
    await turn()
    assert.equal(left, 0)
    socket.leave()
    assert.equal(left, 1)
  })

  it('waits while two chunks are unsent, and continues when one has left', () => {
    const { peer, socket } = new Rig()
    for (const _ of [1, 2, 3]) peer.ask(chunk, 3, 'chunks')
    peer.ask(pause, 3)
    assert.deepEqual(eventNames(socket.sent), ['PostFileReq', 'PostFileReq', 'PauseFileReq'])
    socket.leave()
    assert.deepEqual(
      socket.sent.map(({ seq }) => seq),
      [1, 2, 4, 3],
    )
  })
})

spec('a request of the peer', (it) => {
  it('is passed to the owner, who answers it once', () => {
    const rig = new Rig({ side: 'server' })
    rig.socket.to.frame(pauseFrame(1))
    const [request] = rig.requests
    assert.ok(request)
    rig.peer.reply(request, paused)
    rig.socket.to.frame(pauseFrame(1))
    assert.deepEqual([rig.requests.length, eventNames(rig.socket.sent)], [1, ['PauseFileAck', 'PauseFileAck']])
  })

  it('can be refused', () => {
    const { peer, socket, requests } = new Rig({ side: 'server' })
    socket.to.frame(chunkFrame(1))
    peer.refuse(requests[0] ?? assert.fail(), new OspError('disk-full', 'full', { retryAfterMs: 10, progress: 7 }))
    const told: WireMessage = { event: 'PostFileNack', code: 14, retryAfter: 10, text: 'full', progress: 7 }
    assert.deepEqual(socket.messages, [told])
  })

  it('ends the link if the protocol has no NACK for it, or its bytes are malformed', () => {
    const refusals: [WireMessage, instance: number, OspError][] = [
      [{ event: 'ListReq' }, 0, new OspError('rate-limited')],
      [pause, 1, new OspError('malformed')],
    ]
    for (const [message, instance, why] of refusals) {
      const rig = new Rig({ side: 'server' })
      rig.socket.to.frame(frameFor(message, 1, instance))
      rig.peer.refuse(rig.requests[0] ?? assert.fail(), why)
      assert.deepEqual(eventNames([rig.socket.last ?? assert.fail()]), ['GoodbyeNtf'])
      assert.deepEqual([rig.codes, rig.socket.sent], [[why.code], []])
    }
  })

  it('can be answered within the callback', () => {
    const rig = new Rig({ side: 'server' })
    rig.onRequest = (request) => rig.peer.reply(request, paused)
    rig.socket.to.frame(pauseFrame(1))
    assert.deepEqual(eventNames(rig.socket.sent), ['PauseFileAck'])
  })
})

spec('a link driver ends its link', (it) => {
  it('for a fault of the peer, and sends the reason', () => {
    const rig = new Rig({ side: 'server' })
    rig.socket.hear(paused, 1, 1)
    const goodbye = decode(rig.socket.last ?? assert.fail())
    assert.ok(goodbye.event === 'GoodbyeNtf' && goodbye.code === 1)
    assert.deepEqual(rig.codes, ['malformed'])
  })

  it('for bytes that are not frames', () => {
    const rig = new Rig()
    rig.socket.to.fault(new OspError('malformed', 'a frame arrived damaged'))
    assert.deepEqual([rig.codes, rig.socket.last?.event], [['malformed'], 69])
  })

  it('if a handler of its owner throws, with that error as the cause', () => {
    const rig = new Rig({ side: 'server' })
    const fault = new Error('our own')
    rig.onRequest = () => {
      throw fault
    }
    rig.socket.to.frame(pauseFrame(1))
    assert.deepEqual([rig.codes, rig.ends[0]?.cause], [['internal'], fault])
  })

  it('after two silent intervals', () => {
    const rig = new Rig()
    rig.clock.pass(60_000)
    assert.deepEqual(rig.codes, ['timed-out'])
    assert.deepEqual(rig.clock.set, [])
  })
})

spec('the end of a link', (it) => {
  it('by GOODBYE rejects the requests with its reason, and is not answered by a GOODBYE', async () => {
    const rig = new Rig()
    const { reply } = rig.peer.ask(pause, 3)
    rig.socket.hear({ event: 'GoodbyeNtf', code: 5, retryAfter: 700, text: 'bye' }, 0)
    await assert.rejects(reply, { code: 'shutting-down', message: 'bye', retryAfterMs: 700 })
    assert.deepEqual([rig.codes, rig.socket.last, rig.notices], [['shutting-down'], undefined, []])
  })

  it('by the socket rejects the requests, with its reason or link-lost', async () => {
    for (const why of [new OspError('link-lost', 'the cable'), undefined]) {
      const rig = new Rig()
      const { reply } = rig.peer.ask(pause, 3)
      rig.socket.break(why)
      await assert.rejects(reply, why ?? { code: 'link-lost' })
      assert.deepEqual(rig.codes, ['link-lost'])
    }
  })

  it('is reported exactly once, whatever follows', async () => {
    const rig = new Rig()
    await rig.peer.close(new OspError('closed'))
    rig.socket.hear({ event: 'GoodbyeNtf', code: 5, retryAfter: 0, text: '' }, 0)
    rig.socket.to.fault(new OspError('malformed'))
    rig.socket.break()
    await rig.peer.close(new OspError('internal'))
    await rig.peer.closeQuietly(new OspError('internal'))
    assert.deepEqual(rig.codes, ['closed'])
    assert.equal(rig.peer.ended?.code, 'closed')
  })

  it('leaves no alarm, and sends and reports nothing more', async () => {
    const rig = new Rig({ side: 'server' })
    rig.socket.to.frame(pauseFrame(1))
    rig.peer.ask({ event: 'PingReq' })
    await rig.peer.close(new OspError('closed'))
    const sent = rig.socket.sent.length
    assert.deepEqual(rig.clock.set, [])
    rig.peer.reply(rig.requests[0] ?? assert.fail(), paused)
    rig.peer.notify({ event: 'GoodbyeNtf', code: 5, retryAfter: 0, text: '' })
    rig.peer.pause()
    rig.peer.resume()
    rig.peer.keepAliveMs = 5
    rig.socket.leave()
    rig.socket.drain()
    rig.socket.to.begun(10)
    rig.socket.to.frame(pauseFrame(2))
    rig.clock.pass(3_600_000)
    assert.deepEqual([rig.socket.sent.length, rig.requests.length, rig.clock.set], [sent, 1, []])
  })

  it('can be caused within any callback', () => {
    const rig = new Rig({ side: 'server' })
    rig.onRequest = () => void rig.peer.close(new OspError('shutting-down'))
    rig.socket.to.frame(pauseFrame(1))
    assert.deepEqual([rig.codes, rig.clock.set], [['shutting-down'], []])
    const other = new Rig()
    for (const _ of [1, 2, 3]) other.peer.ask(chunk, 3, 'chunks', () => void other.peer.close(new OspError('closed')))
    other.socket.leave()
    assert.deepEqual([other.codes, other.socket.sent.length], [['closed'], 2])
  })

  it('without GOODBYE sends none', async () => {
    const rig = new Rig()
    await rig.peer.closeQuietly(new OspError('closed'))
    assert.deepEqual([rig.socket.last, rig.codes], [undefined, ['closed']])
  })
})
