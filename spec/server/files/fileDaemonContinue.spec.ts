import assert from 'node:assert/strict'
import { digestNumbers } from '../../../lib/wire/protocol.ts'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'

const bytes = patterned(1_000)
const file = { name: 'a', bytes }
const first = bytes.subarray(0, 400)

spec('CONTINUE', (it) => {
  it('continues the record of the same upload', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, first)
    await client.pause(instance)
    const { progress, checkpoint, checkpointDigest } = await client.continue(file)
    assert.deepEqual([progress, checkpoint], [400, 400])
    assert.deepEqual(Buffer.from(checkpointDigest), sha256(first))
  })

  it('of an upload whose record was lost writes and flushes its bytes again before they are durable', async () => {
    await using rig = await ServerRig.onDisk()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, first)
    await client.pause(instance)
    await rig.storage.transfers.remove('alice', file.name)
    await rig.crash()
    await rig.restart()
    const { count } = rig.storage
    const again = await (await rig.client()).continue(file)
    assert.deepEqual([again.progress, again.checkpoint], [400, 400])
    assert.deepEqual([count.get('write'), count.get('flush')], [1, 1])
  })

  it('without a record starts at zero, and its reply has no checkpoint', async () => {
    await using rig = await ServerRig.start()
    const { progress, checkpoint, checkpointDigest } = await (await rig.client()).continue(file)
    assert.deepEqual([progress, checkpoint, checkpointDigest.length], [0, 0, 0])
  })

  const others = { size: { size: 999 }, modifiedAt: { modifiedAt: 7 }, digest: { digest: digestNumbers.md5 } }
  for (const [what, other] of Object.entries(others)) {
    it(`of an upload with another ${what} begins at zero`, async () => {
      await using rig = await ServerRig.start()
      const client = await rig.client()
      const { instance } = await client.start(file)
      await client.chunk(instance, 0, first)
      await client.pause(instance)
      assert.equal((await client.continue({ ...file, ...other })).progress, 0)
    })

    it(`of an upload with another ${what} is refused while this link sends the file`, async () => {
      await using rig = await ServerRig.start()
      const client = await rig.client()
      await client.start(file)
      await client.continueRefused({ ...file, ...other }, 'file-busy')
    })

    it(`of an upload with another ${what} is refused while another link sends the file`, async () => {
      await using rig = await ServerRig.start()
      const [holder, client] = [await rig.client({ session: 'one' }), await rig.client({ session: 'two' })]
      await holder.start(file)
      await client.continueRefused({ ...file, ...other }, 'file-busy')
    })
  }

  it('of an upload that this link sends is answered with the present state', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance, chunk } = await client.start(file)
    await client.chunk(instance, 0, first)
    const again = await client.continue(file)
    assert.deepEqual([again.instance, again.progress, again.chunk], [instance, 400, chunk])
  })

  it('of an upload that this link sends never shrinks the granted chunk', async () => {
    await using rig = await ServerRig.start({ chunkBytes: 1_000, chunkMemoryBytes: 1_024 })
    const client = await rig.client()
    const { chunk } = await client.start(file)
    const more = await client.start({ name: 'b', bytes })
    assert.ok(more.chunk < chunk)
    assert.equal((await client.continue(file)).chunk, chunk)
  })

  it('of a completed upload is answered with its size, and the recorded digest ends it at once', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    await client.upload(file)
    const { instance, progress } = await client.continue(file)
    assert.equal(progress, 1_000)
    assert.equal((await client.end(instance, sha256(bytes))).storedName, 'a')
    assert.deepEqual(rig.server.status().uploads, [])
  })

  it('of a completed upload with another digest drops only the completion marker', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    await client.upload(file)
    const { instance } = await client.continue(file)
    assert.equal((await client.endRefused(instance, sha256(first), 'digest-mismatch')).progress, 0)
    await rig.assertStored('a', bytes)
    assert.equal((await client.continue(file)).progress, 0)
  })

  it('of a completed upload treats the longest possible digest as a different one', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    await client.upload(file)
    const { instance } = await client.continue(file)
    await client.endRefused(instance, new Uint8Array(65_535), 'digest-mismatch')
    assert.deepEqual(
      rig.log.filter(({ level }) => level === 'error'),
      [],
    )
  })

  it('of another upload of a completed name begins at zero', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    await client.upload(file)
    assert.equal((await client.continue({ ...file, modifiedAt: 2 })).progress, 0)
  })

  it('of a completed upload takes no more bytes, and can be paused and cancelled', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    await client.upload(file)
    const { instance } = await client.continue(file)
    assert.equal((await client.chunk(instance, 0, first)).progress, 1_000)
    await client.chunkRefused(instance, 1_000, first, 'too-large')
    assert.deepEqual(await client.pause(instance), { event: 'PauseFileAck', progress: 1_000, durable: 1_000 })
    await client.continue(file)
    assert.equal(await client.cancel('a'), 2)
    await rig.assertStored('a', bytes)
  })
})
