import assert from 'node:assert/strict'
import { OspError } from '../../lib/errors.ts'
import { fixed } from '../../lib/limits.ts'
import { encode, sharedNotice, type WireMessage } from '../../lib/wire/message.ts'
import { eventNames } from '../support/frames.ts'
import { spec } from '../support/spec.ts'
import { Rig } from './linkDriverRig.ts'

const pause = { event: 'PauseFileReq' } as const
const goodbye: WireMessage<'GoodbyeNtf'> = { event: 'GoodbyeNtf', code: 5, retryAfter: 0, text: '' }
/** It is ignored, but it is heard. */
const replyToNothing: WireMessage = { event: 'PingAck', listVersion: 1 }
const chunk = { event: 'PostFileReq', progress: 0, content: [Uint8Array.of(1)] } as const

spec('a link driver whose socket is full', (it) => {
  it('sends nothing until the socket has drained', () => {
    const { peer, socket } = new Rig()
    socket.writable = false
    peer.ask(pause, 3)
    peer.ask(pause, 4)
    assert.equal(socket.sent.length, 1)
    socket.drain()
    assert.equal(socket.sent.length, 2)
  })

  it('sends a notification for many links at once until the socket is full, and in order afterwards', () => {
    const { peer, socket } = new Rig({ side: 'server' })
    const notice = (text: string) => sharedNotice({ event: 'GoodbyeNtf', payload: encode({ ...goodbye, text }) })
    const texts = () => socket.sent.map(({ payload }) => Buffer.concat(payload).subarray(-1).toString())
    peer.notify(notice('a'))
    peer.notify({ ...goodbye, text: 'b' })
    socket.writable = false
    for (const text of ['c', 'd']) peer.notify(notice(text))
    peer.notify({ ...goodbye, text: 'e' })
    peer.notify(notice('f'))
    assert.deepEqual(texts(), ['a', 'b', 'c'])
    socket.drain()
    assert.deepEqual(texts(), ['a', 'b', 'c', 'd', 'e', 'f'])
  })

  it('closes the link of a slow consumer when too many bytes wait', async () => {
    const rig = new Rig({ side: 'server', unsentBytes: 100 })
    rig.socket.writable = false
    for (let count = 0; count < 4; count++) rig.peer.notify(goodbye)
    assert.deepEqual(rig.codes, [])
    rig.peer.notify(goodbye)
    assert.deepEqual(rig.codes, ['slow-consumer'])
    assert.deepEqual(rig.clock.set, [])
  })

  it('closes it when too many short replies wait, each of which takes more memory than its bytes', () => {
    const rig = new Rig({ side: 'server', unsentBytes: 1_000_000_000 })
    rig.socket.writable = false
    for (let count = 0; count <= fixed.unsentReplies; count++) rig.peer.notify(goodbye)
    assert.deepEqual(rig.codes, [])
    rig.peer.notify(goodbye)
    assert.deepEqual(rig.codes, ['slow-consumer'])
  })

  it('closes it if the peer reads nothing for two intervals after a notification for many links', () => {
    const rig = new Rig({ side: 'server' })
    rig.socket.writable = false
    rig.peer.notify(sharedNotice({ event: 'GoodbyeNtf', payload: encode(goodbye) }))
    for (let seconds = 0; seconds < 40; seconds++) {
      rig.clock.pass(1_000)
      if (rig.ends.length === 0) rig.socket.hear(replyToNothing, 1_000)
    }
    assert.deepEqual(rig.codes, ['slow-consumer'])
  })

  it('closes it if the peer reads nothing for two intervals, although it sends', () => {
    const rig = new Rig()
    rig.socket.writable = false
    rig.peer.ask(pause, 3)
    for (let seconds = 0; seconds < 40; seconds++) {
      rig.clock.pass(1_000)
      if (rig.ends.length === 0) rig.socket.to.begun(0)
      if (rig.ends.length === 0) rig.socket.hear(replyToNothing, 1_000)
    }
    assert.deepEqual(rig.codes, ['slow-consumer'])
  })

  it('keeps the link as long as chunks leave now and then', () => {
    const rig = new Rig()
    rig.socket.writable = false
    for (let count = 0; count < 100; count++) {
      rig.peer.ask(chunk, 3, 'chunks')
      rig.clock.pass(15_000)
      rig.socket.hear(replyToNothing, 1_000)
      rig.socket.leave()
      if (count % 2 === 1) rig.socket.drain()
      rig.socket.writable = false
    }
    assert.deepEqual(rig.codes, [])
  })
})

spec('a paused link driver', (it) => {
  it('does not read, and ignores silence until it is resumed', () => {
    const rig = new Rig()
    rig.peer.pause()
    assert.equal(rig.socket.paused, true)
    rig.clock.pass(100_000)
    assert.deepEqual(rig.codes, [])
    rig.peer.resume()
    assert.equal(rig.socket.paused, false)
    rig.clock.pass(31_000)
    assert.deepEqual(rig.codes, [])
    rig.clock.pass(4_000)
    assert.deepEqual(rig.codes, ['timed-out'])
  })

  it('still sends in every interval', () => {
    const rig = new Rig()
    rig.peer.pause()
    rig.clock.pass(16_000 * 3)
    assert.ok(eventNames(rig.socket.sent).filter((event) => event === 'PingReq').length >= 3)
  })
})

spec('the alarm of a link driver', (it) => {
  it('is one, whatever happens', () => {
    const rig = new Rig({ reliable: false })
    assert.equal(rig.clock.set.length, 1)
    for (let count = 0; count < 100; count++) {
      rig.peer.ask(chunk, 3, 'chunks')
      rig.peer.ask(pause, 3)
      rig.socket.leave()
      rig.clock.pass(count)
      rig.socket.to.begun(count)
      rig.peer.pause()
      rig.peer.resume()
      assert.equal(rig.clock.set.length, 1)
    }
  })

  it('rings for a keep-alive that was made shorter', () => {
    const rig = new Rig()
    rig.peer.keepAliveMs = 1_000
    rig.clock.pass(1_000)
    assert.deepEqual(eventNames(rig.socket.sent), ['PingReq'])
  })

  it('rings for the repetition of the latest request', () => {
    const rig = new Rig()
    rig.peer.ask(pause, 3)
    rig.clock.pass(9_999)
    assert.equal(rig.socket.sent.length, 1)
    rig.clock.pass(1)
    assert.deepEqual(
      rig.socket.sent.map(({ seq, flags }) => [seq, flags]),
      [
        [1, 0],
        [1, 1],
      ],
    )
  })

  it('does not kill the link after the process was frozen: what arrived is read first', () => {
    for (const frozenMs of [20_000, 33_000, 40_000, 3_600_000]) {
      const rig = new Rig()
      rig.clock.freeze(frozenMs)
      rig.clock.pass(0)
      rig.socket.hear({ event: 'PingReq' }, 1)
      rig.clock.pass(1_000)
      assert.deepEqual([rig.codes, eventNames(rig.socket.sent).includes('PingAck')], [[], true])
    }
  })

  it('rings seldom on a link that is busy', () => {
    const rig = new Rig()
    let rung = 0
    for (let count = 1; count <= 10_000; count++) {
      const before = rig.clock.set[0]
      const { seq } = rig.peer.ask(pause, 3)
      rig.socket.hear({ event: 'PauseFileAck', progress: 0, durable: 0 }, seq, 3)
      rig.clock.pass(10)
      if (rig.clock.set[0] !== before) rung++
    }
    assert.ok(rung <= 20, `${rung} in 100 s`)
  })
})

spec('a link driver that is closed while its socket rejects frames', (it) => {
  it('is closed even if a frame cannot be sent', () => {
    const rig = new Rig()
    rig.socket.closings = 1
    assert.throws(() => rig.peer.ask(pause, 3), /after close/u)
    rig.socket.closings = 0
    rig.peer.ask(pause, 4)
    assert.equal(rig.socket.sent.length, 1, 'and what comes later is still sent')
    void rig.peer.close(new OspError('closed'))
    assert.deepEqual(rig.codes, ['closed'])
  })
})
