import assert from 'node:assert/strict'
import { randomFillSync } from 'node:crypto'
import { getActiveResourcesInfo } from 'node:process'
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import { codeOf } from '../../lib/errors.ts'
import { defaultLimits, fixed, type Limits } from '../../lib/limits.ts'
import type { Platform } from '../../lib/ports/platform.ts'
import type { Socket, SocketEvents, Transport } from '../../lib/ports/socket.ts'
import type { WireMessage } from '../../lib/wire/message.ts'
import { healthyClient } from '../support/healthyClient.ts'
import { patterned } from '../support/memorySource.ts'
import { bytesOf, helloBytes, RawStream } from '../support/rawStream.ts'
import { manualPlatform, ServerRig } from '../support/serverRig.ts'
import { spec } from '../support/spec.ts'
import { turns } from '../support/turns.ts'

/** A transport whose listener reports when bytes have arrived at any of its sockets. */
interface Overheard extends Transport {
  /** Resolves the next time that bytes arrive. */
  next(): Promise<void>
}

function overheard(transport: Transport): Overheard {
  const waiting: (() => void)[] = []
  const tell = () => {
    for (const run of waiting.splice(0)) run()
  }
  return {
    next: () => new Promise((resolve) => waiting.push(resolve)),
    dial: (options, signal) => transport.dial(options, signal),
    async listen(options) {
      const listener = await transport.listen(options)
      return {
        address: listener.address,
        start: (accept) => listener.start((socket) => accept(telling(socket, tell))),
        close: () => listener.close(),
        [Symbol.asyncDispose]: () => listener.close(),
      }
    },
  }
}

function telling(socket: Socket, tell: () => void): Socket {
  const start = socket.start.bind(socket)
  socket.start = (to: SocketEvents) =>
    start({
      frame(frame) {
        to.frame(frame)
        tell()
      },
      begun(payloadBytes) {
        to.begun(payloadBytes)
        tell()
      },
      fault: (why) => to.fault(why),
      drained: () => to.drained(),
      closed: (why) => to.closed(why),
    })
  return socket
}

/** Node's platform, with a count of the pending alarms. */
function counting(): Platform & { readonly alarms: ReadonlySet<object> } {
  const platform = nodePlatform()
  const alarms = new Set<object>()
  const alarm = (atMs: number, run: () => void): Disposable => {
    const set = platform.clock.alarm(atMs, () => {
      alarms.delete(set)
      run()
    })
    alarms.add(set)
    return {
      [Symbol.dispose]() {
        alarms.delete(set)
        set[Symbol.dispose]()
      },
    }
  }
  return { ...platform, clock: { ...platform.clock, alarm }, alarms }
}

const connections = () => getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length

/**
 * Attacks a server on disk over TCP while a healthy client uploads files. Fails if the attack disturbs this client,
 * causes an error in the server, or leaves a link, an instance, a connection or an alarm behind. Resolves with the
 * codes that links were closed with, except those of the healthy client.
 */
async function underAttack(
  attack: (port: number, rig: ServerRig) => Promise<void>,
  limits: Partial<Limits> = {},
): Promise<readonly unknown[]> {
  const platform = counting()
  await using rig = await ServerRig.onDisk({ parkedMs: 1, ...limits }, { platform })
  const port = rig.server.addresses[0]?.port ?? 0
  // The server's own alarms, such as the one for the age limits.
  const alarms = platform.alarms.size
  {
    await using beside = healthyClient(port)
    await beside.undisturbed()
    await attack(port, rig)
    await beside.undisturbed()
    await turns(() => rig.server.status().links === 1)
    assert.deepEqual(rig.server.status().users, ['alice'])
  }
  assert.deepEqual(
    rig.log.filter(({ level }) => level === 'error'),
    [],
  )
  await turns(() => rig.server.status().links === 0 && connections() === 0 && platform.alarms.size === alarms)
  const { gauges, ...status } = rig.server.status()
  assert.deepEqual(status, { links: 0, users: [], online: [], uploads: [] })
  const left = Object.entries(gauges).filter(([name, value]) => value > 0 && !name.startsWith('remembered'))
  assert.deepEqual(left, [])
  return rig.log.filter(({ event, user }) => event === 'link-closed' && user !== 'alice').map(({ code }) => code)
}

const cancel: WireMessage<'CancelFileReq'> = { event: 'CancelFileReq', fileName: 'a' }
const maxFrame = defaultLimits.chunkBytes + 8

function announcing(length: number): Uint8Array {
  const header = new Uint8Array(20)
  new DataView(header.buffer).setUint32(0, length)
  return header
}

const damaged = (bytes: Buffer) => bytes.fill(bytes[19] === 0 ? 1 : 0, 19, 20)

spec('invalid bytes before HELLO', (it) => {
  const faults: readonly [string, Uint8Array, RegExp][] = [
    ['of another protocol', Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n'), /over the limit/u],
    ['of TLS', Buffer.from('16030100c8010000c40303000000000000000000000000', 'hex'), /over the limit/u],
    ['of zeros', new Uint8Array(1_000), /CRC/u],
    ['that announce 4 GiB', announcing(0xffff_ffff), /4294967295 bytes, over the limit of 4096/u],
    ['that announce one byte too many', announcing(4_097), /4097 bytes, over the limit of 4096/u],
    ['of a damaged HELLO_REQ', damaged(helloBytes()), /CRC/u],
  ]
  for (const [what, bytes, text] of faults) {
    it(`${what} end the link as malformed, and disturb no other client`, async () => {
      await underAttack(async (port) => {
        await using raw = await RawStream.connect(port)
        await raw.write(bytes)
        assert.match(await raw.dismissed('malformed'), text)
      })
    })
  }

  it('that end within a frame are forgotten', async () => {
    await underAttack(async (port) => {
      await using raw = await RawStream.connect(port)
      await raw.write(helloBytes().subarray(0, 25))
      raw.end()
      await raw.ended
    })
  })
})

spec('a logged-in link', (it) => {
  const faults: readonly [string, Uint8Array, RegExp][] = [
    ['sends invalid bytes', randomFillSync(new Uint8Array(100_000)).fill(0xee, 0, 4), /over the limit/u],
    ['announces 4 GiB', announcing(0xffff_ffff), /4294967295 bytes, over the limit of 2097160/u],
    ['announces one byte too many', announcing(maxFrame + 1), /2097161 bytes, over the limit of 2097160/u],
    ['uses another version', bytesOf(cancel, 2, 0, { version: 2 }), /version 2 after version 1/u],
    ['sends a damaged frame', damaged(bytesOf(cancel, 2)), /CRC/u],
    ['sends HELLO again', helloBytes('hostile', 'mallory', 2), /HelloReq arrived at the wrong time/u],
    ['sends an event of servers', bytesOf({ event: 'PostFileAck', progress: 1, durable: 1 }, 2), /only a server/u],
    ['sends a request of the daemon to an instance', bytesOf(cancel, 2, 3), /sent to instance 3/u],
    ['sends a request of instances to the daemon', bytesOf({ event: 'PauseFileReq' }, 2), /sent to instance 0/u],
  ]
  for (const [what, bytes, text] of faults) {
    it(`that ${what} is ended as malformed, and disturbs no other client`, async () => {
      const codes = await underAttack(async (port) => {
        await using raw = await RawStream.letIn(port)
        await raw.write(bytes)
        assert.match(await raw.dismissed('malformed'), text)
      })
      assert.deepEqual(codes, ['malformed'])
    })
  }

  it('that ends within a frame frees the instances of its uploads', async () => {
    const codes = await underAttack(async (port) => {
      await using raw = await RawStream.letIn(port)
      const upload = { fileName: 'a', size: 1_000, modifiedAt: 1, digest: 2 }
      await raw.write(bytesOf({ event: 'StartPostFileReq', ...upload }, 2))
      const { instance } = await raw.until('StartPostFileAck')
      const chunk: WireMessage = { event: 'PostFileReq', progress: 0, content: [patterned(1_000)] }
      await raw.write(bytesOf(chunk, 3, instance).subarray(0, 500))
      raw.end()
      await raw.ended
    })
    assert.deepEqual(codes, ['link-lost'])
  })

  it('that uses the instances of others, or nonexistent ones, gets instance-lost', async () => {
    await underAttack(async (port, rig) => {
      await using raw = await RawStream.letIn(port)
      let seq = 1
      const instances = [...rig.server.status().uploads.map(({ instance }) => instance), 1, 2, 3, 200, 201, 0xffff]
      for (const instance of instances) {
        const chunk: WireMessage = { event: 'PostFileReq', progress: 0, content: [patterned(100)] }
        for (const message of [
          chunk,
          { event: 'FileMd5Req', digest: patterned(32) },
          { event: 'PauseFileReq' },
        ] as const)
          await raw.write(bytesOf(message, ++seq, instance))
      }
      await raw.write(bytesOf({ event: 'PingReq' }, ++seq))
      await raw.until('PingAck')
      const nacks = raw.came.filter((message) => 'code' in message)
      assert.equal(nacks.length, 3 * instances.length)
      for (const nack of nacks) assert.equal(codeOf(nack.code), 'instance-lost')
      raw.end()
      await raw.ended
    })
  })

  it('that numbers its requests arbitrarily is answered, except for the number 0', async () => {
    await underAttack(async (port) => {
      await using raw = await RawStream.letIn(port)
      // The highest first: remembering it must not make the lower ones too old.
      const seqs = [0xffff_ffff, 7, 5, 7, 0xffff_ffff, 6]
      for (const [at, seq] of seqs.entries()) {
        await raw.write(bytesOf(cancel, seq))
        await raw.amount(1 + at + 1)
      }
      assert.equal(raw.came.filter(({ event }) => event === 'CancelFileAck').length, seqs.length)
      await raw.write(bytesOf(cancel, 0))
      await raw.dismissed('malformed')
    })
  })
})

spec('a link', (it) => {
  it('without a byte is ended when the time for HELLO has elapsed', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.onDisk({}, { platform })
    await using raw = await RawStream.connect(rig.server.addresses[0]?.port ?? 0)
    // This client has connected later.
    await rig.client()
    platform.clock.pass(defaultLimits.handshakeMs)
    assert.match(await raw.dismissed('timed-out'), /no HELLO_REQ arrived in time/u)
  })

  it('with a byte per second is ended when the time for HELLO has elapsed', async () => {
    const platform = manualPlatform()
    const listen = overheard(tcp({ port: 0 }))
    await using rig = await ServerRig.onDisk({}, { platform, listen })
    await using raw = await RawStream.connect(rig.server.addresses[0]?.port ?? 0)
    for (const byte of helloBytes().subarray(0, defaultLimits.handshakeMs / 1_000)) {
      const heard = listen.next()
      await raw.write(Uint8Array.of(byte))
      await heard
      platform.clock.pass(1_000)
    }
    await raw.dismissed('timed-out')
  })

  it('with a byte per second is ended when the time for its frame has elapsed', async () => {
    const platform = manualPlatform()
    const listen = overheard(tcp({ port: 0 }))
    await using rig = await ServerRig.onDisk({}, { platform, listen })
    await using raw = await RawStream.letIn(rig.server.addresses[0]?.port ?? 0)
    const frame = bytesOf({ event: 'CancelFileReq', fileName: 'a'.repeat(1_000) }, 2)
    const { keepAliveMs } = defaultLimits
    const seconds = Math.ceil((2 + fixed.reprieve) * (keepAliveMs / 1_000) + 1)
    for (const byte of frame.subarray(0, seconds)) {
      const heard = listen.next()
      await raw.write(Uint8Array.of(byte))
      await heard
      platform.clock.pass(1_000)
    }
    assert.match(await raw.dismissed('timed-out'), /did not complete a frame in time/u)
    assert.equal(rig.server.status().links, 0)
  })
})
