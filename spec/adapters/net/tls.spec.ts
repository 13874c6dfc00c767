import assert from 'node:assert/strict'
import { connect as connectTcp, Socket as RawSocket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { Duplex } from 'node:stream'
import { connect, TLSSocket } from 'node:tls'
import { directSecureStream } from '../../../lib/adapters/net/directSocket.ts'
import type { SeenServer } from '../../../lib/adapters/net/tls/dialling.ts'
import { fingerprintOf } from '../../../lib/adapters/net/tls/identity.ts'
import { type TlsOptions, tls } from '../../../lib/adapters/net/tls.ts'
import { OspError } from '../../../lib/errors.ts'
import type { Socket } from '../../../lib/ports/socket.ts'
import { bytesOf, EventRecorder, frameOf, HeldClock, socketOptions } from '../../../lib/testing/transport/ends.ts'
import { encodeFrame } from '../../../lib/wire/frame.ts'
import { authority } from '../../support/authority.ts'
import { selfSigned } from '../../support/selfSigned.ts'
import { spec } from '../../support/spec.ts'
import { assertReused } from './reusedMemory.ts'

const root = authority()
const own = selfSigned()
const forHere = root.issue({ hosts: ['localhost'] })
const never = () => new AbortController().signal

interface Attempt {
  readonly server?: Partial<TlsOptions>
  readonly client: Partial<TlsOptions>
  readonly signal?: AbortSignal
}

/** Connects a client to a server, and lets `use` have both ends. */
async function withLink(
  { server = forHere, client, signal = never() }: Attempt,
  use: (near: Socket, far: Socket) => Promise<void> | void = () => {},
): Promise<void> {
  await using listener = await tls({ port: 0, ...server }).listen(socketOptions())
  const accepted = new Promise<Socket>((resolve) => listener.start(resolve))
  const near = await tls({ host: 'localhost', port: listener.address.port, ...client }).dial(socketOptions(), signal)
  const far = await accepted
  try {
    await use(near, far)
  } finally {
    near.destroy()
    far.destroy()
    await Promise.all([near.close(), far.close()])
  }
}

/** Why a client does not go on with a server, which has heard nothing of it then but that it went away. */
async function refused({ server = forHere, client, signal = never() }: Attempt): Promise<OspError> {
  const clock = new HeldClock()
  const options = { ...socketOptions({ clock }), handshakeMs: 10_000 }
  await using listener = await tls({ port: 0, ...server }).listen(options)
  const heards: EventRecorder[] = []
  listener.start((far) => {
    const heard = new EventRecorder()
    heards.push(heard)
    far.start(heard)
  })
  const dialled = tls({ host: 'localhost', port: listener.address.port, ...client }).dial(socketOptions(), signal)
  const why = await dialled.then(
    () => assert.fail('it went on'),
    (error: unknown) => error,
  )
  // It may go before its side of the handshake has left.
  while (clock.set.length > 0) await new Promise(setImmediate)
  await Promise.all(heards.map((heard) => heard.times('closed')))
  for (const { order } of heards) assert.deepEqual(order, ['closed'])
  assert.ok(why instanceof OspError, String(why))
  return why
}

spec('a server of TLS', (it) => {
  it('is trusted if its certificate has a given root and is for the host', () =>
    withLink({ client: { ca: root.cert } }, (near, far) => {
      assert.deepEqual([near.guarded, far.guarded], [true, true])
    }))

  it('sends frames for many links and others in order to a client that reads late', () =>
    withLink({ client: { ca: root.cert } }, async (near, far) => {
      const heard = new EventRecorder()
      const seqs: number[] = []
      for (let seq = 0, isFull = false; seq < 10_000 && !isFull; seq++) {
        const frame = frameOf(seq, bytesOf(3_000))
        isFull = !far.send(seq % 3 === 0 ? frame : { ...frame, shared: {} })
        seqs.push(seq)
        if (seq % 4 === 0) await new Promise((resolve) => setImmediate(resolve))
      }
      assert.ok(seqs.length < 10_000)
      near.start(heard)
      await heard.times('frame', seqs.length)
      assert.deepEqual(heard.seqs, seqs)
    }))

  it('sees a reset when its client destroys the link, and receives nothing of it later', () =>
    withLink({ client: { ca: root.cert } }, async (near, far) => {
      const [here, there] = [new EventRecorder(), new EventRecorder()]
      near.start(here)
      far.start(there)
      near.send(frameOf(1))
      await there.times('frame')
      far.send(frameOf(2))
      await here.times('frame')
      near.destroy()
      await there.times('closed')
      assert.match(there.ends[0]?.message ?? '', /ECONNRESET/u)
    }))

  it('whose certificate has no known root is rejected by name, and receives nothing', async () => {
    const why = await refused({ client: {} })
    assert.equal(why.code, 'unauthorized')
    assert.match(
      why.message,
      /^the server at localhost:\d+ is not trusted: .+ \(its key is SHA256:\S{43}\); specify the auth/u,
    )
  })

  const zone = Object.entries(networkInterfaces()).find(([, all]) => all?.some(({ address }) => address === '::1'))?.[0]
  if (zone === undefined) it.skip('at an address with a zone', 'this machine has no ::1')
  else {
    it('at an address with a zone is trusted by a certificate for the address without it', () => {
      const forAddress = root.issue({ hosts: ['::1'] })
      return withLink({ server: { ...forAddress, host: '::1' }, client: { ca: root.cert, host: `::1%${zone}` } })
    })
  }

  it('whose certificate is for another host is rejected', async () => {
    const why = await refused({ server: root.issue({ hosts: ['elsewhere.example'] }), client: { ca: root.cert } })
    assert.equal(why.code, 'unauthorized')
    assert.match(why.message, /localhost/u)
  })

  it('whose certificate has expired is rejected', async () => {
    const expired = root.issue({ hosts: ['localhost'], notAfter: '200101000000Z' })
    const why = await refused({ server: expired, client: { ca: root.cert } })
    assert.match(why.message, /is not trusted: .*CERT_HAS_EXPIRED/u)
  })

  it('is passed to the trust function before anything is sent', async () => {
    const seen: SeenServer[] = []
    const trust = (server: SeenServer) => void seen.push(server)
    await withLink({ server: own, client: { trust } })
    await withLink({ server: own, client: { trust, ca: own.cert } })
    const [stranger, known] = seen
    assert.deepEqual(
      { host: stranger?.host, verified: stranger?.verified, fingerprint: stranger?.fingerprint },
      { host: 'localhost', verified: false, fingerprint: fingerprintOf(own.cert) },
    )
    assert.match(stranger?.why ?? '', /SELF_SIGNED/u)
    assert.deepEqual([known?.verified, known?.why], [true, undefined])
  })

  it('that a client rejects receives nothing', async () => {
    const trust = async () => {
      throw new OspError('unauthorized', 'not this one')
    }
    const why = await refused({ client: { trust } })
    assert.equal(why.message, 'not this one')
  })

  it('can be abandoned while the trust function runs', async () => {
    const abort = new AbortController()
    const trust = () => new Promise<void>(() => abort.abort())
    const why = await refused({ client: { trust }, signal: abort.signal })
    assert.equal(why.code, 'closed')
  })

  it('loses no frames that it sends while the trust function runs', async () => {
    await using listener = await tls({ port: 0, ...own }).listen(socketOptions())
    const gone = new Promise<void>((resolve) => {
      listener.start((far) => {
        far.send(frameOf(7))
        void far.close().then(resolve)
      })
    })
    const trust = async () => {
      await new Promise((resolve) => setImmediate(resolve))
    }
    const near = await tls({ ...listener.address, trust }).dial(socketOptions(), never())
    const heard = new EventRecorder()
    near.start(heard)
    await heard.times('closed')
    await gone
    assert.deepEqual(heard.seqs, [7])
  })
})

spec('frames over TLS', (it) => {
  it('that arrive together with the end of the handshake are reported after the start', async () => {
    const options = socketOptions()
    await using listener = await tls({ port: 0, ...own }).listen(options)
    const accepted = new Promise<Socket>((resolve) => listener.start(resolve))
    const tcp = connectTcp(listener.address.port, '127.0.0.1').on('data', (bytes) => gathering.push(bytes))
    const gathered: Uint8Array[] = []
    const gathering = new Duplex({
      read() {},
      write(bytes: Uint8Array, _encoding, done) {
        gathered.push(bytes)
        setTimeout(() => tcp.write(Buffer.concat(gathered.splice(0))), 20)
        done()
      },
    })
    const raw = connect({ socket: gathering, rejectUnauthorized: false })
    const frames = [1, 2, 3].map((seq) => frameOf(seq, bytesOf(9, seq)))
    raw.write(Buffer.concat(frames.flatMap((frame) => encodeFrame(frame, options.platform.crc32))))
    const far = await accepted
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
    const heard = new EventRecorder()
    far.start(heard)
    await heard.times('frame', 3)
    for (const [at, { seq, payload }] of heard.frames.entries()) {
      assert.equal(seq, at + 1)
      assert.deepEqual(Buffer.concat(payload), Buffer.from(bytesOf(9, seq)))
    }
    tcp.destroy()
    far.destroy()
    await far.close()
  })

  it('with file content are received by both sides in one piece, in memory that is used again', () =>
    withLink({ client: { ca: root.cert } }, async (near, far) => {
      await assertReused(near, far)
      await assertReused(far, near)
    }))

  it('can be received if the handle of the stream cannot read into a given buffer', () => {
    const stream = new TLSSocket(new RawSocket())
    assert.equal(directSecureStream(stream, new Uint8Array(1))?.stream, stream)
    Object.assign((stream as unknown as { _handle: object })._handle, { useUserBuffer: undefined })
    assert.equal(directSecureStream(stream, new Uint8Array(1)), undefined)
    stream.destroy()
  })
})

spec('a client of TLS', (it) => {
  const nameOf = async (
    client: Partial<TlsOptions>,
    server: Partial<TlsOptions> = { ...forHere, clientCa: root.cert },
  ) => {
    let name: string | undefined
    await withLink({ server, client: { ca: root.cert, ...client } }, (_near, far) => {
      name = far.peer.certificateName
    })
    return name
  }

  it('has the common name of its certificate if that is signed by the given authority', async () => {
    assert.equal(await nameOf(root.issue({ names: ['alice'] })), 'alice')
  })

  it('without a certificate is accepted without a name', async () => {
    assert.equal(await nameOf({}), undefined)
  })

  for (const [which, identity] of [
    ['of another authority', authority().issue({ names: ['alice'] })],
    ['of another authority with the same name', authority('a root').issue({ names: ['alice'] })],
    ['that is self-signed', own],
    ['that has expired', root.issue({ names: ['alice'], notAfter: '200101000000Z' })],
    ['with two names', root.issue({ names: ['alice', 'bob'] })],
    ['without a name', root.issue({ names: [] })],
  ] as const) {
    it(`with a certificate ${which} has no name`, async () => {
      assert.equal(await nameOf(identity), undefined)
    })
  }

  it('has no name at a server that requests no certificate', async () => {
    assert.equal(await nameOf(root.issue({ names: ['alice'] }), forHere), undefined)
  })
})

spec('the certificate of a server', (it) => {
  it('can be renewed: new connections use it, and existing links continue', async () => {
    const transport = tls({ port: 0, ...own })
    await using listener = await transport.listen(socketOptions())
    const [sockets, heard]: [Socket[], EventRecorder] = [[], new EventRecorder()]
    listener.start((far) => {
      sockets.push(far)
      far.start(heard)
    })
    const seen: string[] = []
    const trust = ({ fingerprint }: SeenServer) => void seen.push(fingerprint)
    const dial = async () => {
      const near = await tls({ ...listener.address, trust }).dial(socketOptions(), never())
      sockets.push(near)
      return near
    }
    const first = await dial()
    const next = selfSigned()
    transport.setSecureContext(next)
    await dial()
    assert.throws(() => transport.setSecureContext({ ...next, key: own.key }), { code: 'usage' })
    await dial()
    const [before, after] = [fingerprintOf(own.cert), fingerprintOf(next.cert)]
    assert.deepEqual(seen, [before, after, after])
    first.send(frameOf(3))
    await heard.times('frame')
    for (const socket of sockets) socket.destroy()
    await Promise.all(sockets.map((socket) => socket.close()))
  })

  it('can be renewed together with the authority of its clients', async () => {
    const transport = tls({ port: 0, ...forHere })
    await using listener = await transport.listen(socketOptions())
    transport.setSecureContext({ ...forHere, clientCa: root.cert })
    const accepted = new Promise<Socket>((resolve) => listener.start(resolve))
    const client = {
      port: listener.address.port,
      host: 'localhost',
      ca: root.cert,
      ...root.issue({ names: ['alice'] }),
    }
    const near = await tls(client).dial(socketOptions(), never())
    const far = await accepted
    assert.equal(far.peer.certificateName, 'alice')
    near.destroy()
    await far.close()
  })

  it('is required before it listens', () =>
    assert.rejects(tls({ port: 0 }).listen(socketOptions()), { code: 'usage', message: /requires a certificate/u }))
})
