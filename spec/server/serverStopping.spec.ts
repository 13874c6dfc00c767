import assert from 'node:assert/strict'
import { MiB } from '../../lib/limits.ts'
import { sha256 } from '../support/fileClient.ts'
import { patterned } from '../support/memorySource.ts'
import { manualPlatform, ServerRig } from '../support/serverRig.ts'
import { spec } from '../support/spec.ts'
import { turn } from '../support/turn.ts'

const bytes = patterned(1_000)
const file = { name: 'a', bytes }
const piece = (from: number, to: number) => bytes.subarray(from, to)

spec('a server that is closed', (it) => {
  it('sends GOODBYE with the time to come back, also before HELLO', async () => {
    await using rig = await ServerRig.start({ retryAfterMs: 600 })
    const silent = await rig.dial()
    const { raw } = await rig.client()
    await turn()
    const closed = rig.server.close()
    assert.equal((await raw.dismissed('shutting-down')).retryAfter, 600)
    await silent.dismissed('shutting-down')
    await closed
  })

  for (const where of ['memory', 'disk'] as const) {
    it(`on ${where} keeps exactly the acknowledged bytes, and CONTINUE resumes there`, async () => {
      await using rig = await (where === 'disk' ? ServerRig.onDisk() : ServerRig.start())
      const client = await rig.client()
      const { instance } = await client.start(file)
      const { progress: acknowledged } = await client.chunk(instance, 0, piece(0, 777))
      await rig.server.close()
      await rig.restart()
      const again = await rig.client()
      const { progress, checkpoint, checkpointDigest, ...granted } = await again.continue(file)
      assert.deepEqual([progress, checkpoint], [acknowledged, acknowledged])
      assert.deepEqual(Buffer.from(checkpointDigest), sha256(piece(0, 777)))
      await again.chunk(granted.instance, 777, piece(777, 1_000))
      await again.end(granted.instance, sha256(bytes))
      await rig.assertStored('a', bytes)
    })
  }

  it('keeps the bytes of a parked upload', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 400))
    await client.vanish()
    await rig.server.close()
    await rig.restart()
    assert.equal((await (await rig.client()).continue(file)).progress, 400)
  })

  it('completes a FILE_MD5_REQ that is in progress', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, bytes)
    const publish = rig.storage.hold('publish')
    client.sendEnd(instance, sha256(bytes))
    await publish.reached
    const closed = rig.server.close()
    await client.raw.dismissed('shutting-down')
    publish.go()
    await closed
    await rig.assertStored('a', bytes)
    await rig.restart()
    assert.equal((await (await rig.client()).continue(file)).progress, 1_000)
  })

  it('completes an opening that is in progress', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const claim = rig.storage.hold('claim')
    client.sendStart(file)
    await claim.reached
    const closed = rig.server.close()
    claim.go()
    await closed
    assert.equal(rig.storage.partials, 0)
  })

  it('does not start waiting requests', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    const write = rig.storage.hold('write')
    client.sendChunk(instance, 0, piece(0, 400))
    await write.reached
    client.sendChunk(instance, 400, piece(400, 1_000))
    client.sendEnd(instance, sha256(bytes))
    client.sendStart({ name: 'b', bytes })
    await turn()
    const closed = rig.server.close()
    write.go()
    await closed
    assert.equal(await rig.stored('a'), undefined)
    await rig.restart()
    assert.equal((await (await rig.client()).continue(file)).progress, 400)
  })

  it('leaves no alarm, no partial file and no link behind', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.start({ uploadsPerLink: 3 }, { platform })
    const client = await rig.client({ session: 'one' })
    for (const name of ['a', 'b', 'c']) {
      const { instance } = await client.start({ name, bytes })
      await client.chunk(instance, 0, piece(0, 10))
    }
    const parked = await rig.client({ session: 'two' })
    await parked.start({ name: 'd', bytes })
    await parked.vanish()
    await rig.dial()
    await rig.server.close()
    await rig.server.closed
    assert.deepEqual(platform.clock.set, [])
    assert.equal(rig.storage.partials, 0)
    assert.equal(rig.server.status().links, 0)
  })

  it('is closed once, however often close is called or its signal aborts', async () => {
    const stop = new AbortController()
    await using rig = await ServerRig.start({}, { signal: stop.signal })
    stop.abort()
    await rig.server.close()
    await rig.server.close()
    await rig.server.closed
  })

  it('logs a flush that fails, closes nevertheless, and resumes at the previous checkpoint', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 400))
    rig.storage.fail('flush', new Error('the disk has a fault'))
    rig.storage.fail('close', new Error('the disk has another fault'))
    await rig.server.close()
    assert.ok(rig.log.some(({ event }) => event === 'checkpoint-failed'))
    assert.ok(rig.log.some(({ event }) => event === 'upload-not-closed'))
    await rig.restart()
    assert.equal((await (await rig.client()).continue(file)).progress, 0)
  })

  it('does not wait for a client that does not read', async () => {
    await using rig = await ServerRig.onDisk()
    const client = await rig.client()
    client.raw.socket.pause()
    const large = { name: 'large', bytes: patterned(MiB) }
    client.sendStart(large)
    await rig.server.close()
  })
})
