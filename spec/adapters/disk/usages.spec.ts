import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import fs, { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { disk } from '../../../lib/adapters/disk/disk.ts'
import { Usages } from '../../../lib/adapters/disk/usages.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { Storage, Usage } from '../../../lib/ports/storage.ts'
import { type Deferred, deferred } from '../../../lib/runtime/deferred.ts'
import { claimed, start, upload } from '../../../lib/testing/storage/steps.ts'
import { spec } from '../../support/spec.ts'

const usageOf = (bytes: number, files = 1, folders = 0): Usage => ({ bytes, files, folders })

/** Opens a storage in a new directory that has the folder of alice. */
async function opened() {
  const directory = await mkdtemp(join(tmpdir(), 'ospd-usages-'))
  const storage: Storage = disk(directory)
  await storage.open(nodePlatform())
  return {
    storage,
    folder: join(directory, 'files/alice'),
    usage: (recount?: boolean) => storage.files.usage?.('alice', recount),
    async [Symbol.asyncDispose]() {
      await storage[Symbol.asyncDispose]()
      await rm(directory, { recursive: true })
    },
  }
}

/** Returns the number of directory entries that are read while `work` runs. */
async function entriesRead(work: () => Promise<unknown>): Promise<number> {
  let entries = 0
  const { opendir } = fs
  fs.opendir = async (...args) => {
    const directory = await opendir(...args)
    const all = directory[Symbol.asyncIterator].bind(directory)
    const counting = async function* () {
      for await (const entry of all()) {
        entries++
        yield entry
      }
    }
    return Object.assign(directory, { [Symbol.asyncIterator]: counting })
  }
  syncBuiltinESMExports()
  try {
    await work()
  } finally {
    fs.opendir = opendir
    syncBuiltinESMExports()
  }
  return entries
}

spec('the totals of a user on a disk', (it) => {
  it('include regular files and folders, and no folder is read again before a recount', async () => {
    await using on = await opened()
    await upload(on.storage, { name: 'a/b/c' })
    assert.deepEqual(await on.usage(), usageOf(5, 1, 2))
    await mkdir(join(on.folder, 'x/y'), { recursive: true })
    await writeFile(join(on.folder, 'x/y/z'), 'four')
    const none = await entriesRead(async () => {
      await upload(on.storage, { name: 'a/b/d' })
      await upload(on.storage, { name: 'a/e/d' })
      assert.deepEqual(await on.usage(), usageOf(15, 3, 3))
    })
    assert.equal(none, 0)
    assert.deepEqual(await on.usage(true), usageOf(19, 4, 5))
    assert.deepEqual(await on.usage(), usageOf(19, 4, 5))
  })

  it('do not include a folder that a file has replaced', async () => {
    await using on = await opened()
    await mkdir(join(on.folder, 'a/b/c'), { recursive: true })
    assert.deepEqual(await on.usage(), usageOf(0, 0, 3))
    await upload(on.storage, { name: 'a' })
    assert.deepEqual(await on.usage(), usageOf(5, 1, 0))
    assert.deepEqual(await on.usage(true), usageOf(5, 1, 0))
  })

  it('include a file once if its publication fails and is repeated', async () => {
    await using on = await opened()
    await on.usage()
    await upload(on.storage, { name: 'a' })
    const { claim } = await claimed(on.storage, { name: 'a', size: 0 }, start)
    await using file = await on.storage.files.open(claim)
    const digest = createHash('sha256').digest('hex')
    const stored = { user: 'alice', name: 'a', storedName: 'a', replaced: true, size: 0, algorithm: 'sha256' } as const
    await on.storage.transfers.verified(claim, { ...stored, digest })
    assert.equal(await file.publish('a', true), true)
    assert.equal(await file.publish('a', true), true)
    assert.deepEqual(await on.usage(), usageOf(0))
  })

  it('are counted once for all calls during the count, of up to sixteen users at a time', async () => {
    const counts = new Map<string, Deferred<Usage>>()
    const usages = new Usages((user) => {
      assert.ok(!counts.has(user))
      const count = deferred<Usage>()
      counts.set(user, count)
      return count.promise
    })
    const others = Array.from({ length: 14 }, (_, at) => usages.of(`other-${at}`, false))
    const asked = ['a', 'b', 'c', 'a', 'c'].map((user) => usages.of(user, false))
    await Promise.resolve()
    assert.deepEqual([...counts.keys()].slice(14), ['a', 'b'])
    usages.change('a', usageOf(10))
    usages.change('a', usageOf(-3, -1))
    counts.get('a')?.resolve(usageOf(100, 7))
    // The count may include the files that were published meanwhile, so only their additions count.
    assert.deepEqual(await asked[0], usageOf(110, 8))
    assert.deepEqual(await asked[3], usageOf(110, 8))
    assert.deepEqual([...counts.keys()].slice(14), ['a', 'b', 'c'])
    counts.get('c')?.resolve(usageOf(1))
    counts.get('b')?.reject(new Error('unreadable'))
    await assert.rejects(async () => asked[1], /unreadable/u)
    assert.deepEqual(await asked[4], usageOf(1))
    for (const [user, count] of counts) if (user.startsWith('other')) count.resolve(usageOf(0, 0))
    await Promise.all(others)
    counts.clear()
    const again = usages.of('b', false)
    await Promise.resolve()
    counts.get('b')?.resolve(usageOf(2))
    assert.deepEqual(await again, usageOf(2))
    usages.change('b', usageOf(-1, -1))
    assert.deepEqual(await usages.of('b', false), usageOf(1, 0))
  })
})

spec('an upload with the name of a directory', (it) => {
  it('is refused after a few entries are read, regardless of the number of files', async () => {
    await using on = await opened()
    await mkdir(join(on.folder, 'full'), { recursive: true })
    for (let at = 0; at < 500; at++) await writeFile(join(on.folder, 'full', `${at}`), '')
    const entries = await entriesRead(() =>
      assert.rejects(claimed(on.storage, { name: 'full' }), { code: 'name-conflict' }),
    )
    assert.ok(entries > 0 && entries <= 16, `${entries} entries were read`)
  })

  it('is refused after a few of its directories are read, regardless of their number', async () => {
    await using on = await opened()
    for (let at = 0; at < 500; at++) await mkdir(join(on.folder, `hollow/${at}/x`), { recursive: true })
    const entries = await entriesRead(() =>
      assert.rejects(claimed(on.storage, { name: 'hollow' }), { code: 'name-conflict' }),
    )
    assert.ok(entries > 0 && entries <= 100, `${entries} entries were read`)
  })
})
