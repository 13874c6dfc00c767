import assert from 'node:assert/strict'
import { defaultLimits, KiB, MiB } from '../../../lib/limits.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import type { ServerContext } from '../../../lib/server/app.ts'
import { DiskSpace } from '../../../lib/server/files/diskSpace.ts'
import { ServerUpload } from '../../../lib/server/files/serverUpload.ts'
import { type FileClient, sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { manualPlatform, ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { pass } from '../../support/turn.ts'

/** A disk of 64 KiB, of which 4 KiB are reserved. */
const small = { capacityBytes: 64 * KiB }
const limits = { chunkBytes: 64 * KiB, reserveBytes: 4 * KiB, reservePercent: 100, retryAfterMs: 300 }

const sized = (name: string, size: number) => ({ name, bytes: patterned(size) })

/** Starts an upload, and sends its first bytes. */
async function begin(client: FileClient, name: string, size: number, bytes: number): Promise<number> {
  const { instance } = await client.start(sized(name, size))
  await client.chunk(instance, 0, patterned(size).subarray(0, bytes))
  return instance
}

spec('the disk', (it) => {
  it('is reserved for one upload: another one that does not fit as well is refused immediately', async () => {
    await using rig = await ServerRig.start(limits, small)
    const client = await rig.client()
    const instance = await begin(client, 'a', 40 * KiB, 10 * KiB)
    for (const refused of ['startRefused', 'continueRefused'] as const) {
      const { text, retryAfter } = await client[refused](sized('b', 40 * KiB), 'disk-full')
      assert.equal(retryAfter, 300)
      assert.equal(
        text,
        'the disk of the server has no room for the 40 KiB of this file: 54 KiB are free, of which 30 KiB are promised ' +
          'to running uploads and 4 KiB are reserved; cancel unfinished uploads, or have files removed',
      )
    }
    await client.upload(sized('c', 20 * KiB))
    await client.chunk(instance, 10 * KiB, patterned(40 * KiB).subarray(10 * KiB))
    await client.end(instance, sha256(patterned(40 * KiB)))
    assert.deepEqual(
      rig.log.filter(({ level }) => level !== 'info').map(({ event, name, code }) => [event, name, code]),
      [['upload-refused', 'b', 'disk-full']],
    )
  })

  it('is measured again before a small file that may no longer fit', async () => {
    await using rig = await ServerRig.start({ ...limits, smallFileBytes: MiB }, small)
    const client = await rig.client()
    for (const name of ['a', 'b', 'c']) await client.put(sized(name, 20 * KiB))
    await client.putRefused(sized('d', 20 * KiB), 'disk-full')
    rig.remove('a')
    await client.put(sized('e', 20 * KiB))
    await rig.assertStored('e', patterned(20 * KiB))
  })

  it('counts small files until they are measured, so that they leave its reserve free', async () => {
    const limits = { ...defaultLimits, reserveBytes: 16 * MiB, reservePercent: 100 }
    let [free, at] = [30 * MiB, 0]
    const files = { space: async () => ({ free, total: 1_000 * MiB, blockBytes: 4 * KiB }), heldBytes: async () => 0 }
    const platform = { clock: { now: () => at } }
    const disk = new DiskSpace({ limits, platform, storage: { files } } as unknown as ServerContext)
    const running = new Set<ServerUpload>()
    for (let round = 0; round < 40; round++, at++) {
      for (let index = 0; index < 5; index++) {
        const upload = new ServerUpload('alice', `${round} ${index}`)
        if (!(await disk.admit(upload, [{ user: 'alice', name: 'a', size: MiB }], true, () => running)))
          running.add(upload)
      }
      for (const upload of running) {
        free -= MiB
        upload.reserved = undefined
      }
      running.clear()
    }
    assert.equal(free, limits.reserveBytes)
  })

  it('counts the bytes that are written while it is measured', async () => {
    const limits = { ...defaultLimits, reserveBytes: 16 * MiB, reservePercent: 100 }
    let free = 10 * MiB
    let measured = deferred<void>()
    const space = async () => {
      const found = { free, total: 1_000 * MiB, blockBytes: 4 * KiB }
      await measured.promise
      return found
    }
    const context = { limits, platform: { clock: { now: () => 0 } }, storage: { files: { space } } }
    const disk = new DiskSpace(context as unknown as ServerContext)
    measured.resolve()
    await disk.measure()
    measured = deferred<void>()
    const measuring = disk.measure()
    assert.equal(disk.take(2 * MiB), undefined)
    free -= 2 * MiB
    measured.resolve()
    await measuring
    await assert.rejects(async () => disk.take(MiB), { code: 'disk-full' })
  })

  it('lets three uploads that fit only one at a time finish one after another as space becomes free', async () => {
    await using rig = await ServerRig.start(limits, small)
    const client = await rig.client()
    const sizes = { a: 40 * KiB, b: 40 * KiB, c: 30 * KiB }
    for (const [name, size] of Object.entries(sizes)) {
      const instance = await begin(client, name, size, 10 * KiB)
      for (const [other, bytes] of Object.entries(sizes)) {
        if (other > name) await client.startRefused(sized(other, bytes), 'disk-full')
      }
      await client.chunk(instance, 10 * KiB, patterned(size).subarray(10 * KiB))
      await client.end(instance, sha256(patterned(size)))
      await rig.assertStored(name, patterned(size))
      rig.remove(name)
    }
  })

  it('is given to the unfinished upload that fits, even if another one occupies a part of it', async () => {
    await using rig = await ServerRig.start(limits, small)
    const client = await rig.client()
    await client.pause(await begin(client, 'a', 50 * KiB, 25 * KiB))
    await client.pause(await begin(client, 'b', 30 * KiB, 20 * KiB))
    // 19 KiB are free, less the reserve of 4.
    await client.continueRefused(sized('a', 50 * KiB), 'disk-full')
    const { instance, progress } = await client.continue(sized('b', 30 * KiB))
    assert.equal(progress, 20 * KiB)
    await client.chunk(instance, progress, patterned(30 * KiB).subarray(progress))
    await client.end(instance, sha256(patterned(30 * KiB)))
    rig.remove('b')
    assert.equal((await client.continue(sized('a', 50 * KiB))).progress, 25 * KiB)
  })

  it('has space again after a cancelled upload, complete or partial', async () => {
    await using rig = await ServerRig.start(limits, small)
    const client = await rig.client()
    await begin(client, 'a', 40 * KiB, 30 * KiB)
    await client.startRefused(sized('b', 60 * KiB), 'disk-full')
    await client.cancel('a')
    await client.upload(sized('b', 60 * KiB))
  })

  it('refuses a file permanently if it could never hold it', async () => {
    await using rig = await ServerRig.start(limits, small)
    const client = await rig.client()
    for (const refused of ['startRefused', 'continueRefused'] as const) {
      const { text } = await client[refused](sized('a', 60 * KiB + 1), 'too-large')
      assert.match(text, /^the file has 60 KiB, and the disk of the server holds at most 60 KiB: ask the operator/u)
    }
    assert.deepEqual(await rig.records(), [])
  })

  it('that is full accepts an upload that needs no space: an empty one, and one that is stored or complete already', async () => {
    await using rig = await ServerRig.start(limits, small)
    const client = await rig.client()
    const whole = sized('whole', 30 * KiB)
    await client.pause(await begin(client, 'whole', 30 * KiB, 30 * KiB))
    const stored = sized('stored', 30 * KiB)
    await client.upload(stored)
    await client.startRefused(sized('a', 1), 'disk-full')
    await client.upload(sized('empty', 0))
    const { instance, progress } = await client.continue(stored)
    assert.equal(progress, 30 * KiB)
    await client.end(instance, sha256(stored.bytes))
    const again = await client.continue(whole)
    assert.equal(again.progress, 30 * KiB)
    await client.end(again.instance, sha256(whole.bytes))
  })

  it('stops a running upload before the reserve of messages is used when something else fills it', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.start(limits, { ...small, platform })
    const client = await rig.client()
    const instance = await begin(client, 'a', 40 * KiB, 10 * KiB)
    rig.storage.taken = 50 * KiB
    await pass(platform.clock, 200)
    const bytes = patterned(40 * KiB)
    // 4 KiB are free.
    await client.chunk(instance, 10 * KiB, bytes.subarray(10 * KiB, 12 * KiB))
    const { progress } = await client.chunkRefused(instance, 12 * KiB, bytes.subarray(12 * KiB, 13 * KiB), 'disk-full')
    assert.equal(progress, 12 * KiB)
    rig.storage.taken = 0
    const again = await client.continue(sized('a', 40 * KiB))
    await client.chunk(again.instance, again.progress, bytes.subarray(again.progress))
    await client.end(again.instance, sha256(bytes))
  })

  it('has a reserve of 64 MiB, or of 5 % of the disk if that is less', async () => {
    const rooms = [
      [60 * MiB, 57 * MiB],
      [100 * 1024 * MiB, 100 * 1024 * MiB - 64 * MiB],
    ] as const
    for (const [capacityBytes, most] of rooms) {
      await using rig = await ServerRig.start({}, { capacityBytes })
      const client = await rig.client()
      await client.startRefused({ ...sized('a', 0), size: most + 1 }, 'too-large')
      await client.start({ ...sized('a', 0), size: most })
    }
  })
})
