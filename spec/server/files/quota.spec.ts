import assert from 'node:assert/strict'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { OspError } from '../../../lib/errors.ts'
import { defaultLimits, KiB, MiB } from '../../../lib/limits.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { sizeText } from '../../../lib/server/files/diskSpace.ts'
import { encode } from '../../../lib/wire/message.ts'
import { cancelOutcomes } from '../../../lib/wire/protocol.ts'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { manualPlatform, ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'

const sized = (name: string, size: number) => ({ name, bytes: patterned(size) })

/** The first count of the files has ended, and so has what waits for it. */
async function counted(rig: ServerRig): Promise<void> {
  await rig.storage.files.usage?.('alice')
  await new Promise((resolve) => setImmediate(resolve))
}

spec('a file', (it) => {
  it('above the size limit is refused, with both sizes, before it gets an instance', async () => {
    await using rig = await ServerRig.start({ fileBytes: 2_048, fileInstances: 1 })
    const client = await rig.client()
    await client.upload(sized('fits', 2_048))
    for (const refused of ['startRefused', 'continueRefused'] as const) {
      const { text, retryAfter } = await client[refused](sized('a', 2_049), 'too-large')
      // Two sizes that would read the same are told in bytes.
      assert.equal(
        text,
        'the file has 2049 bytes, and this server accepts files of at most 2048 bytes: ' +
          'send it in smaller parts, or ask for a higher limit',
      )
      assert.equal(retryAfter, 0)
    }
    assert.deepEqual(await rig.records(), [])
  })

  it('of more bytes than an exact number is refused as too large, and the link stays open', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const upload = { fileName: 'a', size: 0, modifiedAt: 0, digest: 2, progress: 0 }
    for (const size of [2n ** 53n, 2n ** 53n + 1n, 2n ** 64n - 1n]) {
      for (const request of ['StartPostFileReq', 'ContinuePostFileReq'] as const) {
        const [payload = new Uint8Array()] = encode({ event: request, ...upload })
        // Behind the name and its length.
        new DataView(payload.buffer, payload.byteOffset).setBigUint64(3, size)
        client.raw.send(request, upload, 0, { payload: [payload] })
        const nack = request === 'StartPostFileReq' ? 'StartPostFileNack' : 'ContinuePostFileNack'
        const { text, retryAfter } = await client.raw.refused(nack, 'too-large')
        assert.equal(
          text,
          'the file has more than 9007199254740991 bytes, and this server accepts files of at most ' +
            '9007199254740991 bytes: send it in smaller parts',
        )
        assert.equal(retryAfter, 0)
      }
    }
    await client.upload(sized('a', 9))
  })

  it('has no limit by default, nor has its user', async () => {
    assert.equal(defaultLimits.fileBytes, Number.MAX_SAFE_INTEGER)
    assert.equal(defaultLimits.userBytes, Number.MAX_SAFE_INTEGER)
    await using rig = await ServerRig.start()
    const client = await rig.client()
    await client.start({ ...sized('a', 0), size: Number.MAX_SAFE_INTEGER })
    await client.start({ ...sized('b', 0), size: Number.MAX_SAFE_INTEGER })
  })
})

spec('a quota', (it) => {
  it('counts stored files and running uploads, and its refusal names both', async () => {
    await using rig = await ServerRig.start({ entryBytes: 0, userBytes: 4_096, retryAfterMs: 300 })
    const client = await rig.client()
    await client.upload(sized('a', 1_024))
    await client.start(sized('b', 2_048))
    for (const refused of ['startRefused', 'continueRefused'] as const) {
      const { text, retryAfter } = await client[refused](sized('c', 1_536), 'quota-exceeded')
      assert.equal(retryAfter, 300)
      assert.equal(
        text,
        'your quota on this server is 4 KiB: 1 KiB are stored (1 file and 0 folders) and 2 KiB belong to other unfinished ' +
          'uploads, so that 1.5 KiB more do not fit; cancel unfinished uploads, or have files removed',
      )
    }
    await client.upload(sized('d', 1_024))
    await client.startRefused(sized('e', 1), 'quota-exceeded')
    await client.start(sized('empty', 0))
  })

  it('is exact up to the largest file', async () => {
    const most = Number.MAX_SAFE_INTEGER
    await using rig = await ServerRig.start({ entryBytes: 0, userBytes: most - 1 })
    const client = await rig.client()
    await client.startRefused({ ...sized('a', 0), size: most }, 'quota-exceeded')
    await client.start({ ...sized('a', 0), size: most - 3 })
    await client.startRefused({ ...sized('b', 0), size: 3 }, 'quota-exceeded')
    await client.startRefused({ ...sized('b', 0), size: most - 2 }, 'quota-exceeded')
    await client.start({ ...sized('b', 0), size: 2 })
  })

  it('holds for each user', async () => {
    await using rig = await ServerRig.start({ entryBytes: 0, userBytes: 100 })
    await (await rig.client({ user: 'alice', session: 'one' })).upload(sized('a', 100))
    await (await rig.client({ user: 'bob', session: 'two' })).upload(sized('a', 100))
  })

  it('has space again after a cancelled upload, and after a paused one except for its stored bytes', async () => {
    await using rig = await ServerRig.start({ entryBytes: 0, userBytes: 1_000 })
    const client = await rig.client()
    const { instance } = await client.start(sized('a', 1_000))
    await client.chunk(instance, 0, patterned(1_000).subarray(0, 100))
    await client.pause(instance)
    await client.startRefused(sized('b', 901), 'quota-exceeded')
    await client.start(sized('b', 900))
    await client.continueRefused(sized('a', 1_000), 'quota-exceeded')
    await client.cancel('b')
    assert.equal((await client.continue(sized('a', 1_000))).progress, 100)
    await client.cancel('a')
    await client.upload(sized('c', 1_000))
  })

  it('counts neither a replaced file nor a replaced record', async () => {
    await using rig = await ServerRig.start({ entryBytes: 0, userBytes: 1_000 })
    const client = await rig.client()
    await client.upload(sized('a', 900))
    await client.upload({ ...sized('a', 1_000), modifiedAt: 2 })
    await client.upload({ ...sized('a', 700), modifiedAt: 3 })
    const { instance } = await client.start(sized('b', 300))
    await client.chunk(instance, 0, patterned(300))
    await client.pause(instance)
    await client.upload({ ...sized('b', 300), modifiedAt: 2 })
    await client.startRefused(sized('c', 1), 'quota-exceeded')
  })

  it('counts the file of that name if it is kept, and nevertheless confirms a completed upload', async () => {
    await using rig = await ServerRig.start({ entryBytes: 0, userBytes: 1_500 }, { onConflict: 'rename' })
    const client = await rig.client()
    const file = sized('a', 1_000)
    await client.upload(file)
    const { instance, progress } = await client.continue(file)
    assert.equal(progress, 1_000)
    await client.end(instance, sha256(file.bytes))
    await client.continueRefused({ ...file, modifiedAt: 2 }, 'quota-exceeded')
  })

  it('also holds for concurrent openings, and after a restart', async () => {
    await using rig = await ServerRig.start({ entryBytes: 0, userBytes: 1_000 })
    const [one, two] = [await rig.client({ session: 'one' }), await rig.client({ session: 'two' })]
    const claim = rig.storage.hold('claim')
    one.sendStart(sized('a', 600))
    await claim.reached
    await two.startRefused(sized('b', 600), 'quota-exceeded')
    claim.go()
    const { instance } = await one.raw.expect('StartPostFileAck')
    await one.chunk(instance, 0, patterned(600))
    await one.end(instance, sha256(patterned(600)))
    await rig.crash()
    await rig.restart()
    const after = await rig.client()
    await after.startRefused(sized('b', 401), 'quota-exceeded')
    await after.upload(sized('b', 400))
  })

  for (const step of ['flush', 'verified', 'publish'] as const) {
    it(`counts the whole of an upload whose link is lost before the step "${step}" of its publication`, async () => {
      await using rig = await ServerRig.start({ entryBytes: 0, userBytes: 1_000, checkpointMs: 3_600_000 })
      const [lost, other] = [await rig.client({ session: 'one' }), await rig.client({ session: 'two' })]
      const { instance } = await lost.start(sized('a', 600))
      await lost.chunk(instance, 0, patterned(600))
      const held = rig.storage.hold(step)
      lost.sendEnd(instance, sha256(patterned(600)))
      await held.reached
      await lost.vanish()
      await turn()
      assert.deepEqual(rig.server.status().uploads, [])
      for (const size of [401, 400]) other.sendStart(sized(`${size}`, size))
      await turn()
      held.go()
      await other.raw.refused('StartPostFileNack', 'quota-exceeded')
      await other.raw.expect('StartPostFileAck')
      while (!(await rig.stored('a'))) await turn()
      await other.startRefused(sized('c', 1), 'quota-exceeded')
    })
  }

  it('counts the whole of a verified upload whose publication has failed', async () => {
    await using rig = await ServerRig.start({ entryBytes: 0, userBytes: 1_000, checkpointMs: 3_600_000 })
    const [one, other] = [await rig.client({ session: 'one' }), await rig.client({ session: 'two' })]
    const { instance } = await one.start(sized('a', 600))
    await one.chunk(instance, 0, patterned(600))
    rig.storage.fail('publish', new OspError('internal', 'the disk has an error'))
    one.sendEnd(instance, sha256(patterned(600)))
    await one.raw.refused('FileMd5Nack', 'internal')
    await other.startRefused(sized('b', 401), 'quota-exceeded')
    await other.upload(sized('b', 400))
  })

  it('counts the durable bytes of a paused upload until its next admission has ended', async () => {
    await using rig = await ServerRig.start({ entryBytes: 0, userBytes: 1_000 })
    const [one, two] = [await rig.client({ session: 'one' }), await rig.client({ session: 'two' })]
    const { instance } = await one.start(sized('a', 1_000))
    await one.chunk(instance, 0, patterned(600))
    await one.pause(instance)
    const { files } = rig.storage
    const used = files.used
    const held = deferred<void>()
    files.used = async (user, name) => {
      if (name === 'a') await held.promise
      return used(user, name)
    }
    one.sendContinue(sized('a', 1_000))
    two.sendStart(sized('b', 401))
    await turn()
    held.resolve()
    await two.raw.refused('StartPostFileNack', 'quota-exceeded')
    await one.raw.expect('ContinuePostFileAck')
  })

  it('that is refused frees the instance', async () => {
    await using rig = await ServerRig.start({ entryBytes: 0, userBytes: 100, fileInstances: 1 })
    const client = await rig.client()
    await client.startRefused(sized('a', 101), 'quota-exceeded')
    await client.start(sized('b', 100))
  })

  it('is counted again before a refusal, at most once in five minutes, and the refusal says how old the count is', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.start({ entryBytes: 0, userBytes: 1_000, keepAliveMs: 3_600_000 }, { platform })
    rig.storage.besides = 1_000
    const client = await rig.client()
    await client.startRefused(sized('a', 1), 'quota-exceeded')
    rig.storage.besides = 0
    await pass(platform.clock, 299_000)
    for (let time = 0; time < 20; time++) {
      const { text } = await client.startRefused(sized('a', 1_000), 'quota-exceeded')
      assert.match(text, /: 0\.977 KiB are stored \(0 files and 0 folders, last counted on the disk 4 min ago\)/u)
    }
    assert.equal(rig.storage.recounts, 0)
    await pass(platform.clock, 1_000)
    await client.start(sized('a', 1_000))
    assert.equal(rig.storage.recounts, 1)
  })

  it('stops an upload that no longer fits, which continues at its progress when it fits again', async () => {
    const platform = manualPlatform()
    const limits = { entryBytes: 0, userBytes: 1_000, retryAfterMs: 300, keepAliveMs: 3_600_000, parkedMs: 3_600_000 }
    await using rig = await ServerRig.start(limits, { platform })
    const client = await rig.client()
    const [a, b] = [sized('a', 400), sized('b', 700)]
    const { instance } = await client.start(a)
    await client.chunk(instance, 0, a.bytes.subarray(0, 100))
    rig.storage.besides = 800
    await pass(platform.clock, 300_000)
    await client.startRefused(b, 'quota-exceeded')
    const refusal = await client.chunkRefused(instance, 100, a.bytes.subarray(100), 'quota-exceeded')
    assert.deepEqual([refusal.progress, refusal.retryAfter], [100, 300])
    assert.deepEqual(rig.server.status().uploads, [])
    await client.chunkRefused(instance, 100, a.bytes.subarray(100), 'quota-exceeded')
    await client.continueRefused(a, 'quota-exceeded')
    rig.storage.besides = 0
    await pass(platform.clock, 300_000)
    const again = await client.continue(a)
    assert.equal(again.progress, 100)
    await client.chunk(again.instance, 100, a.bytes.subarray(100))
    await client.end(again.instance, sha256(a.bytes))
    await rig.assertStored('a', a.bytes)
  })

  it('that only seemed exceeded stops no upload', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.start({ entryBytes: 0, userBytes: 1_000, keepAliveMs: 3_600_000 }, { platform })
    const client = await rig.client()
    const { instance } = await client.start(sized('a', 400))
    rig.storage.besides = 800
    await pass(platform.clock, 300_000)
    await client.startRefused(sized('b', 700), 'quota-exceeded')
    rig.storage.besides = 0
    await pass(platform.clock, 300_000)
    await client.chunk(instance, 0, patterned(400))
    await client.end(instance, sha256(patterned(400)))
  })

  it('follows the plain files of a directory, which any program may remove or add', async () => {
    await using rig = await ServerRig.onDisk({ entryBytes: 0, userBytes: 1_000 })
    const client = await rig.client()
    await client.upload(sized('x/a', 600))
    await client.upload(sized('b', 400))
    await client.startRefused(sized('c', 1), 'quota-exceeded')
    await rm(join(rig.directory, 'files/alice/x'), { recursive: true })
    await writeFile(join(rig.directory, 'files/alice/d'), patterned(100))
    await rig.server.close()
    await rig.restart()
    const again = await rig.client()
    await again.upload(sized('c', 500))
    const { text } = await again.startRefused(sized('e', 1), 'quota-exceeded')
    assert.match(text, /: 0\.977 KiB are stored \(3 files and 0 folders\)/u)
  })

  it('notices, after an upload five minutes later, files that other programs have added', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.start({ entryBytes: 0, userBytes: 1_000, keepAliveMs: 3_600_000 }, { platform })
    const client = await rig.client()
    await client.upload(sized('a', 100))
    rig.storage.besides = 800
    await client.upload(sized('b', 100))
    await pass(platform.clock, 300_000)
    await client.upload(sized('a', 100))
    await client.startRefused(sized('c', 1), 'quota-exceeded')
  })

  it('counts 4 KiB for each file and folder, also of what is not published yet', async () => {
    await using rig = await ServerRig.start({ userBytes: 40 * KiB })
    const client = await rig.client()
    await client.upload(sized('empty', 0))
    const { instance } = await client.start(sized('a/b/c', 0))
    const { text } = await client.startRefused(sized('d', 20 * KiB + 1), 'quota-exceeded')
    assert.equal(
      text,
      'your quota on this server is 40 KiB, where each file and folder counts 4 KiB in addition to its content: 4 KiB are stored ' +
        '(1 file and 0 folders) and 12 KiB belong to other unfinished uploads, so that 24 KiB more do not fit; cancel ' +
        'unfinished uploads, or have files removed',
    )
    await client.pause(instance)
    // What rests has no folder yet.
    await client.startRefused(sized('d', 28 * KiB + 1), 'quota-exceeded')
    await client.upload(sized('d', 28 * KiB))
    await client.startRefused(sized('e', 0), 'quota-exceeded')
    await client.upload({ ...sized('empty', 0), modifiedAt: 2 })
  })

  it('allows no more empty files in folders than it has blocks', async () => {
    await using rig = await ServerRig.onDisk({ userBytes: 100 * 4 * KiB })
    const client = await rig.client()
    const deep = (at: number) => sized(`${at}/${'x/'.repeat(30)}file`, 0)
    for (const at of [1, 2, 3]) await client.upload(deep(at))
    const { text } = await client.startRefused(deep(4), 'quota-exceeded')
    assert.match(text, /: 384 KiB are stored \(3 files and 93 folders\)/u)
  })

  it('is exact for folders that were there, once the file is published', async () => {
    await using rig = await ServerRig.onDisk({ userBytes: 5 * 4 * KiB })
    const client = await rig.client()
    await client.upload(sized('a/b/1', 0))
    await client.startRefused(sized('a/b/2', 0), 'quota-exceeded')
    await client.upload(sized('c', 0))
    await client.upload(sized('d', 0))
    await client.startRefused(sized('e', 0), 'quota-exceeded')
  })
})

spec('the number of files of a user', (it) => {
  it('is limited, folders and unfinished uploads included, and replacing a file is always allowed', async () => {
    await using rig = await ServerRig.onDisk({ userBytes: 2 ** 40, userFiles: 4 })
    const client = await rig.client()
    await client.upload(sized('a/b', 1))
    const { instance } = await client.start(sized('c', 9))
    await client.pause(instance)
    const { text } = await client.startRefused(sized('d/e', 1), 'quota-exceeded')
    assert.equal(
      text,
      'you may keep 4 files and folders on this server: 1 file and 1 folder are stored and 1 belong to other unfinished ' +
        'uploads, so that 2 more do not fit; cancel unfinished uploads, or have files removed',
    )
    await client.upload({ ...sized('a/b', 2), modifiedAt: 2 })
    await client.upload(sized('f', 1))
    await client.startRefused(sized('g', 1), 'quota-exceeded')
    await client.cancel('c')
    await client.start(sized('g', 1))
  })

  it('is limited for the folders of a new name of a stored file', async () => {
    await using rig = await ServerRig.onDisk({ userFiles: 3 })
    const client = await rig.client()
    for (const name of ['a', 'x/b']) await client.upload(sized(name, 1))
    await counted(rig)
    const rename = (fileName: string, newName: string) =>
      client.raw.send('RenameFileReq', { fileName, newName, version: '', flags: 0 })
    rename('a', 'y/a')
    const { text } = await client.raw.refused('RenameFileNack', 'quota-exceeded')
    assert.match(text, /^you may keep 3 files and folders on this server: 2 files and 1 folder are stored/u)
    for (const [from, to] of [
      ['a', 'c'],
      ['x/b', 'x/c'],
      ['x/c', 'd'],
      ['d', 'y/d'],
    ] as const) {
      rename(from, to)
      await client.raw.expect('RenameFileAck')
    }
  })

  it('does not grow by renaming, replacing or removing a file that an upload replaces', async () => {
    await using rig = await ServerRig.onDisk({ userBytes: 2 * MiB })
    const client = await rig.client()
    await client.upload(sized('a', MiB))
    await client.upload(sized('b', 1))
    const { instance } = await client.start({ ...sized('a', MiB), modifiedAt: 2 })
    const rename = { fileName: 'a', newName: 'c', version: '', flags: 1 }
    client.raw.send('RenameFileReq', rename)
    await client.raw.refused('RenameFileNack', 'file-busy')
    client.raw.send('RenameFileReq', { ...rename, fileName: 'b', newName: 'a' })
    await client.raw.refused('RenameFileNack', 'file-busy')
    client.raw.send('RemoveFileReq', { fileName: 'a', version: '' })
    await client.raw.refused('RemoveFileNack', 'file-busy')
    await client.pause(instance)
    client.raw.send('RenameFileReq', rename)
    await client.raw.expect('RenameFileAck')
  })

  it('is known without a quota after the files were counted, and no upload waits for the count', async () => {
    await using rig = await ServerRig.start({ userFiles: 2 })
    const client = await rig.client()
    const counting = rig.storage.hold('count files')
    for (const name of ['a', 'b', 'c']) await client.upload(sized(name, 1))
    counting.go()
    await counted(rig)
    await client.startRefused(sized('d', 1), 'quota-exceeded')
    await client.upload({ ...sized('a', 1), modifiedAt: 2 })
  })

  it('has a default of a million', () => assert.equal(defaultLimits.userFiles, 1_000_000))
})

spec('the records of a user', (it) => {
  it('are not read by a CANCEL of another name, nor by a START with a quota', async () => {
    await using rig = await ServerRig.start({ entryBytes: 0, userBytes: 1_000 })
    const client = await rig.client()
    for (const name of ['a', 'b', 'c']) {
      const { instance } = await client.start(sized(name, 100))
      await client.chunk(instance, 0, patterned(100).subarray(0, 10))
      await client.pause(instance)
    }
    const before = rig.storage.listings
    for (let at = 0; at < 20; at++) await client.cancel(`missing-${at}`)
    for (let at = 0; at < 20; at++) await client.startRefused(sized(`new-${at}`, 971), 'quota-exceeded')
    await client.start(sized('new', 970))
    assert.equal(rig.storage.listings, before)
  })

  it('are read one by one if a storage has no totals, with the same replies', async () => {
    await using rig = await ServerRig.start({ entryBytes: 0, userBytes: 1_000 })
    rig.storage.forgetTotals()
    const client = await rig.client()
    await client.upload(sized('a', 100))
    const { instance } = await client.start(sized('b', 100))
    await client.chunk(instance, 0, patterned(100).subarray(0, 10))
    await client.pause(instance)
    await client.startRefused(sized('c', 891), 'quota-exceeded')
    assert.equal(await client.cancel('missing'), cancelOutcomes.nothing)
    assert.equal(await client.cancel('b'), cancelOutcomes.removed)
    await client.upload(sized('c', 900))
  })
})

spec('a size in a sentence', (it) => {
  it('has up to three digits and a unit', () => {
    const texts = [0, 999, 1_000, 1_024, 1_310_720, 5 * 1_024 ** 3, Number.MAX_SAFE_INTEGER].map(sizeText)
    assert.deepEqual(texts, ['0 bytes', '999 bytes', '0.977 KiB', '1 KiB', '1.25 MiB', '5 GiB', '8 PiB'])
  })
})
