import assert from 'node:assert/strict'
import { OspError } from '../../../lib/errors.ts'
import { KiB } from '../../../lib/limits.ts'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { manualPlatform, ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'

const bytes = patterned(1_000)
const file = { name: 'a', bytes }
const piece = (from: number, to: number) => bytes.subarray(from, to)

spec('PAUSE', (it) => {
  it('flushes, frees the instance and keeps the record', async () => {
    await using rig = await ServerRig.start({ fileInstances: 1 })
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 400))
    assert.deepEqual(await client.pause(instance), { event: 'PauseFileAck', progress: 400, durable: 400 })
    await client.chunkRefused(instance, 400, piece(400, 500), 'instance-lost')
    assert.equal((await rig.records())[0]?.checkpoints.at(-1)?.offset, 400)
    await client.start({ name: 'b', bytes })
  })

  it('keeps the acknowledged bytes over a crash', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 400))
    await client.pause(instance)
    await rig.crash()
    await rig.restart()
    assert.equal((await (await rig.client()).continue(file)).progress, 400)
  })

  it('before the first chunk keeps the record at zero', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    assert.deepEqual(await client.pause(instance), { event: 'PauseFileAck', progress: 0, durable: 0 })
    assert.equal((await rig.records()).length, 1)
  })

  it('that cannot be flushed is refused, and nevertheless frees the instance', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 400))
    rig.storage.fail('flush', new Error('the disk has a fault'))
    client.sendPause(instance)
    await client.raw.refused('PauseFileNack', 'internal')
    assert.deepEqual(rig.server.status().uploads, [])
    await client.chunkRefused(instance, 400, piece(400, 500), 'internal')
    assert.equal((await client.continue(file)).progress, 0)
  })
})

spec('CANCEL', (it) => {
  it('of an unknown name finds nothing: outcome 0', async () => {
    await using rig = await ServerRig.start()
    assert.equal(await (await rig.client()).cancel('a'), 0)
  })

  it('frees the instance and removes record and partial file: outcome 1', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 400))
    assert.equal(await client.cancel('a'), 1)
    assert.deepEqual([rig.server.status().uploads, await rig.records()], [[], []])
    await client.chunkRefused(instance, 400, piece(400, 500), 'cancelled')
    assert.equal((await client.continue(file)).progress, 0)
  })

  it('removes a record of an upload that is not being sent: outcome 1', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 400))
    await client.pause(instance)
    assert.equal(await client.cancel('a'), 1)
    assert.deepEqual([await client.cancel('a'), await rig.records()], [0, []])
    assert.equal((await client.continue(file)).progress, 0)
  })

  it('leaves a published file alone: outcome 2', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    await client.upload(file)
    assert.equal(await client.cancel('a'), 2)
    await rig.assertStored('a', bytes)
    assert.equal((await client.continue(file)).progress, 1_000)
  })

  it('of a new upload of a published name removes the upload, not the file: outcome 1', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    await client.upload(file)
    await client.start({ ...file, modifiedAt: 2 })
    assert.equal(await client.cancel('a'), 1)
    await rig.assertStored('a', bytes)
  })

  it("by another link of the user fails the sender's next request with cancelled", async () => {
    await using rig = await ServerRig.start()
    const [sender, other] = [await rig.client({ session: 'one' }), await rig.client({ session: 'two' })]
    const { instance } = await sender.start(file)
    assert.equal(await other.cancel('a'), 1)
    await sender.chunkRefused(instance, 0, bytes, 'cancelled')
  })

  it('by another user finds nothing', async () => {
    await using rig = await ServerRig.start()
    const [alice, bob] = [await rig.client({ user: 'alice' }), await rig.client({ user: 'bob' })]
    const { instance } = await alice.start(file)
    assert.equal(await bob.cancel('a'), 0)
    assert.equal((await alice.chunk(instance, 0, bytes)).progress, 1_000)
  })

  it('runs after the chunks that were sent before it, and before those that follow', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    const write = rig.storage.hold('write')
    client.sendChunk(instance, 0, piece(0, 400))
    await write.reached
    client.sendChunk(instance, 400, piece(400, 500))
    client.sendCancel('a')
    client.sendChunk(instance, 500, piece(500, 600))
    await turn()
    write.go()
    assert.equal((await client.raw.expect('PostFileAck')).progress, 400)
    assert.equal((await client.raw.expect('PostFileAck')).progress, 500)
    await client.raw.expect('CancelFileAck')
    await client.raw.refused('PostFileNack', 'cancelled')
    assert.deepEqual(await rig.records(), [])
  })
})

spec('a full disk', (it) => {
  it('refuses the chunk for a limited time, frees the instance, and keeps the written bytes', async () => {
    await using rig = await ServerRig.start({ retryAfterMs: 700 })
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 400))
    rig.storage.fail('write', new OspError('disk-full'))
    const { retryAfter, progress } = await client.chunkRefused(instance, 400, piece(400, 900), 'disk-full')
    assert.deepEqual([retryAfter, progress], [700, 400])
    assert.deepEqual(rig.server.status().uploads, [])
    await client.chunkRefused(instance, 400, piece(400, 450), 'disk-full')
    const again = await client.continue(file)
    assert.equal(again.progress, 400)
    assert.equal((await client.chunk(again.instance, 400, piece(400, 450))).progress, 450)
  })

  it('refuses all chunks that would be written together', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    rig.storage.fail('write', new OspError('disk-full'))
    for (const at of [0, 300, 600]) client.sendChunk(instance, at, piece(at, at + 300))
    for (const _ of [0, 300, 600]) await client.raw.refused('PostFileNack', 'disk-full')
    assert.deepEqual(rig.server.status().uploads, [])
  })
})

spec('a lost link', (it) => {
  it('frees its instances at once; the progress is the written bytes, durable or not', async () => {
    await using rig = await ServerRig.start({ fileInstances: 1 })
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 400))
    await client.vanish()
    await turn()
    assert.deepEqual(rig.server.status().uploads, [])
    const again = await rig.client()
    const { progress, ...granted } = await again.continue(file)
    assert.equal(progress, 400)
    await again.chunk(granted.instance, 400, piece(400, 1_000))
    await again.end(granted.instance, sha256(bytes))
    await rig.assertStored('a', bytes)
  })

  it('makes the written bytes durable', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 400))
    await client.vanish()
    await turn()
    assert.equal((await rig.records())[0]?.checkpoints.at(-1)?.offset, 400)
  })

  it('ends the writing of chunks that wait', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    const write = rig.storage.hold('write')
    client.sendChunk(instance, 0, piece(0, 400))
    await write.reached
    client.sendChunk(instance, 400, piece(400, 1_000))
    await turn()
    await client.vanish()
    write.go()
    assert.equal((await (await rig.client()).continue(file)).progress, 400)
  })

  it('leaves an upload open for a while, then closes it and keeps its record', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.start({ parkedMs: 10_000 }, { platform })
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 400))
    await client.vanish()
    await pass(platform.clock, 9_999)
    assert.equal(rig.storage.partials, 1)
    await pass(platform.clock, 1)
    assert.equal(rig.storage.partials, 0)
    assert.equal((await (await rig.client()).continue(file)).progress, 400)
  })

  it('leaves up to `parkedUploads` open; the longest parked is closed first', async () => {
    await using rig = await ServerRig.start({ parkedUploads: 2, chunkBytes: KiB })
    for (const name of ['a', 'b', 'c', 'd']) {
      const client = await rig.client()
      const { instance } = await client.start({ name, bytes })
      await client.chunk(instance, 0, piece(0, 400))
      await client.vanish()
      await turn()
    }
    assert.equal(rig.storage.partials, 2)
    const opened = rig.storage.count.get('read') ?? 0
    const client = await rig.client()
    for (const name of ['c', 'd', 'a', 'b']) assert.equal((await client.continue({ name, bytes })).progress, 400)
    await turn()
    assert.equal((rig.storage.count.get('read') ?? 0) - opened, 2)
  })

  it('closes an upload of the user with the most parked uploads, so that no user displaces those of others', async () => {
    await using rig = await ServerRig.start({ parkedUploads: 2, chunkBytes: KiB })
    let count = 0
    for (const user of ['alice', 'bob', 'bob', 'bob']) {
      const client = await rig.client({ user, session: `${count++}` })
      const { instance } = await client.start({ name: `${count}`, bytes })
      await client.chunk(instance, 0, piece(0, 400))
      await client.vanish()
      await turn()
    }
    const opened = rig.storage.count.get('read') ?? 0
    const client = await rig.client({ user: 'alice' })
    assert.equal((await client.continue({ name: '1', bytes })).progress, 400)
    await turn()
    assert.equal((rig.storage.count.get('read') ?? 0) - opened, 0)
  })
})
