import assert from 'node:assert/strict'
import { type FileClient, type Subject, sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { idOf } from '../../support/messageClient.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'

const bytes = patterned(1_000)
const file = { name: 'a', bytes }
const known = { ...file, fileDigest: sha256(bytes) }
const stored = { storedName: 'a', replaced: 0 }
const other = patterned(1_001).subarray(1)

async function metadataOf({ raw }: FileClient) {
  raw.send('StatFileReq', { fileName: 'a', flags: 0 })
  return (await raw.expect('StatFileAck')).metadata
}

/** Starts a server that has stored the file with metadata. */
async function rigWithFile(subject: Subject = { ...file, metadata: { key: 'old' } }) {
  const rig = await ServerRig.start()
  const alice = await rig.client()
  await alice.upload(subject)
  return { rig, alice }
}

spec('START and CONTINUE with the digest of the file', (it) => {
  it('are answered immediately if the file is stored, and occupy no instance', async () => {
    const { rig, alice } = await rigWithFile()
    await using _ = rig
    for (const reply of [await alice.start(known), await alice.continue(known)]) {
      assert.deepEqual([reply.instance, reply.progress, reply.stored], [0, 0, stored])
    }
    assert.deepEqual(rig.server.status().uploads, [])
    assert.equal(rig.log.filter(({ event }) => event === 'upload-stored').length, 1)
  })

  it('are answered with the name under which the file is stored', async () => {
    await using rig = await ServerRig.start({}, { onUpload: ({ name }) => ({ name: `inbox/${name}` }) })
    const alice = await rig.client()
    await alice.upload(file)
    assert.equal((await alice.continue(known)).stored?.storedName, 'inbox/a')
  })

  it('begin at zero, in one round trip, if the stored file has another digest', async () => {
    const { rig, alice } = await rigWithFile()
    await using _ = rig
    const { instance, progress } = await alice.continue({ ...file, bytes: other, fileDigest: sha256(other) })
    assert.equal(progress, 0)
    await alice.chunk(instance, 0, other)
    await alice.end(instance, sha256(other))
    await rig.assertStored('a', Uint8Array.from(other))
  })

  it('send the file if it is not stored', async () => {
    await using rig = await ServerRig.start()
    const alice = await rig.client()
    const { instance, progress, stored: place } = await alice.start(known)
    assert.deepEqual([progress, place], [0, undefined])
    await alice.chunk(instance, 0, bytes)
    assert.deepEqual(await alice.end(instance, sha256(bytes)), { event: 'FileMd5Ack', ...stored })
  })

  it('assign an instance if other users are notified, since FILE_MD5_REQ names the message', async () => {
    const { rig, alice } = await rigWithFile()
    await using _ = rig
    const { instance, progress } = await alice.start({ ...known, recipients: ['bob'] })
    assert.equal(progress, bytes.length)
    const notice = { messageId: idOf(1), recipients: ['bob'] }
    assert.equal((await alice.end(instance, sha256(bytes), notice)).storedName, 'a')
  })
})

spec('the metadata of a repeated upload', (it) => {
  it('replace those of the stored file once the digest agrees', async () => {
    const { rig, alice } = await rigWithFile()
    await using _ = rig
    const { instance } = await alice.start({ ...file, metadata: { key: 'new' } })
    assert.deepEqual(await metadataOf(alice), [{ key: 'key', value: 'old' }])
    await alice.end(instance, sha256(bytes))
    assert.deepEqual(await metadataOf(alice), [{ key: 'key', value: 'new' }])
    await alice.start({ ...known, metadata: { key: 'newer' } })
    assert.deepEqual(await metadataOf(alice), [{ key: 'key', value: 'newer' }])
  })

  it('do not change the stored file if the content differs', async () => {
    const { rig, alice } = await rigWithFile()
    await using _ = rig
    const { instance } = await alice.start({ ...file, metadata: { key: 'new' } })
    await alice.endRefused(instance, sha256(other), 'digest-mismatch')
    assert.deepEqual(await metadataOf(alice), [{ key: 'key', value: 'old' }])
  })
})
