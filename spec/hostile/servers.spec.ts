import assert from 'node:assert/strict'
import { clientLimits, fixed } from '../../lib/limits.ts'
import type { WireMessage } from '../../lib/wire/message.ts'
import { type Act, hostileServer, nack, welcome } from '../support/hostileServer.ts'
import { manualClockClient, waitForEnd } from '../support/manualClockClient.ts'
import { memorySource, patterned } from '../support/memorySource.ts'
import { bytesOf } from '../support/rawStream.ts'
import { spec } from '../support/spec.ts'
import { until } from '../support/until.ts'

const size = 50_000
const source = (name = 'a') => memorySource(name, patterned(size))

spec('a reply to a chunk', (it) => {
  it('with a progress beyond the end ends the upload', async () => {
    await using server = await hostileServer(({ message: { event }, reply }) => {
      if (event === 'PostFileReq') reply({ event: 'PostFileAck', progress: size + 1, durable: 0 })
      return event !== 'PostFileReq' && event !== 'FileMd5Req'
    })
    const upload = await server.client().upload(source())
    await assert.rejects(upload.done, { code: 'malformed', message: /more progress than the file has bytes/u })
    assert.ok(upload.progress.acknowledged <= size)
  })

  it('with a progress beyond what was sent is accepted: the digest of the file is decisive', async () => {
    await using server = await hostileServer(({ message: { event }, reply }) => {
      if (event !== 'PostFileReq') return true
      reply({ event: 'PostFileAck', progress: size, durable: size })
      return false
    })
    const { digest } = await (await server.client().upload(source())).done
    assert.equal(digest.length, 64)
  })

  const loops: readonly [string, Act][] = [
    [
      'that always reports the same progress',
      ({ message: { event }, reply }) => {
        if (event === 'PostFileReq') reply({ event: 'PostFileAck', progress: 10, durable: 0 })
        return event !== 'PostFileReq' && event !== 'FileMd5Req'
      },
    ],
    [
      'that finally revokes its acknowledgements',
      ({ message: { event }, reply }) => {
        if (event !== 'FileMd5Req') return true
        reply(nack('FileMd5Nack', 'wrong-offset', { progress: 0 }))
        return false
      },
    ],
    [
      'that lacks no byte and refuses the end nevertheless',
      ({ message: { event }, reply }) => {
        if (event !== 'FileMd5Req') return true
        reply(nack('FileMd5Nack', 'wrong-offset', { progress: size }))
        return false
      },
    ],
  ]
  for (const [what, act] of loops) {
    it(`${what} is given up after the time for refusals, with few requests until then`, async () => {
      const { clock, options } = manualClockClient(60_000)
      await using server = await hostileServer(act)
      const client = server.client(options)
      const upload = await client.upload(source())
      await waitForEnd(client, upload, clock)
      await assert.rejects(upload.done, { code: 'wrong-offset', message: /stays at \d+ of 50000 bytes/u })
      const tries = server.count('ContinuePostFileReq')
      assert.ok(tries > 3 && tries < 30, `${tries} tries in a minute`)
      assert.ok(server.count('PostFileReq') <= tries * (clientLimits.setbacks + 1) * (size / 10_000 + 1))
      assert.ok(server.count('FileMd5Req') <= tries * (clientLimits.setbacks + 1))
    })
  }
})

spec('endless refusals', (it) => {
  for (const code of ['no-idle-instance', 'file-busy', 'internal', 'disk-full', 'instance-lost'] as const) {
    it(`by ${code} are given up after the time for refusals, with few requests until then`, async () => {
      const { clock, options } = manualClockClient(10 * 60_000)
      await using server = await hostileServer(({ message: { event }, reply }) => {
        if (event === 'PostFileReq') reply(nack('PostFileNack', code))
        return event !== 'PostFileReq' && event !== 'FileMd5Req'
      })
      const client = server.client(options)
      const upload = await client.upload(source())
      await waitForEnd(client, upload, clock)
      await assert.rejects(upload.done, { code })
      const tries = server.count('ContinuePostFileReq')
      assert.ok(tries > 5 && tries < 100, `${tries} tries in ten minutes`)
    })
  }

  it('by digest-mismatch are given up after a few tries', async () => {
    await using server = await hostileServer(({ message: { event }, reply }) => {
      if (event !== 'FileMd5Req') return true
      reply(nack('FileMd5Nack', 'digest-mismatch'))
      return false
    })
    const upload = await server.client().upload(source())
    await assert.rejects(upload.done, { code: 'digest-mismatch' })
    assert.equal(server.count('FileMd5Req'), clientLimits.digestTries + 1)
  })
})

spec('a server', (it) => {
  it('that sends unsolicited frames is ignored', async () => {
    await using server = await hostileServer(({ message: { event }, say }) => {
      if (event === 'PostFileReq') {
        for (let seq = 1_000; seq < 3_000; seq++) say({ event: 'PostFileAck', progress: 7, durable: 7 }, seq, 77)
        say(nack('FileMd5Nack', 'cancelled'), 0xffff_ffff)
        say({ event: 'RegistListNtf', listVersion: 1, kind: 0, members: [] }, 0)
      }
      return true
    })
    await (await server.client().upload(source())).done
  })

  it('that answers with another instance than the requested one is matched by the seq', async () => {
    await using server = await hostileServer(({ message, reply }) => {
      if (message.event !== 'PostFileReq') return true
      const progress = message.progress + message.content.reduce((total, part) => total + part.length, 0)
      reply({ event: 'PostFileAck', progress, durable: 0 }, { instance: 4_711 })
      return false
    })
    await (await server.client().upload(source())).done
  })

  const faults: readonly [string, Uint8Array | WireMessage, RegExp][] = [
    ['announces more than 2 MiB', new Uint8Array(20).fill(0x7f), /over the limit of 2097152/u],
    ['announces one byte too many', announcing(fixed.clientFrameBytes + 1), /2097153 bytes, over the limit/u],
    ['sends damaged frames', bytesOf({ event: 'PingReq' }).fill(1, 16), /CRC/u],
    ['uses another version', bytesOf({ event: 'PingReq' }, 1, 0, { version: 7 }), /version 7/u],
    ['sends an unknown event', bytesOf({ event: 'PingReq' }, 1, 0, { event: 999 }), /no event 999/u],
    ['sends a request of clients', { event: 'PauseFileReq' }, /only a client sends PauseFileReq/u],
    ['delivers a message without a registration', delivery(), /violates the protocol/u],
    ['sends half a frame and ends', bytesOf({ event: 'PingReq' }).subarray(0, 9), /ended within a frame/u],
  ]
  for (const [what, says, message] of faults) {
    it(`that ${what} loses the link, and the client waits with an error message`, async () => {
      await using server = await hostileServer(({ message: { event }, write, stream }) => {
        if (event !== 'ContinuePostFileReq') return true
        write(says instanceof Uint8Array ? says : bytesOf(says, 1, says.event === 'PauseFileReq' ? 1 : 0))
        if (says instanceof Uint8Array && says.length < 20) stream.end()
        return false
      })
      const client = server.client({ retryForMs: 1e9 })
      const seen = new Promise<[string, string]>((resolve) => {
        client.on('status', (status, why) => status === 'waiting' && resolve([why?.code ?? '', why?.message ?? '']))
      })
      await client.upload(source())
      const [code, text] = await seen
      assert.equal(code, text.includes('ended within') ? 'link-lost' : 'malformed')
      assert.match(text, message)
    })
  }

  const breaches: readonly [string, string, Act][] = [
    [
      'violates the protocol',
      'malformed',
      ({ message: { event }, write }) => {
        if (event !== 'PostFileReq') return true
        write(bytesOf({ event: 'PingReq' }).fill(1, 16))
        return false
      },
    ],
    [
      'cuts the link',
      'link-lost',
      ({ message: { event }, stream }) => {
        if (event === 'HelloReq') return true
        stream.destroy()
        return false
      },
    ],
  ]
  for (const [what, code, act] of breaches) {
    it(`that accepts the client repeatedly and then ${what} is given up after the time for an unreachable one`, async () => {
      const { clock, options } = manualClockClient(60_000)
      await using server = await hostileServer(act)
      const client = server.client(options)
      let given: string | undefined
      client.on('status', (status, why) => {
        if (status === 'refused') given = why?.code
      })
      await client.upload(source())
      while (given === undefined) {
        await until(client, 'status', () => client.status !== 'connecting' && client.status !== 'online')
        if (client.status === 'waiting') clock.pass(1_000)
        await new Promise((resolve) => setImmediate(resolve))
      }
      assert.equal(given, code)
      assert.ok(server.dialled > 2 && server.dialled < 100, `${server.dialled} links`)
    })
  }

  it('that falls silent is given up after two keep-alive intervals', async () => {
    const { clock, options } = manualClockClient(1e9)
    let asked: () => void = () => {}
    const silent = new Promise<void>((resolve) => {
      asked = resolve
    })
    await using server = await hostileServer(({ message: { event }, reply }) => {
      if (event === 'HelloReq') reply({ ...welcome, keepAlive: 10_000 })
      if (event === 'ContinuePostFileReq') asked()
      return false
    })
    const client = server.client(options)
    const seen = new Promise<string | undefined>((resolve) => {
      client.on('status', (status, why) => status === 'waiting' && resolve(why?.code))
    })
    await client.upload(source())
    await silent
    for (let seconds = 0; seconds < 22; seconds++) clock.pass(1_000)
    assert.equal(await seen, 'timed-out')
  })

  it('cannot control the terminal of a user who reads its messages', async () => {
    const text = '\u001b]0;owned\u0007no\u202e\u009b2Jway\r\n'
    await using server = await hostileServer(({ message: { event }, reply }) => {
      if (event !== 'HelloReq') return true
      reply(nack('HelloNack', 'unauthorized', { text }))
      return false
    })
    await assert.rejects(server.client().online(), { code: 'unauthorized', message: ']0;owned no  2Jway' })
  })

  it('cannot give a stored file an arbitrary name', async () => {
    await using server = await hostileServer(({ message: { event }, reply }) => {
      if (event !== 'FileMd5Req') return true
      reply({ event: 'FileMd5Ack', storedName: '../\u001b[2J', replaced: 0 })
      return false
    })
    const upload = await server.client().upload(source())
    await assert.rejects(upload.done, { code: 'malformed', message: /the name of the stored file/u })
  })
})

function announcing(length: number): Uint8Array {
  const header = new Uint8Array(20)
  new DataView(header.buffer).setUint32(0, length)
  return header
}

function delivery(): WireMessage {
  const message = { messageId: new Uint8Array(16), mailboxSeq: 1, sender: 'bob', sentAt: 1, body: new Uint8Array(3) }
  return { event: 'DeliverMsgReq', attempt: 1, messages: [message] }
}
