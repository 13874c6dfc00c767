import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, Socket as RawSocket } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { PendingHeaders } from '../../../../lib/adapters/net/proxy/pendingHeaders.ts'
import { socketBounds } from '../../../../lib/adapters/net/socketBounds.ts'
import { tcp } from '../../../../lib/adapters/net/tcp.ts'
import { tls } from '../../../../lib/adapters/net/tls.ts'
import type { OspError } from '../../../../lib/errors.ts'
import type { Listener, PeerAddress, Socket, Transport } from '../../../../lib/ports/socket.ts'
import { bytesOf, EventRecorder, frameOf, HeldClock, socketOptions } from '../../../../lib/testing/transport/ends.ts'
import { encodeFrame } from '../../../../lib/wire/frame.ts'
import { decode } from '../../../../lib/wire/message.ts'
import { selfSigned } from '../../../support/selfSigned.ts'
import { spec } from '../../../support/spec.ts'

const balancer = '127.0.0.2'
const elsewhere = '127.0.0.1'
const own = selfSigned()
const address = { port: 0, proxyProtocol: ['192.0.2.0/24', balancer] }

const header = Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.2 56324 6682\r\n')
const binaryHeader = (command: number, family = 0x11) =>
  Buffer.concat([
    Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1'),
    Uint8Array.of(0x20 | command, family, 0, 12, 203, 0, 113, 9, 198, 51, 100, 2, 0x30, 0x39, 0x1a, 0x1a),
  ])
const wire = (seq: number, ...payload: Uint8Array[]) =>
  Buffer.concat(encodeFrame(frameOf(seq, ...payload), socketOptions().platform.crc32))

interface Rejected {
  readonly from: string
  readonly code: string
  readonly text: string
}

interface Stage {
  readonly listener: Listener
  readonly clock: HeldClock
  readonly accepted: Socket[]
  readonly heard: EventRecorder[]
  /** What the listener has reported. */
  readonly rejected: Rejected[]
  /** Connects from this address. Resolves when the listener has the connection. */
  raw(from?: string): Promise<RawSocket>
  /** Resolves with the socket and its events when this many were accepted. */
  socket(count?: number): Promise<{ socket: Socket; heard: EventRecorder }>
}

async function withStage(transport: Transport, use: (stage: Stage) => Promise<void>): Promise<void> {
  const clock = new HeldClock()
  const rejected: Rejected[] = []
  const report = ({ host }: PeerAddress, { code, message }: OspError) =>
    rejected.push({ from: host, code, text: message.replace('the PROXY header is missing or not valid: ', '') })
  const options = { ...socketOptions({ clock }), handshakeMs: 10_000, rejected: report }
  await using listener = await transport.listen(options)
  const accepted: Socket[] = []
  const heard: EventRecorder[] = []
  listener.start((socket) => {
    const recorder = new EventRecorder()
    accepted.push(socket)
    heard.push(recorder)
    socket.start(recorder)
  })
  const raws: RawSocket[] = []
  const raw = async (from = balancer) => {
    const socket = connect({ host: '127.0.0.1', port: listener.address.port, localAddress: from, noDelay: true })
    raws.push(socket.on('error', () => {}))
    await once(socket, 'connect')
    return socket
  }
  const socket = async (count = 1) => {
    while (accepted.length < count) await new Promise(setImmediate)
    return { socket: accepted[count - 1] as Socket, heard: heard[count - 1] as EventRecorder }
  }
  try {
    await use({ listener, clock, accepted, heard, rejected, raw, socket })
  } finally {
    for (const each of raws) each.destroy()
    for (const each of accepted) each.destroy()
    await Promise.all(accepted.map((each) => each.close()))
  }
}

const closed = (raw: RawSocket) =>
  new Promise<void>((resolve) => {
    if (raw.closed) resolve()
    else raw.resume().once('close', () => resolve())
  })

const asTls = (raw: RawSocket) => connectTls({ socket: raw, rejectUnauthorized: false })

const plainly = (raw: RawSocket): Duplex => raw

for (const [name, transport, secured] of [
  ['TCP', () => tcp(address), plainly],
  ['TLS', () => tls({ ...address, ...own }), asTls],
] as const) {
  spec(`a PROXY header before ${name}`, (it) => {
    for (const [version, bytes, host, port] of [
      ['version 1', header, '192.0.2.1', 56_324],
      ['version 2', binaryHeader(1), '203.0.113.9', 12_345],
    ] as const) {
      it(`of ${version} gives the socket the address of the client`, () =>
        withStage(transport(), async ({ raw, socket, rejected, clock }) => {
          const stream = await raw()
          stream.write(bytes)
          secured(stream).write(wire(1, bytesOf(100_000)))
          const accepted = await socket()
          await accepted.heard.times('frame')
          assert.deepEqual(accepted.socket.peer, { host, port, local: false })
          assert.deepEqual(Buffer.concat(accepted.heard.frames[0]?.payload ?? []), Buffer.from(bytesOf(100_000)))
          assert.deepEqual([rejected, clock.set], [[], []])
        }))

      it(`of ${version} can arrive byte by byte`, () =>
        withStage(transport(), async ({ raw, socket }) => {
          const stream = await raw()
          for (const byte of bytes) {
            stream.write(Uint8Array.of(byte))
            await new Promise(setImmediate)
          }
          secured(stream).write(wire(1))
          const accepted = await socket()
          await accepted.heard.times('frame')
          assert.equal(accepted.socket.peer.host, host)
        }))
    }

    it('keeps the time at which the connection began', () =>
      withStage(transport(), async ({ raw, socket, clock }) => {
        clock.now = () => 5
        const stream = await raw()
        while (clock.set.length === 0) await new Promise(setImmediate)
        clock.now = () => 9
        stream.write(header)
        secured(stream).write(wire(1))
        assert.equal((await socket()).socket.connectedAtMs, 5)
      }))

    it('from a balancer on this machine can name a client on this machine', () =>
      withStage(transport(), async ({ raw, socket }) => {
        const stream = await raw()
        stream.write('PROXY TCP6 ::1 ::1 1 2\r\n')
        secured(stream).write(wire(1))
        assert.deepEqual((await socket()).socket.peer, { host: '::1', port: 1, local: true })
      }))

    for (const [what, bytes] of [
      ['of version 1', Buffer.from('PROXY UNKNOWN\r\n')],
      ['of version 2', binaryHeader(1, 0)],
    ] as const) {
      it(`${what} without an address leaves that of the balancer, which is not counted as this machine`, () =>
        withStage(transport(), async ({ raw, socket }) => {
          const stream = await raw()
          stream.write(bytes)
          secured(stream).write(wire(1))
          const { peer } = (await socket()).socket
          assert.deepEqual({ ...peer, port: 0 }, { host: balancer, port: 0, local: false })
        }))
    }

    it('is not expected from other networks', () =>
      withStage(transport(), async ({ raw, socket }) => {
        secured(await raw(elsewhere)).write(wire(1))
        const accepted = await socket()
        await accepted.heard.times('frame')
        assert.deepEqual({ ...accepted.socket.peer, port: 0 }, { host: elsewhere, port: 0, local: true })
      }))

    for (const [what, bytes, text] of [
      ['a frame', wire(1), 'the connection does not begin with one'],
      ['a record of TLS', Uint8Array.of(0x16, 3, 1, 0, 200, 1), 'the connection does not begin with one'],
      ['a header that is not valid', Buffer.from('PROXY TCP4 a b c d\r\n'), 'its addresses or ports are not valid'],
      ['a header of version 1 without an end', Buffer.alloc(107, 'PROXY '), 'it has no line end within 107 bytes'],
    ] as const) {
      it(`is required: ${what} is refused and reported`, () =>
        withStage(transport(), async ({ raw, accepted, rejected, clock }) => {
          const stream = await raw()
          stream.write(bytes)
          await closed(stream)
          assert.deepEqual(rejected, [{ from: balancer, code: 'malformed', text }])
          assert.deepEqual([accepted, clock.set], [[], []])
        }))
    }

    for (const [what, bytes] of [
      ['is silent', ''],
      ['sends a part', 'PROXY TCP4 192.0'],
    ] as const) {
      it(`has a timeout: a balancer that ${what} is refused and reported`, () =>
        withStage(transport(), async ({ raw, accepted, rejected, clock }) => {
          const stream = await raw()
          stream.write(bytes)
          while (clock.set.length === 0) await new Promise(setImmediate)
          assert.deepEqual(clock.set, [10_000])
          clock.ring()
          await closed(stream)
          const text = 'it is not complete after 10000 ms'
          assert.deepEqual([accepted, rejected], [[], [{ from: balancer, code: 'malformed', text }]])
        }))
    }

    it('that ends early is reported', () =>
      withStage(transport(), async ({ raw, accepted, rejected }) => {
        const stream = await raw()
        stream.end('PROXY TCP4')
        await closed(stream)
        while (rejected.length === 0) await new Promise(setImmediate)
        const text = 'the connection ended before it was complete'
        assert.deepEqual([accepted, rejected], [[], [{ from: balancer, code: 'malformed', text }]])
      }))

    it('of a connection that the balancer has opened itself ends it without a report', () =>
      withStage(transport(), async ({ raw, accepted, rejected, clock }) => {
        const stream = await raw()
        stream.write(binaryHeader(0))
        await once(stream.resume(), 'end')
        assert.deepEqual([accepted, rejected, clock.set], [[], [], []])
      }))

    it('is not missed on a connection that ends before its first byte', () =>
      withStage(transport(), async ({ raw, accepted, rejected, clock }) => {
        const stream = await raw()
        while (clock.set.length === 0) await new Promise(setImmediate)
        stream.end()
        while (clock.set.length > 0) await new Promise(setImmediate)
        assert.deepEqual([accepted, rejected], [[], []])
      }))

    it('that is incomplete ends with its listener', () =>
      withStage(transport(), async ({ listener, raw, rejected, clock }) => {
        const stream = await raw()
        stream.write('PROXY')
        while (clock.set.length === 0) await new Promise(setImmediate)
        await listener.close()
        await closed(stream)
        assert.deepEqual([rejected, clock.set], [[], []])
      }))
  })
}

spec('a PROXY header', (it) => {
  it('from other networks is a protocol violation like any other bytes that are not a frame', () =>
    withStage(tcp(address), async ({ raw, socket, rejected }) => {
      const stream = await raw(elsewhere)
      stream.write(header)
      const { heard } = await socket()
      await heard.times('fault')
      assert.deepEqual([heard.faults.map(({ code }) => code), rejected], [['malformed'], []])
    }))

  it('from other networks is refused like any other bytes without TLS', () =>
    withStage(tls({ ...address, ...own }), async ({ raw, accepted, rejected }) => {
      const stream = await raw(elsewhere)
      stream.write(header)
      await closed(stream)
      assert.deepEqual([accepted, rejected], [[], []])
    }))

  it('does not replace TLS: a client without TLS gets advice', () =>
    withStage(tls({ ...address, ...own }), async ({ raw, accepted }) => {
      const stream = await raw()
      stream.write(Buffer.concat([header, wire(1)]))
      const bytes = Buffer.concat(await stream.toArray())
      const goodbye = decode({ event: bytes.readUInt16BE(6), app: 0, payload: [bytes.subarray(20)] })
      assert.match('text' in goodbye ? `${goodbye.text}` : '', /^this server requires TLS/u)
      assert.deepEqual(accepted, [])
    }))

  it('and the first frames can arrive together', () =>
    withStage(tcp(address), async ({ raw, socket }) => {
      const stream = await raw()
      stream.write(Buffer.concat([header, wire(1, bytesOf(10)), wire(2), wire(3).subarray(0, 7)]))
      const { heard } = await socket()
      await heard.times('frame', 2)
      stream.write(Buffer.concat([wire(3).subarray(7), wire(4)]))
      await heard.times('frame', 4)
      assert.deepEqual(heard.seqs, [1, 2, 3, 4])
    }))

  it('is refused on the connection that has waited longest if too many wait', () => {
    const rejected: string[] = []
    const headers = new PendingHeaders([], {
      ...socketOptions(),
      rejected: (_, { message }) => rejected.push(message),
    })
    const streams = Array.from({ length: socketBounds.proxyHeaders + 1 }, () => new RawSocket())
    for (const stream of streams) headers.begin(stream)
    assert.deepEqual(
      streams.flatMap(({ destroyed }, at) => (destroyed ? [at] : [])),
      [0],
    )
    assert.match(rejected.join(), /^[^,]* more than 4096 connections wait for their header$/u)
    headers.close()
  })
})
