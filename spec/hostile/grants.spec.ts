import assert from 'node:assert/strict'
import { connectClient } from '../../lib/client/runningClient.ts'
import { clientLimits } from '../../lib/limits.ts'
import type { WireMessage } from '../../lib/wire/message.ts'
import { granted, hostileServer, welcome } from '../support/hostileServer.ts'
import { manualClockClient, waitForEnd } from '../support/manualClockClient.ts'
import { memorySource, patterned } from '../support/memorySource.ts'
import { spec } from '../support/spec.ts'

const size = 50_000
const source = (name = 'a') => memorySource(name, patterned(size))

spec('a HELLO_ACK', (it) => {
  const nonsense: readonly [string, Partial<WireMessage<'HelloAck'>>, RegExp][] = [
    ['of a version that was not offered', { version: 9 }, /version 9/u],
    ['with frames of 0 bytes', { maxFrame: 0 }, /payloads of up to 0 bytes/u],
    ['with a keep-alive interval of 0 ms', { keepAlive: 0 }, /keep-alive interval is 0 ms/u],
    ['with a keep-alive interval of weeks', { keepAlive: 0xffff_ffff }, /keep-alive interval is 4294967295 ms/u],
    ['with no uploads', { maxUploads: 0 }, /accepts no uploads/u],
  ]
  for (const [what, change, message] of nonsense) {
    it(`${what} is refused with a message that says so`, async () => {
      await using server = await hostileServer(({ message: { event }, reply }) => {
        if (event === 'HelloReq') reply({ ...welcome, ...change })
        return false
      })
      const client = server.client()
      await assert.rejects(client.online(), { code: 'malformed', message })
      const upload = await client.upload(source())
      await assert.rejects(upload.done, { code: 'malformed', message })
    })
  }

  it('that never arrives is awaited for the time of a handshake', async () => {
    const { clock, options } = manualClockClient(0)
    let heard: () => void = () => {}
    const said = new Promise<void>((resolve) => {
      heard = resolve
    })
    await using server = await hostileServer(() => {
      heard()
      return false
    })
    const online = assert.rejects(server.client(options).online(), { code: 'timed-out' })
    await said
    clock.pass(clientLimits.handshakeMs)
    await online
    assert.deepEqual(clock.set, [])
  })

  it('that never arrives is not requested in a busy loop', async () => {
    const { clock, options } = manualClockClient(10 * 60_000)
    await using server = await hostileServer(({ stream }) => {
      stream.destroy()
      return false
    })
    const client = server.client(options)
    const upload = await client.upload(source())
    await waitForEnd(client, upload, clock)
    await assert.rejects(upload.done, { code: 'link-lost' })
    assert.ok(server.dialled < 60, `${server.dialled} tries in ten minutes`)
  })

  it('that is refused leaves nothing open', async () => {
    await using server = await hostileServer(({ reply }) => {
      reply({ ...welcome, version: 2 })
      return false
    })
    const { clock, options } = manualClockClient(0)
    await assert.rejects(connectClient({ to: server.to, user: 'alice', software: 'spec', ...options }), {
      code: 'malformed',
    })
    assert.deepEqual(clock.set, [])
  })
})

spec('an ACK of START or CONTINUE', (it) => {
  const nonsense: readonly [string, Partial<WireMessage<'ContinuePostFileAck'>>, RegExp][] = [
    ['without an instance', { instance: 0 }, /assigned no instance/u],
    ['with chunks of 0 bytes', { chunk: 0 }, /a window of 0 bytes/u],
    ['with a window of 0 bytes', { window: 0 }, /a window of 0 bytes/u],
    ['with a progress beyond the end', { progress: size + 1 }, /more progress than the file has bytes/u],
  ]
  for (const [what, change, message] of nonsense) {
    it(`${what} ends this upload, and no other`, async () => {
      await using server = await hostileServer(({ message, reply }) => {
        if (message.event !== 'ContinuePostFileReq' || message.fileName !== 'bad') return true
        reply({ ...granted, ...change })
        return false
      })
      const client = server.client()
      const [bad, good] = [await client.upload(source('bad')), await client.upload(source('good'))]
      await assert.rejects(bad.done, { code: 'malformed', message })
      await good.done
    })
  }

  it('with chunks longer than the frames leads to chunks that fit', async () => {
    const longest: number[] = []
    await using server = await hostileServer(({ message: { event }, frame, reply }) => {
      if (event === 'HelloReq') reply({ ...welcome, maxFrame: 5_000 })
      else if (event === 'ContinuePostFileReq') reply({ ...granted, chunk: 0xffff_ffff, window: 0xffff_ffff })
      else {
        longest.push(frame.payload.reduce((total, part) => total + part.length, 0))
        return true
      }
      return false
    })
    await (await server.client().upload(source())).done
    assert.equal(Math.max(...longest), 5_000)
  })

  it('with a huge window for tiny chunks leads to a bounded number of them', async () => {
    let full: () => void = () => {}
    const filled = new Promise<void>((resolve) => {
      full = resolve
    })
    await using server = await hostileServer(({ message: { event }, reply, say }) => {
      if (event === 'ContinuePostFileReq') reply({ ...granted, chunk: 1, window: 0xffff_ffff })
      else if (event === 'PostFileReq') {
        // Sent after the chunk that must be the last: a further one would arrive before the answer.
        if (server.count('PostFileReq') === clientLimits.unansweredChunks)
          setImmediate(() => say({ event: 'PingReq' }, 1))
      } else if (event === 'PingAck') full()
      else return true
      return false
    })
    await server.client().upload(source())
    await filled
    assert.equal(server.count('PostFileReq'), clientLimits.unansweredChunks)
  })
})
