import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket as RawSocket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { isLoopback } from '../../../lib/adapters/net/addresses.ts'
import { tcp } from '../../../lib/adapters/net/tcp.ts'
import type { Socket } from '../../../lib/ports/socket.ts'
import { bytesOf, EventRecorder, frameOf, socketOptions } from '../../../lib/testing/transport/ends.ts'
import { encodeFrame } from '../../../lib/wire/frame.ts'
import { spec } from '../../support/spec.ts'
import { assertReused } from './reusedMemory.ts'

const { crc32 } = socketOptions().platform
const wire = (seq: number, ...payload: Uint8Array[]) => Buffer.concat(encodeFrame(frameOf(seq, ...payload), crc32))
const never = () => new AbortController().signal

interface Raw {
  /** A peer that speaks bytes. */
  readonly raw: RawSocket
  readonly socket: Socket
  readonly heard: EventRecorder
}

/** A peer of node:net, and the socket that it is connected to, not started. */
async function withRaw(use: (ends: Raw) => Promise<void>, host = '127.0.0.1', from = host): Promise<void> {
  await using listener = await tcp({ host, port: 0 }).listen(socketOptions({ maxPayload: 100_000 }))
  const accepted = new Promise<Socket>((resolve) => listener.start(resolve))
  const raw = connect({ host: from, port: listener.address.port, noDelay: true, allowHalfOpen: true })
  const socket = await accepted
  try {
    await use({ raw, socket, heard: new EventRecorder() })
  } finally {
    raw.destroy()
    socket.destroy()
    await socket.close()
  }
}

const everything = async (raw: RawSocket) => Buffer.concat(await raw.toArray())

spec('frames over TCP', (it) => {
  it('that the sockets of a listener send in the same turn reach their peers in order', async () => {
    await using listener = await tcp({ port: 0 }).listen(socketOptions())
    const sockets: Socket[] = []
    listener.start((socket) => sockets.push(socket))
    const peers = [1, 2, 3].map(() => connect({ host: '127.0.0.1', port: listener.address.port }))
    while (sockets.length < peers.length) await new Promise((resolve) => setImmediate(resolve))
    const lengths = [10, 900, 5, 3_000, 20, 700, 700, 700]
    for (const [seq, length] of lengths.entries()) {
      for (const socket of sockets) socket.send(frameOf(seq, new Uint8Array(length).fill(seq)))
    }
    for (const socket of sockets) void socket.close()
    const expected = Buffer.concat(lengths.map((length, seq) => wire(seq, new Uint8Array(length).fill(seq))))
    for (const peer of peers) assert.deepEqual(await everything(peer), expected)
  })

  it('for many links are sent at once, after the frames that were sent before', async () => {
    await using listener = await tcp({ port: 0 }).listen(socketOptions())
    const sockets: Socket[] = []
    listener.start((socket) => sockets.push(socket))
    const peers = [1, 2].map(() => connect({ host: '127.0.0.1', port: listener.address.port }))
    while (sockets.length < peers.length) await new Promise((resolve) => setImmediate(resolve))
    const shared = [1, 4, 5].map((seq) => ({ ...frameOf(seq, bytesOf(seq * 500)), shared: {} }))
    const [first = frameOf(0), ...others] = shared
    for (const socket of sockets) {
      for (const frame of [first, frameOf(2), frameOf(3), ...others]) socket.send(frame)
      void socket.close()
    }
    const expected = Buffer.concat([
      ...[wire(1, bytesOf(500)), wire(2), wire(3)],
      ...[wire(4, bytesOf(2_000)), wire(5, bytesOf(2_500))],
    ])
    for (const peer of peers) assert.deepEqual(await everything(peer), expected)
  })

  it('for many links reach a peer that reads late, in order', () =>
    withRaw(async ({ raw, socket }) => {
      const sent: Uint8Array[] = []
      let isFull = false
      for (let seq = 0; seq < 1_000 && !isFull; seq++) {
        const frame = frameOf(seq, new Uint8Array(30_000).fill(seq))
        isFull = !socket.send(seq % 5 === 0 ? frame : { ...frame, shared: {} })
        sent.push(wire(seq, ...frame.payload))
        if (seq % 3 === 0) await new Promise((resolve) => setImmediate(resolve))
      }
      assert.ok(isFull)
      void socket.close()
      assert.ok((await everything(raw)).equals(Buffer.concat(sent)))
    }))

  it('with file content are received by both sides in one piece, in memory that is used again', async () => {
    const transport = tcp({ port: 0 })
    await using listener = await transport.listen(socketOptions({ maxPayload: 100_000 }))
    const accepted = new Promise<Socket>((resolve) => listener.start(resolve))
    const near = await tcp({ port: listener.address.port }).dial(socketOptions({ maxPayload: 100_000 }), never())
    const far = await accepted
    await assertReused(near, far)
    await assertReused(far, near)
    near.destroy()
    await far.close()
  })

  it('are found however the bytes are divided', () =>
    withRaw(async ({ raw, socket, heard }) => {
      socket.start(heard)
      const stream = Buffer.concat([wire(1), wire(2, bytesOf(30)), wire(3, bytesOf(5))])
      for (const byte of stream) {
        raw.write(Uint8Array.of(byte))
        await new Promise(setImmediate)
      }
      await heard.times('frame', 3)
      assert.deepEqual(heard.seqs, [1, 2, 3])
    }))

  it('are announced without a length until the header is complete, then with that of the payload', () =>
    withRaw(async ({ raw, socket, heard }) => {
      socket.start(heard)
      const bytes = wire(1, bytesOf(50_000))
      for (const [at, piece] of [bytes.subarray(0, 19), bytes.subarray(19, 20), bytes.subarray(20, 30)].entries()) {
        raw.write(piece)
        await heard.times('begun', at + 1)
      }
      raw.write(bytes.subarray(30))
      await heard.times('frame')
      assert.deepEqual(heard.begunBytes.slice(0, 3), [0, 50_000, 50_000])
    }))

  it('of one piece are reported in one turn', () =>
    withRaw(async ({ raw, socket, heard }) => {
      socket.start(heard)
      raw.write(Buffer.concat([wire(1), wire(2), wire(3).subarray(0, 10)]))
      await heard.times('begun')
      assert.deepEqual(heard.order, ['frame', 'frame', 'begun'])
    }))

  it('of one piece are reported one by one to a side that pauses after each, followed by later ones', () =>
    withRaw(async ({ raw, socket, heard }) => {
      heard.onFrame = () => socket.pause()
      socket.start(heard)
      raw.resume()
      raw.write(Buffer.concat([wire(1), wire(2), wire(3).subarray(0, 10)]))
      for (let count = 1; count <= 3; count++) {
        await heard.times('frame', count)
        if (count === 1) raw.end(Buffer.concat([wire(3).subarray(10), wire(4)]))
        for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate)
        assert.equal(heard.seqs.length, count)
        socket.resume()
      }
      await heard.times('frame', 4)
      assert.deepEqual(heard.seqs, [1, 2, 3, 4])
      socket.resume()
      await heard.times('closed')
    }))

  it('of one turn are sent in one piece', () =>
    withRaw(async ({ raw, socket, heard }) => {
      socket.start(heard)
      for (const seq of [1, 2, 3]) socket.send(frameOf(seq, bytesOf(100), bytesOf(50)))
      const [piece] = await once(raw, 'data')
      assert.ok(Buffer.concat([1, 2, 3].map((seq) => wire(seq, bytesOf(100), bytesOf(50)))).equals(piece))
    }))
})

spec('a peer that breaks the rules', (it) => {
  const faulty: [string, Uint8Array, RegExp][] = [
    ['whose bytes are no frames', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'), /over the limit/u],
    ['that announces 4 GiB', Buffer.concat([Buffer.alloc(4, 0xff), Buffer.alloc(16)]), /4294967295 bytes, over/u],
    ['whose bytes are damaged', wire(1, bytesOf(40)).fill(0, 30), /CRC/u],
  ]
  for (const [who, bytes, text] of faulty) {
    it(`${who} is reported as a fault once, and can receive the reason`, () =>
      withRaw(async ({ raw, socket, heard }) => {
        socket.start(heard)
        raw.write(Buffer.concat([wire(7), bytes]))
        await heard.times('fault')
        raw.write(wire(8))
        const got = everything(raw)
        const closed = socket.close(frameOf(9))
        assert.ok((await got).equals(wire(9)))
        raw.end(wire(10))
        await Promise.all([closed, heard.times('closed')])
        assert.deepEqual(heard.order, ['frame', 'fault', 'closed'])
        assert.match(heard.faults[0]?.message ?? '', text)
        assert.deepEqual(heard.ends, [undefined])
      }))
  }

  for (const [where, length] of Object.entries({ 'a header': 7, 'a payload': 900 })) {
    it(`and ends within ${where} has lost the link`, () =>
      withRaw(async ({ raw, socket, heard }) => {
        socket.start(heard)
        raw.end(wire(1, bytesOf(1_000)).subarray(0, length))
        await heard.times('closed')
        assert.equal(heard.count('frame'), 0)
        assert.match(
          heard.ends[0]?.message ?? '',
          /^the connection to 127\.0\.0\.1:\d+ broke: the stream ended within a frame$/u,
        )
      }))
  }

  it('and resets ends the link, with the reason in the error', () =>
    withRaw(async ({ raw, socket, heard }) => {
      socket.start(heard)
      raw.write(wire(1))
      await heard.times('frame')
      raw.resetAndDestroy()
      await heard.times('closed')
      assert.equal(heard.ends[0]?.code, 'link-lost')
      assert.match(heard.ends[0]?.message ?? '', /broke: ECONNRESET$/u)
    }))

  it('and resets before the start is reported after the start', () =>
    withRaw(async ({ raw, socket, heard }) => {
      raw.resetAndDestroy()
      await once(raw, 'close')
      await socket.close()
      socket.start(heard)
      await heard.times('closed')
      assert.deepEqual(heard.order, ['closed'])
    }))
})

spec('an end over TCP', (it) => {
  it('between two frames is orderly, and closes this side too', () =>
    withRaw(async ({ raw, socket, heard }) => {
      socket.start(heard)
      raw.end(wire(1))
      assert.equal((await everything(raw)).length, 0)
      await heard.times('closed')
      assert.deepEqual([heard.order, heard.ends], [['frame', 'closed'], [undefined]])
    }))

  it('still sends the replies of the same turn', () =>
    withRaw(async ({ raw, socket, heard }) => {
      heard.onFrame = (frame) => socket.send(frame)
      socket.start(heard)
      raw.end(wire(1))
      assert.ok((await everything(raw)).equals(wire(1)))
      await heard.times('closed')
    }))

  it('by this side waits for that of the peer, so that a reset loses nothing', () =>
    withRaw(async ({ raw, socket, heard }) => {
      socket.start(heard)
      const closed = socket.close(frameOf(1))
      assert.ok((await everything(raw)).equals(wire(1)))
      raw.write(bytesOf(500_000))
      assert.deepEqual(heard.order, [])
      raw.end()
      await Promise.all([closed, heard.times('closed')])
      assert.deepEqual(heard.ends, [undefined])
    }))
})

spec('a TCP address', (it) => {
  it('in use is rejected with advice', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as { port: number }
    await assert.rejects(tcp({ port }).listen(socketOptions()), {
      code: 'unreachable',
      message:
        `cannot listen on 127.0.0.1:${port}: another program already listens there; ` +
        'stop it or choose another port (EADDRINUSE)',
    })
    other.close()
  })

  it('of another machine cannot be used to listen', () =>
    assert.rejects(tcp({ host: '192.0.2.1', port: 6682 }).listen(socketOptions()), {
      code: 'unreachable',
      message: /^cannot listen on 192\.0\.2\.1:6682: this machine does not have the address; .*\(EADDRNOTAVAIL\)$/u,
    }))

  it('without a listener is rejected with advice', async () => {
    const listener = await tcp({ port: 0 }).listen(socketOptions())
    const { port } = listener.address
    await listener.close()
    await assert.rejects(tcp({ port }).dial(socketOptions(), never()), {
      code: 'unreachable',
      message:
        `cannot connect to 127.0.0.1:${port}: nothing listens there; ` +
        'start the server or check the port (ECONNREFUSED)',
    })
  })

  it('that is being dialled can be aborted', async () => {
    await using listener = await tcp({ port: 0 }).listen(socketOptions())
    const abort = new AbortController()
    const dialled = tcp({ port: listener.address.port }).dial(socketOptions(), abort.signal)
    abort.abort()
    await assert.rejects(dialled, { code: 'closed' })
  })

  it('that is destroyed is reset', () =>
    withRaw(async ({ raw, socket }) => {
      const broken = new Promise<NodeJS.ErrnoException>((resolve) => raw.once('error', resolve))
      socket.destroy()
      assert.equal((await broken).code, 'ECONNRESET')
    }))

  it('with an invalid port is a usage error', () => {
    for (const port of [-1, 65_536, 1.5, Number.NaN]) assert.throws(() => tcp({ port }), { code: 'usage' })
  })

  it('is local if it is a loopback address', () => {
    for (const local of ['127.0.0.1', '127.255.0.9', '::1', '::ffff:127.0.0.1', '::FFFF:127.1.2.3', '::1%lo']) {
      assert.ok(isLoopback(local), local)
    }
    for (const other of ['', '0.0.0.0', '::', '128.127.0.1', '10.127.0.1', '::11', '::ffff:10.0.0.1', 'fe80::1']) {
      assert.ok(!isLoopback(other), other)
    }
  })

  if (networkInterfaces().lo?.some(({ address }) => address === '::1')) {
    it('of IPv6 is in brackets in errors', () =>
      withRaw(async ({ raw, socket, heard }) => {
        socket.start(heard)
        raw.end(Uint8Array.of(1))
        await heard.times('closed')
        assert.match(heard.ends[0]?.message ?? '', /to \[::1\]:\d+ broke/u)
        assert.ok(socket.peer.local)
      }, '::1'))

    it('of IPv4 on a socket of both families is known as local', () =>
      withRaw(
        async ({ socket }) => {
          assert.equal(socket.peer.host, '::ffff:127.0.0.1')
          assert.ok(socket.peer.local)
        },
        '::',
        '127.0.0.1',
      ))
  } else {
    it.skip('of IPv6 is in brackets in errors', 'this machine has no ::1')
    it.skip('of IPv4 on a socket of both families is known as local', 'this machine has no ::1')
  }
})
