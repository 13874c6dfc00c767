import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, Socket as RawSocket } from 'node:net'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'
import { tcp } from '../../../../lib/adapters/net/tcp.ts'
import { PendingHandshakes } from '../../../../lib/adapters/net/tls/handshakes.ts'
import { tls } from '../../../../lib/adapters/net/tls.ts'
import { OspError } from '../../../../lib/errors.ts'
import type { Listener, Socket } from '../../../../lib/ports/socket.ts'
import { EventRecorder, frameOf, HeldClock, socketOptions } from '../../../../lib/testing/transport/ends.ts'
import { decode } from '../../../../lib/wire/message.ts'
import { selfSigned } from '../../../support/selfSigned.ts'
import { spec } from '../../../support/spec.ts'

const own = selfSigned()
const never = () => new AbortController().signal
const pinned = { trust: () => {} }

/** The first bytes of a handshake that does not go on. */
const beginning = Uint8Array.of(0x16, 3, 1, 0, 200, 1)

interface Door {
  readonly listener: Listener
  readonly clock: HeldClock
  /** Sockets that were handed over. */
  readonly accepted: Socket[]
  /** A connection that does what it is told and nothing else, from an address of this machine. */
  raw(from?: string): Promise<RawSocket>
}

async function withDoor(use: (door: Door) => Promise<void>, handshakes = 256): Promise<void> {
  const clock = new HeldClock()
  const options = { ...socketOptions({ clock }), handshakeMs: 10_000, handshakes }
  await using listener = await tls({ port: 0, ...own }).listen(options)
  const accepted: Socket[] = []
  listener.start((socket) => accepted.push(socket))
  const raws: RawSocket[] = []
  const raw = async (from = '127.0.0.1') => {
    const known = clock.set.length
    const socket = connect({ host: '127.0.0.1', port: listener.address.port, localAddress: from })
    raws.push(socket.on('error', () => {}))
    await once(socket, 'connect')
    // Where all places are taken there is no alarm more.
    while (known < handshakes && clock.set.length === known) await new Promise(setImmediate)
    return socket
  }
  try {
    await use({ listener, clock, accepted, raw })
  } finally {
    for (const socket of raws) socket.destroy()
    for (const socket of accepted) socket.destroy()
    await Promise.all(accepted.map((socket) => socket.close()))
  }
}

const closed = (raw: RawSocket) =>
  new Promise<void>((resolve) => {
    if (raw.closed) resolve()
    else raw.resume().once('close', () => resolve())
  })

const dial = ({ address }: Listener) => tls({ ...address, ...pinned }).dial(socketOptions(), never())

spec('a handshake of TLS', (it) => {
  for (const [who, bytes] of [
    ['says nothing', undefined],
    ['begins one and does not go on', beginning],
  ] as const) {
    it(`has a timeout: a peer that ${who} is closed after it`, () =>
      withDoor(async ({ raw, clock }) => {
        const silent = await raw()
        if (bytes) silent.write(bytes)
        assert.deepEqual(clock.set, [10_000])
        clock.ring()
        await closed(silent)
      }))
  }

  it('that is complete leaves no alarm, and reports when the connection began', () =>
    withDoor(async ({ listener, clock, accepted }) => {
      clock.now = () => 5
      const near = await dial(listener)
      while (accepted.length === 0) await new Promise(setImmediate)
      assert.deepEqual([clock.set, accepted[0]?.connectedAtMs], [[], 5])
      near.destroy()
    }))

  it('keeps its timeout if its peer starts another one from the same port to another address', async () => {
    const clock = new HeldClock()
    const options = { ...socketOptions({ clock }), handshakeMs: 10_000, handshakes: 2 }
    await using listener = await tls({ host: '0.0.0.0', port: 0, ...own }).listen(options)
    const { port } = listener.address
    const first = connect({ host: '127.0.0.1', port, localAddress: '127.0.0.1' })
    await once(first, 'connect')
    const second = connect({ host: '127.0.0.2', port, localAddress: '127.0.0.1', localPort: first.localPort ?? 0 })
    await once(second, 'connect')
    while (clock.set.length < 2) await new Promise(setImmediate)
    clock.ring()
    await Promise.all([closed(first), closed(second)])
    assert.deepEqual(clock.set, [])
  })

  it('leaves no alarm if its peer disconnects', () =>
    withDoor(async ({ raw, clock }) => {
      const [silent, begun] = [await raw(), await raw()]
      begun.write(beginning)
      silent.destroy()
      begun.destroy()
      while (clock.set.length > 0) await new Promise(setImmediate)
    }))

  it('that is incomplete ends with its listener', () =>
    withDoor(async ({ listener, raw, clock }) => {
      const [silent, begun] = [await raw(), await raw()]
      begun.write(beginning)
      await listener.close()
      await Promise.all([closed(silent), closed(begun)])
      assert.deepEqual(clock.set, [])
    }))

  it('replaces the oldest one beyond the maximum', () =>
    withDoor(async ({ listener, raw }) => {
      const [first, second] = [await raw(), await raw()]
      const near = await dial(listener)
      await closed(first)
      assert.ok(!second.closed)
      near.destroy()
    }, 2))

  it('replaces one of the address that has the most', () =>
    withDoor(async ({ listener, raw }) => {
      const other = await raw('127.0.0.2')
      const many = [await raw(), await raw()]
      for (let at = 0; at < 3; at++) (await dial(listener)).destroy()
      await closed(many[0] as RawSocket)
      assert.ok(!other.closed)
    }, 3))

  it('replaces one of an IPv6 network, whose addresses count as one', () => {
    const handshakes = new PendingHandshakes({ ...socketOptions(), handshakes: 3 }, () => {})
    const hosts = ['::ffff:192.0.2.1', '2001:db8::1', '2001:db8::2', '192.0.2.2']
    const streams = hosts.map((remoteAddress) =>
      Object.defineProperty(new RawSocket(), 'remoteAddress', { value: remoteAddress }),
    )
    for (const stream of streams) handshakes.begin(stream)
    assert.deepEqual(
      streams.map(({ destroyed }) => destroyed),
      [false, true, false, false],
    )
    handshakes.close()
  })

  it('is possible while two thousand connections are silent', () =>
    withDoor(async ({ listener, raw, clock }) => {
      for (let at = 0; at < 2_000; at++) await raw()
      assert.equal(clock.set.length, 256)
      const near = await dial(listener)
      near.destroy()
    }))

  it('is never a resumed one, so that each certificate is checked', () =>
    withDoor(async ({ listener }) => {
      const { host, port } = listener.address
      const first = connectTls({ host, port, rejectUnauthorized: false })
      await once(first, 'secureConnect')
      const session = await new Promise<Buffer | undefined>((resolve) => {
        first.once('session', resolve)
      })
      const again = connectTls({ host, port, rejectUnauthorized: false, ...(session && { session }) })
      await once(again, 'secureConnect')
      assert.equal(again.isSessionReused(), false)
      first.destroy()
      again.destroy()
    }))
})

spec('TLS on only one side', (it) => {
  it('gives a client without TLS advice in the protocol', () =>
    withDoor(async ({ listener, accepted }) => {
      const near = await tcp(listener.address).dial(socketOptions(), never())
      const heard = new EventRecorder()
      near.start(heard)
      near.send(frameOf(1, new Uint8Array(40)))
      await heard.times('closed')
      const [goodbye] = heard.frames.map(decode)
      assert.deepEqual(goodbye, {
        event: 'GoodbyeNtf',
        code: 2,
        retryAfter: 0,
        text: 'this server requires TLS; connect with TLS (osp --tls)',
      })
      assert.deepEqual([heard.ends, accepted], [[undefined], []])
    }))

  it('gives a client with TLS advice', async () => {
    await using listener = await tcp({ port: 0 }).listen(socketOptions())
    listener.start((socket) => {
      const heard = new EventRecorder()
      heard.fault = () => void socket.close(frameOf(1))
      socket.start(heard)
    })
    await assert.rejects(dial(listener), {
      code: 'unsupported-version',
      message: /^the server at 127\.0\.0\.1:\d+ does not use TLS; start it with TLS \(ospd serve --tls auto\), or, on/u,
    })
  })

  it('makes a server that disconnects unreachable', async () => {
    await using listener = await tcp({ port: 0 }).listen(socketOptions())
    listener.start((socket) => socket.destroy())
    await assert.rejects(dial(listener), {
      code: 'unreachable',
      message: /^cannot connect to 127\.0\.0\.1:\d+: the connection was reset/u,
    })
  })
})

spec('older versions of TLS', (it) => {
  it('of a client are rejected', () =>
    withDoor(async ({ listener, accepted }) => {
      const { host, port } = listener.address
      const old = connectTls({ host, port, maxVersion: 'TLSv1.2', rejectUnauthorized: false })
      const [error] = await once(old, 'error').catch((error: unknown) => [error])
      assert.match(String(error), /alert protocol version/u)
      assert.deepEqual(accepted, [])
    }))

  it('of a server are rejected by name', async () => {
    const server = createTlsServer({ ...own, maxVersion: 'TLSv1.2' }).listen(0, '127.0.0.1')
    server.on('tlsClientError', () => {})
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    const why = await tls({ port, ...pinned })
      .dial(socketOptions(), never())
      .catch((error: unknown) => error)
    assert.ok(why instanceof OspError)
    assert.deepEqual(
      [why.code, /does not support TLS 1\.3/u.test(why.message)],
      ['unsupported-version', true],
      why.message,
    )
    server.close()
  })
})
