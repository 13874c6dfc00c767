import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, open, readdir, rm, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { disk } from '../../../lib/adapters/disk/disk.ts'
import { file } from '../../../lib/adapters/node/fileSource.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { MiB } from '../../../lib/limits.ts'
import { patterned } from '../../support/memorySource.ts'
import { spec } from '../../support/spec.ts'
import { UploadRig } from '../../support/uploadRig.ts'

const GiB = 1024 * MiB
const whole = 5 * GiB
const checkpoint = whole - 3 * MiB
const tail = patterned(2 * MiB)

/** A file system in memory reads holes without cost; others read each into the page cache. */
const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

/** Writes a file of 5 GiB: a hole and two MiB at its end. */
async function sparse(path: string): Promise<void> {
  const handle = await open(path, 'w')
  await handle.truncate(whole)
  await handle.write(tail, 0, tail.length, whole - tail.length)
  await handle.close()
}

/** Writes the record and the partial file of a server that was killed at the checkpoint. */
async function leaveBehind(data: string, modifiedAt: number): Promise<void> {
  const platform = nodePlatform()
  await platform.digests.load('xxh128')
  const digest = platform.digests.create('xxh128')
  const zeros = new Uint8Array(MiB)
  for (let at = 0; at < checkpoint; at += MiB) digest.update(zeros)
  const storage = disk(data)
  await storage.open(platform)
  const upload = { user: 'alice', name: 'large.bin', size: whole, modifiedAt, algorithm: 'xxh128' } as const
  const owner = { node: 1, instance: 1, session: '0'.repeat(32) }
  const at = Date.now()
  const how = { fresh: true, takeOver: false, onConflict: 'replace', at } as const
  const claimed = await storage.transfers.claim(upload, owner, how)
  assert.ok('claim' in claimed)
  const partial = await storage.files.open(claimed.claim)
  await partial[Symbol.asyncDispose]()
  const [name = ''] = await readdir(join(data, 'partial'))
  await truncate(join(data, 'partial', name), checkpoint)
  await storage.transfers.checkpoint(claimed.claim, [{ offset: checkpoint, digest: digest.digest() }], at)
  await storage[Symbol.asyncDispose]()
}

spec('a file of 5 GiB', (it) => {
  it('is continued near its end after both sides were killed', async () => {
    const directory = await mkdtemp(join(base, 'ospd-large-'))
    try {
      const path = join(directory, 'large.bin')
      await sparse(path)
      const source = file(path)
      await using opened = await source.open(new AbortController().signal)
      const data = join(directory, 'data')
      await leaveBehind(data, opened.modifiedAt)
      await using rig = await UploadRig.start({}, { storage: disk(data) })
      const upload = await rig.client().upload(source, { digest: 'xxh128' })
      assert.equal((await upload.done).size, whole)
      assert.equal(rig.transport.contentBytes, whole - checkpoint)
      const stored = await open(join(data, 'files', 'alice', 'large.bin'))
      const end = new Uint8Array(tail.length)
      await stored.read(end, 0, end.length, whole - tail.length)
      assert.equal((await stored.stat()).size, whole)
      await stored.close()
      assert.deepEqual(end, tail)
    } finally {
      await rm(directory, { recursive: true })
    }
  })
})
