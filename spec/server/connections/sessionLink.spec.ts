import assert from 'node:assert/strict'
import { defaultLimits, fixed, KiB } from '../../../lib/limits.ts'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import type { RawClient } from '../../support/rawClient.ts'
import { manualPlatform, ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { pass } from '../../support/turn.ts'

const file = { name: 'a', bytes: patterned(10) }

spec('a link', (it) => {
  it('takes no payload over 4 KiB before HELLO', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.dial()
    client.send('PingReq', {}, 0, { payload: [new Uint8Array(4 * KiB + 1)] })
    await client.dismissed('malformed')
  })

  it('takes none over maxFrame afterwards', async () => {
    await using rig = await ServerRig.start()
    const { raw } = await rig.client()
    raw.send('CancelFileReq', { fileName: 'a' }, 0, { payload: [new Uint8Array(defaultLimits.chunkBytes + 8 + 1)] })
    await raw.dismissed('malformed')
  })

  it('takes the largest chunk', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { chunkBytes } = defaultLimits
    const bytes = patterned(chunkBytes)
    const { instance, chunk } = await client.start({ name: 'a', bytes })
    assert.equal(chunk, chunkBytes)
    assert.equal((await client.chunk(instance, 0, bytes)).progress, chunkBytes)
  })

  const wrong: readonly [string, (client: RawClient) => void][] = [
    ['an unknown event', (client) => client.send('PingReq', {}, 0, { event: 999 })],
    ['an unknown app', (client) => client.send('PingReq', {}, 0, { app: 77 })],
    ['a payload that is too short', (client) => client.send('CancelFileReq', { fileName: 'a' }, 0, { payload: [] })],
    ['a request without a seq', (client) => client.send('CancelFileReq', { fileName: 'a' }, 0, { seq: 0 })],
    ['a request to the daemon at an instance', (client) => client.send('CancelFileReq', { fileName: 'a' }, 5)],
    ['a request to an instance at the daemon', (client) => client.send('PauseFileReq', {}, 0)],
    ['a reply that a server gives', (client) => client.send('PostFileAck', { progress: 0, durable: 0 })],
  ]
  for (const [what, send] of wrong) {
    it(`ends on ${what}`, async () => {
      await using rig = await ServerRig.start()
      const { raw } = await rig.client()
      send(raw)
      await raw.dismissed('malformed')
    })
  }

  it('ends after two silent keep-alive intervals, and receives a ping before', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.start({}, { platform })
    const { raw } = await rig.client()
    await pass(platform.clock, defaultLimits.keepAliveMs)
    await raw.expect('PingReq')
    await pass(platform.clock, defaultLimits.keepAliveMs)
    await pass(platform.clock, fixed.reprieve * defaultLimits.keepAliveMs)
    while (raw.unread[0] === 'PingReq') await raw.next()
    await raw.dismissed('timed-out')
    assert.equal(rig.server.status().links, 0)
  })

  it('answers a PING_REQ', async () => {
    await using rig = await ServerRig.start()
    const { raw } = await rig.client()
    const seq = raw.send('PingReq', {})
    await raw.expect('PingAck')
    assert.equal(raw.last?.seq, seq)
  })

  it('that repeats a request gets the same reply, and the request runs once', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    const seq = client.raw.last?.seq ?? 0
    const { name: fileName, bytes } = file
    const fields = { fileName, size: bytes.length, modifiedAt: 1_000, digest: 2 }
    client.raw.send('StartPostFileReq', fields, 0, { seq, flags: 1 })
    assert.equal((await client.raw.expect('StartPostFileAck')).instance, instance)
    assert.equal((await client.chunk(instance, 0, bytes)).progress, bytes.length)
    await client.end(instance, sha256(bytes))
  })
})
