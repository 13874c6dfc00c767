import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { KiB, MiB } from '../../../lib/limits.ts'
import type { OnConflict } from '../../../lib/ports/storage.ts'
import { digestNumbers } from '../../../lib/wire/protocol.ts'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'

const bytes = patterned(1_000)
const file = { name: 'a', bytes }
const [first, second] = [bytes.subarray(0, 400), bytes.subarray(400)]

spec('START', (it) => {
  it('is answered with an instance, progress 0, a chunk size and a window', async () => {
    await using rig = await ServerRig.start({ chunkBytes: 64 * KiB, windowBytes: 3 * MiB })
    const { event, ...granted } = await (await rig.client()).start(file)
    assert.deepEqual(granted, { instance: 1, progress: 0, chunk: 64 * KiB, window: 3 * MiB })
  })

  it('of an unknown digest algorithm is refused', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    await client.startRefused({ ...file, digest: 9 }, 'unsupported-digest')
    await client.continueRefused({ ...file, digest: 0 }, 'unsupported-digest')
  })

  for (const [name, digest] of [
    ['md5', digestNumbers.md5],
    ['sha256', digestNumbers.sha256],
  ] as const) {
    it(`takes ${name} as the digest`, async () => {
      await using rig = await ServerRig.start()
      const client = await rig.client()
      const { instance } = await client.start({ ...file, digest })
      await client.chunk(instance, 0, bytes)
      await client.end(instance, createHash(name).update(bytes).digest())
    })
  }

  it('writes the record before it is acknowledged', async () => {
    await using rig = await ServerRig.start()
    const claim = rig.storage.hold('claim')
    const client = await rig.client()
    client.sendStart(file)
    await claim.reached
    assert.deepEqual(client.raw.unread, [])
    claim.go()
    const { instance } = await client.raw.expect('StartPostFileAck')
    for (const record of await rig.records()) {
      const { user, name, size, modifiedAt, algorithm, owner } = record
      assert.deepEqual(
        { user, name, size, modifiedAt, algorithm },
        {
          user: 'alice',
          name: 'a',
          size: 1_000,
          modifiedAt: 1_000,
          algorithm: 'sha256',
        },
      )
      assert.deepEqual({ ...owner, session: '' }, { node: client.node, instance, session: '' })
    }
  })

  it('drops an older record and partial file', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, first)
    await client.pause(instance)
    const again = await client.start(file)
    assert.equal(again.progress, 0)
    assert.deepEqual(await client.chunk(again.instance, 0, first), { event: 'PostFileAck', progress: 400, durable: 0 })
  })

  it('of a file that this link sends frees its instance and begins at zero in another', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const former = await client.start(file)
    await client.chunk(former.instance, 0, first)
    const { instance, progress } = await client.start({ ...file, modifiedAt: 2 })
    assert.notEqual(instance, former.instance)
    assert.equal(progress, 0)
    await client.chunkRefused(former.instance, 400, second, 'instance-lost')
    assert.equal(rig.server.status().uploads.length, 1)
  })

  it('twice in a row leaves one instance', async () => {
    await using rig = await ServerRig.start({ fileInstances: 2 })
    const client = await rig.client()
    client.sendStart(file)
    client.sendStart(file)
    await client.raw.expect('StartPostFileAck')
    const { instance } = await client.raw.expect('StartPostFileAck')
    await client.chunk(instance, 0, bytes)
    await client.end(instance, sha256(bytes))
    assert.deepEqual(rig.server.status().uploads, [])
  })

  it('of a file that another open link sends is refused', async () => {
    await using rig = await ServerRig.start()
    const [holder, other] = [await rig.client({ session: 'one' }), await rig.client({ session: 'two' })]
    const { instance } = await holder.start(file)
    assert.ok((await other.startRefused(file, 'file-busy')).retryAfter > 0)
    assert.equal((await holder.chunk(instance, 0, bytes)).progress, 1_000)
  })
})

spec('if existing names are refused', (it) => {
  const onConflict: OnConflict = 'reject'

  it('START of a stored name is', async () => {
    await using rig = await ServerRig.start({}, { onConflict })
    const client = await rig.client()
    await client.upload(file)
    await client.startRefused({ ...file, modifiedAt: 2 }, 'file-exists')
  })

  it('CONTINUE of a stored name is, unless there is a completion marker', async () => {
    await using rig = await ServerRig.start({}, { onConflict })
    const client = await rig.client()
    await client.upload(file)
    await client.continueRefused({ ...file, modifiedAt: 2 }, 'file-exists')
    assert.equal((await client.continue(file)).progress, 1_000)
  })

  it('CONTINUE of a record whose name was taken meanwhile is, and record and partial file are removed', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start({ name: 'b', bytes })
    await client.chunk(instance, 0, first)
    await client.pause(instance)
    await rig.server.close()
    await rig.restart({ onConflict })
    rig.storage.takenNames.add('b')
    const again = await rig.client()
    await again.continueRefused({ name: 'b', bytes }, 'file-exists')
    assert.deepEqual(await rig.records(), [])
  })
})
