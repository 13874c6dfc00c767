import assert from 'node:assert/strict'
import { readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'

const bytes = patterned(1_000)
const file = { name: 'a', bytes }
const first = bytes.subarray(0, 400)

/** A server that has the first bytes of a file of alice's, and whose records are gone. */
async function withoutRecords(meanwhile: (partial: string) => Promise<void> = async () => {}): Promise<ServerRig> {
  const rig = await ServerRig.onDisk()
  const client = await rig.client()
  const { instance } = await client.start(file)
  await client.chunk(instance, 0, first)
  await client.pause(instance)
  await rig.crash()
  await rm(join(rig.directory, 'uploads'), { recursive: true })
  await meanwhile(await partialOf(rig))
  rig.log.length = 0
  await rig.restart()
  return rig
}

async function partialOf({ directory }: ServerRig): Promise<string> {
  const folder = join(directory, 'partial')
  const [name = 'none'] = await readdir(folder)
  return join(folder, name)
}

const orphans = (rig: ServerRig) =>
  rig.log.flatMap(({ event, level, bytes, removed }) =>
    event === 'upload-without-record' ? [[level, bytes, removed]] : [],
  )

spec('an upload whose record is lost', (it) => {
  it('is logged, and continues at the end of its partial file, whose digest its client receives', async () => {
    await using rig = await withoutRecords()
    assert.deepEqual(orphans(rig), [['warn', 400, false]])
    const client = await rig.client()
    const { instance, progress, checkpoint, checkpointDigest } = await client.continue(file)
    assert.deepEqual([progress, checkpoint, Buffer.from(checkpointDigest)], [400, 400, sha256(first)])
    const { durable } = await client.chunk(instance, 400, bytes.subarray(400))
    assert.equal(durable, 400)
    await client.end(instance, sha256(bytes))
    await rig.assertStored('a', bytes)
  })

  it('begins at zero once if the file has other bytes', async () => {
    await using rig = await withoutRecords((partial) => writeFile(partial, patterned(400, 7)))
    const client = await rig.client()
    const { instance, progress, checkpointDigest } = await client.continue(file)
    assert.equal(progress, 400)
    assert.notDeepEqual(Buffer.from(checkpointDigest), sha256(first))
    await client.chunk(instance, 400, bytes.subarray(400))
    await client.endRefused(instance, sha256(bytes), 'digest-mismatch')
    const again = await client.continue(file)
    assert.equal(again.progress, 0)
    await client.chunk(again.instance, 0, bytes)
    await client.end(again.instance, sha256(bytes))
    await rig.assertStored('a', bytes)
  })

  it('begins at zero for another user, and with START', async () => {
    await using rig = await withoutRecords()
    assert.equal((await (await rig.client({ user: 'bob' })).continue(file)).progress, 0)
    assert.equal((await (await rig.client()).start(file)).progress, 0)
  })

  it('is gone when it is cancelled', async () => {
    await using rig = await withoutRecords()
    await (await rig.client()).cancel('a')
    assert.deepEqual(await readdir(join(rig.directory, 'partial')), [])
  })

  it('is removed if no client has written to it for `uploadAgeMs`', async () => {
    await using rig = await withoutRecords((partial) => utimes(partial, 1, 1))
    assert.deepEqual(orphans(rig), [['warn', 400, true]])
    assert.deepEqual(await readdir(join(rig.directory, 'partial')), [])
  })
})
