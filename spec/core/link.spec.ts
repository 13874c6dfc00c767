import assert from 'node:assert/strict'
import { frameWith, type Link, type Request } from '../../lib/core/link.ts'
import type { OspError } from '../../lib/errors.ts'
import { fixed } from '../../lib/limits.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import { decode, type WireMessage } from '../../lib/wire/message.ts'
import { chunkFrame, frameFor, pauseFrame } from '../support/frames.ts'
import { spec } from '../support/spec.ts'
import { handed, linkOf } from './links.ts'

/** The request that `frame` is. */
function requestIn(link: Link<string>, frame: Frame): Request {
  const received = link.receive(frame, 0)
  return received?.kind === 'request' ? received.request : assert.fail('it is no request')
}

const malformed = (link: Link<string>, frame: Frame) =>
  assert.throws(() => link.receive(frame, 0), { code: 'malformed' }, JSON.stringify(frame))

const pause = { event: 'PauseFileReq' } as const
const list = { event: 'ListReq' } as const
const paused: WireMessage = { event: 'PauseFileAck', progress: 5, durable: 5 }
const pong = (listVersion?: number): WireMessage => ({ event: 'PingAck', listVersion })

spec('the requests of a link', (it) => {
  it('are numbered from 1 in all queues', () => {
    const link = linkOf('client')
    assert.equal(link.request(pause, 3, 'a'), 1)
    assert.equal(link.request({ event: 'PostFileReq', progress: 0, content: [] }, 3, 'b', 'chunks'), 2)
    const [first] = handed(link)
    assert.deepEqual([first?.seq, first?.instance, first?.app, first?.flags, first?.version], [1, 3, 1, 0, 1])
  })

  it('return their context with the reply', () => {
    const link = linkOf('client')
    const seq = link.request(pause, 3, 'mine')
    handed(link)
    const received = link.receive(frameFor(paused, seq, 3), 20)
    assert.deepEqual(received, { kind: 'reply', message: paused, context: 'mine', instance: 3 })
    assert.equal(link.receive(frameFor(paused, seq, 3), 21), undefined, 'a second reply is ignored')
  })

  it('can be answered by their NACK', () => {
    const link = linkOf('client')
    const seq = link.request(pause, 3, 'mine')
    handed(link)
    const nack: WireMessage = { event: 'PauseFileNack', code: 11, retryAfter: 0, text: '' }
    const received = link.receive(frameFor(nack, seq, 3), 20)
    assert.ok(received?.kind === 'reply' && received.message.event === 'PauseFileNack')
  })

  it('make any other reply malformed', () => {
    const link = linkOf('client')
    const seq = link.request(pause, 3, 'mine')
    handed(link)
    malformed(link, frameFor(pong(), seq))
  })

  it('ignore replies without a request, and to requests that are not sent yet', () => {
    const link = linkOf('client')
    const seq = link.request(pause, 3, 'mine')
    assert.equal(link.receive(frameFor(paused, seq, 3), 0), undefined)
    assert.equal(link.receive(frameFor(paused, 99, 3), 0), undefined)
    handed(link)
    assert.equal(link.receive(frameFor(paused, seq, 3), 0)?.kind, 'reply')
  })

  it('are repeated with the same seq, chunks in the queue of chunks', () => {
    const link = linkOf('client', false)
    link.request({ event: 'PostFileReq', progress: 0, content: [Uint8Array.of(1)] }, 3, 'b', 'chunks')
    link.request(pause, 3, 'a')
    handed(link)
    assert.equal(link.advance(1_000), undefined)
    link.request(list, 0, 'c')
    const again = handed(link, 1_000)
    assert.deepEqual(
      again.map(({ seq, flags }) => [seq, flags]),
      [
        [2, 1],
        [3, 0],
        [1, 1],
      ],
    )
  })

  it('are not repeated after the reply, even if the repetition is queued: its bytes can be overwritten', () => {
    const link = linkOf('client', false)
    const seq = link.request({ event: 'PostFileReq', progress: 0, content: [Uint8Array.of(1)] }, 3, 'b', 'chunks')
    handed(link)
    link.advance(1_000)
    link.receive(frameFor({ event: 'PostFileAck', progress: 1, durable: 0 }, seq, 3), 1_001)
    assert.deepEqual(handed(link, 1_002), [])
  })

  it('end the link if they are never answered', () => {
    const link = linkOf('client', false)
    link.keepAlive.intervalMs = 1e9
    link.request(pause, 3, 'a')
    let [now, tries] = [0, 0]
    let dead: OspError | undefined
    for (; !dead; tries++) {
      handed(link, now)
      now = link.deadline
      dead = link.advance(now)
    }
    assert.deepEqual([dead.code, tries], ['timed-out', fixed.tries])
  })
})

spec('the requests of the peer', (it) => {
  it('are returned with the data for a reply', () => {
    const link = linkOf('server')
    const request = requestIn(link, frameFor(pause, 9, 4))
    assert.deepEqual(request, { message: pause, seq: 9, instance: 4, payloadBytes: 0 })
    link.reply(request, paused)
    const [frame] = handed(link)
    assert.deepEqual(frame, frameFor(paused, 9, 4))
  })

  it('are carried out once: a repetition gets the same reply, or none before there is a reply', () => {
    const link = linkOf('server')
    const request = requestIn(link, pauseFrame(1))
    assert.equal(link.receive({ ...pauseFrame(1), flags: 1 }, 0), undefined)
    assert.deepEqual(handed(link), [])
    link.reply(request, paused)
    const first = handed(link)
    assert.equal(link.receive(pauseFrame(1), 0), undefined, 'bit 0 need not be set')
    assert.deepEqual(handed(link), first)
  })

  it('are carried out each time if they are chunks, because of their offset', () => {
    const link = linkOf('server')
    for (const _ of [1, 2]) {
      link.reply(requestIn(link, chunkFrame(1)), { event: 'PostFileAck', progress: 4, durable: 0 })
      assert.equal(handed(link).length, 1)
    }
  })

  it('are answered by the link if they are pings', () => {
    const link = linkOf('client')
    assert.equal(link.receive(frameFor({ event: 'PingReq' }, 1), 0), undefined)
    assert.deepEqual(handed(link), [frameFor(pong(), 1)])
  })

  it('are malformed if more than 512 are unanswered, chunks not counted', () => {
    const link = linkOf('server')
    for (let seq = 1; seq <= 512; seq++) requestIn(link, pauseFrame(seq))
    for (let seq = 1_000; seq <= 2_000; seq++) requestIn(link, chunkFrame(seq))
    malformed(link, pauseFrame(513))
  })

  it('are malformed without a number, or with the wrong kind of instance', () => {
    const link = linkOf('server')
    malformed(link, pauseFrame(0))
    malformed(link, frameFor(pause, 1, 0))
    malformed(link, { ...chunkFrame(1), instance: 0 })
    malformed(link, frameFor(list, 1, 5))
    malformed(link, frameFor({ event: 'PingReq' }, 1, 5))
  })
})

spec('a frame is malformed', (it) => {
  it('in the wrong direction', () => {
    malformed(linkOf('client'), pauseFrame(1))
    malformed(linkOf('server'), frameFor(paused, 1, 1))
  })

  it('of another version, except HELLO', () => {
    malformed(linkOf('server'), { ...pauseFrame(1), version: 2 })
    const nack: WireMessage = { event: 'HelloNack', code: 2, retryAfter: 0, text: '' }
    const client = linkOf('client')
    assert.equal(client.receive({ ...frameFor(nack, 1), version: 9 }, 0), undefined)
  })

  it('of an unknown event, or an event of another app', () => {
    malformed(linkOf('server'), { ...pauseFrame(1), event: 999 })
    malformed(linkOf('server'), { ...pauseFrame(1), app: 2 })
  })
})

spec('the notifications of a link', (it) => {
  const goodbye = { event: 'GoodbyeNtf', code: 5, retryAfter: 0, text: '' } as const

  it('have no number, and are returned', () => {
    const link = linkOf('server')
    link.notify(goodbye)
    const [frame] = handed(link)
    assert.equal(frame?.seq, 0)
    assert.deepEqual(linkOf('client').receive(frame ?? assert.fail(), 0), { kind: 'notice', message: goodbye })
  })

  it('overtake all waiting frames if they are the last', () => {
    const link = linkOf('server')
    link.notify(goodbye)
    assert.deepEqual(frameWith(goodbye), frameFor(goodbye, 0))
    assert.equal(handed(link).length, 1)
  })

  it('count as unsent until the socket takes them', () => {
    const link = linkOf('server')
    link.notify(goodbye)
    assert.equal(link.queues.smallBytes, 20 + 8)
    handed(link)
    assert.equal(link.queues.smallBytes, 0)
  })
})

spec('a link', (it) => {
  it('decodes the frames of the other side', () => {
    const [client, server] = [linkOf('client'), linkOf('server')]
    client.request({ event: 'CancelFileReq', fileName: 'näme' }, 0, 'x')
    const request = requestIn(server, handed(client)[0] ?? assert.fail())
    assert.deepEqual(request.message, { event: 'CancelFileReq', fileName: 'näme' })
    server.reply(request, { event: 'CancelFileAck', outcome: 1 })
    const frame = handed(server)[0] ?? assert.fail()
    assert.deepEqual(decode(frame), { event: 'CancelFileAck', outcome: 1 })
    assert.equal(client.receive(frame, 1)?.kind, 'reply')
  })
})
