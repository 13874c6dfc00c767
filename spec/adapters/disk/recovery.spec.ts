import assert from 'node:assert/strict'
import { cp, link, mkdir, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { journalHeaderBytes } from '../../../lib/adapters/disk/journalFormat.ts'
import type { Claim, Storage } from '../../../lib/ports/storage.ts'
import {
  claimed,
  fileOf,
  fill,
  hello,
  recordsOf,
  resume,
  start,
  textOf,
  upload,
  wanted,
} from '../../../lib/testing/storage/steps.ts'
import { ballast } from '../../support/ballast.ts'
import { spec } from '../../support/spec.ts'
import { canMount, smallDisk, temporaryDirectory } from '../../testing/storage/places.ts'
import { opened } from './data.ts'

/** Leaves a verified upload as a crash would, changes the disk by `crash`, then finishes the upload. */
const afterCrash =
  (replace: boolean, crash: (partial: string, target: string) => Promise<void>, check: Check) => async () => {
    await using directory = await temporaryDirectory()
    const data = join(directory.path, 'data')
    const before = await opened(data)
    const { claim } = await claimed(before, {}, start)
    await fill(before, claim)
    await before.transfers.verified(claim, fileOf())
    await before[Symbol.asyncDispose]()
    const [name = ''] = await readdir(join(data, 'partial'))
    await mkdir(join(data, 'files', 'alice'))
    await crash(join(data, 'partial', name), join(data, 'files', 'alice', 'a'))
    await using storage = await opened(data)
    await using file = await storage.files.open(claim)
    await check(await file.publish('a', replace), data, storage, claim)
  }
type Check = (published: boolean, data: string, storage: Storage, claim: Claim) => Promise<void>

const inPlace: Check = async (published, data, storage, claim) => {
  assert.equal(published, true)
  assert.equal(await readFile(join(data, 'files', 'alice', 'a'), 'utf8'), 'hello')
  assert.equal((await stat(join(data, 'files', 'alice', 'a'))).nlink, 1)
  assert.deepEqual(await readdir(join(data, 'partial')), [])
  await storage.transfers.complete(claim, 1_000)
}

spec('a file whose publication a crash has interrupted', (it) => {
  for (const replace of [true, false]) {
    const how = replace ? 'replacing' : 'not replacing'
    it(
      `is published if the publication had not begun, ${how}`,
      afterCrash(replace, async () => {}, inPlace),
    )
    it(
      `is published if it was linked and the partial file was not removed, ${how}`,
      afterCrash(replace, (partial, target) => link(partial, target), inPlace),
    )
    it(
      `is published if the partial file was already removed, ${how}`,
      afterCrash(replace, (partial, target) => link(partial, target).then(() => rm(partial)), inPlace),
    )
  }

  it(
    'does not replace a later file of that name, unless the upload replaces files',
    afterCrash(
      false,
      (_partial, target) => writeFile(target, 'other'),
      async (published, data, storage, claim) => {
        assert.equal(published, false)
        assert.equal(await readFile(join(data, 'files', 'alice', 'a'), 'utf8'), 'other')
        assert.equal(await textOf(storage, claim), 'hello')
      },
    ),
  )
})

/** Returns the path of the journal of uploads. */
const rowsIn = (data: string) => join(data, 'uploads', '00000001.log')

spec('damaged records', (it) => {
  it('lose only the record with the flipped bit, at every place, and its upload continues with its bytes', async () => {
    await using directory = await temporaryDirectory()
    const before = await opened(directory.path)
    const names = ['a', 'b', 'c']
    for (const name of names) {
      const { claim } = await claimed(before, { name })
      await fill(before, claim)
      await before.transfers.checkpoint(claim, [{ offset: 5, digest: Uint8Array.of(1) }], 1)
    }
    await upload(before, { name: 'stored' })
    await before[Symbol.asyncDispose]()
    const bytes = await readFile(rowsIn(directory.path))
    for (let at = 0; at < bytes.length; at += 17) {
      const flipped = Buffer.from(bytes)
      flipped[at] = (flipped[at] ?? 0) ^ 0x20
      await writeFile(rowsIn(directory.path), flipped)
      await using storage = await opened(directory.path)
      const found = await recordsOf(storage)
      const whole = found.filter(({ checkpoints }) => checkpoints.length === 1).map(({ name }) => name)
      const isNoted = (await storage.transfers.completed({ ...wanted, name: 'stored' })) !== undefined
      assert.ok(whole.length + (isNoted ? 1 : 0) >= 3, `${at}: ${whole} and ${isNoted}`)
      // The header is stored twice.
      if (at >= journalHeaderBytes) assert.equal((await storage.transfers.damages()).length, 1, `${at}`)
      const lost = names.find((name) => !found.some((record) => record.name === name))
      if (lost === undefined) continue
      const [orphan] = await storage.files.sweep(0)
      assert.deepEqual([orphan?.bytes, orphan?.removed], [5, false])
      const { claim, record } = await claimed(storage, { name: lost })
      assert.deepEqual(record.checkpoints, [{ offset: 5, digest: new Uint8Array() }])
      assert.equal(await textOf(storage, claim), 'hello')
    }
  })

  it('at the end of the journal lose no partial file of an upload that was removed and began again, also if the start that cuts them is killed', async () => {
    await using directory = await temporaryDirectory()
    const before = await opened(directory.path)
    await claimed(before)
    await before.transfers.remove('alice', 'a')
    await before[Symbol.asyncDispose]()
    const removed = await readFile(rowsIn(directory.path))
    const again = await opened(directory.path)
    await fill(again, (await claimed(again)).claim)
    await again[Symbol.asyncDispose]()
    // The state after a start that has cut the damaged end and is then killed.
    await writeFile(rowsIn(directory.path), removed)
    await using storage = await opened(directory.path)
    assert.deepEqual(await storage.transfers.damages(), [])
    const { claim, record } = await claimed(storage)
    assert.deepEqual(record.checkpoints, [{ offset: 5, digest: new Uint8Array() }])
    assert.equal(await textOf(storage, claim), 'hello')
  })

  it('leave partial files, which are removed when they are old or empty', async () => {
    await using directory = await temporaryDirectory()
    const before = await opened(directory.path)
    await fill(before, (await claimed(before)).claim)
    await fill(before, (await claimed(before, { name: 'b' })).claim, new Uint8Array(0))
    const other = await claimed(before, { name: 'c' })
    await fill(before, other.claim)
    await before[Symbol.asyncDispose]()
    const rows = await readFile(rowsIn(directory.path))
    await writeFile(rowsIn(directory.path), rows.subarray(0, journalHeaderBytes))
    await using storage = await opened(directory.path)
    const removed = async (before: number) => (await storage.files.sweep(before)).map((orphan) => orphan.removed).sort()
    assert.deepEqual(await removed(0), [false, false, true])
    assert.deepEqual(await removed(Date.now() - 60_000), [false, false])
    await claimed(storage, { name: 'c' })
    assert.deepEqual(await removed(Date.now() + 60_000), [true])
    assert.deepEqual(await removed(Date.now() + 60_000), [])
  })
})

spec('a partial file whose record is lost', (it) => {
  const lost = (proof: (storage: Storage, data: string) => Promise<void>) => async () => {
    await using directory = await temporaryDirectory()
    const before = await opened(directory.path)
    await fill(before, (await claimed(before)).claim)
    await before[Symbol.asyncDispose]()
    await rm(join(directory.path, 'uploads'), { recursive: true })
    await using storage = await opened(directory.path)
    await proof(storage, directory.path)
  }

  it(
    'is continued by an upload of that name',
    lost(async (storage) => {
      const { claim, record } = await claimed(storage)
      assert.deepEqual(record.checkpoints, [{ offset: 5, digest: new Uint8Array() }])
      assert.equal(await textOf(storage, claim), 'hello')
    }),
  )

  it(
    'is removed at once if it is the second name of a published file',
    lost(async (storage, data) => {
      const [name = ''] = await readdir(join(data, 'partial'))
      await link(join(data, 'partial', name), join(data, 'files', 'a'))
      assert.deepEqual(
        (await storage.files.sweep(0)).map(({ removed }) => removed),
        [true],
      )
      assert.deepEqual((await claimed(storage)).record.checkpoints, [])
      assert.equal(await readFile(join(data, 'files', 'a'), 'utf8'), 'hello')
    }),
  )

  for (const [what, want, options] of [
    ['that begins anew', {}, start],
    ['that is shorter', { size: 4 }, resume],
    ['of another user', { user: 'bob' }, resume],
  ] as const) {
    it(
      `is not continued by an upload ${what}`,
      lost(async (storage) => {
        const { claim, record } = await claimed(storage, want, options)
        assert.deepEqual(record.checkpoints, [])
        assert.equal(await textOf(storage, claim), '')
      }),
    )
  }
})

spec('a copy of a data directory', (it) => {
  for (const [what, keepsTimes] of [
    ['with its times', true],
    ['without its times', false],
  ] as const) {
    it(`${what} recognizes the stored files, and those that have changed since`, async () => {
      await using directory = await temporaryDirectory()
      const data = join(directory.path, 'data')
      const before = await opened(data)
      for (const name of ['a', 'b', 'c']) await upload(before, { name })
      await before[Symbol.asyncDispose]()
      const copy = join(directory.path, 'copy')
      await cp(data, copy, { recursive: true, preserveTimestamps: keepsTimes })
      if (!keepsTimes) await utimes(join(copy, 'files/alice/a'), 1, 1)
      await writeFile(join(copy, 'files/alice/b'), 'HELLO')
      await writeFile(join(copy, 'files/alice/c'), 'longer')
      await using storage = await opened(copy)
      const answers = await Promise.all(['a', 'b', 'c'].map((name) => storage.transfers.completed({ ...wanted, name })))
      assert.deepEqual(
        answers.map((file) => file?.name),
        ['a', undefined, undefined],
      )
    })
  }
})

spec('records on a full disk', (it) => {
  if (!canMount) return it.skip('are refused', 'this process cannot mount a small disk')

  it('refuse a claim, and grant it when there is space again', async () => {
    await using directory = await smallDisk(3_000_000)
    await using storage = await opened(join(directory.path, 'data'))
    await writeFile(join(directory.path, 'ballast'), new Uint8Array(4_000_000)).catch(() => {})
    await assert.rejects(
      async () => {
        for (let index = 0; index < 100; index++) await claimed(storage, { name: `${index} ${'x'.repeat(200)}` })
      },
      { code: 'disk-full' },
    )
    await rm(join(directory.path, 'ballast'))
    await upload(storage, {}, hello)
  })

  it('can be opened in a directory without a free byte', async () => {
    await using directory = await smallDisk(3_000_000)
    const data = join(directory.path, 'data')
    const before = await opened(data)
    const { record } = await claimed(before)
    await upload(before, { name: 'b' })
    await before[Symbol.asyncDispose]()
    using _ = ballast(directory.path, 0)
    await using storage = await opened(data)
    assert.deepEqual(await recordsOf(storage), [record])
    assert.ok(await storage.transfers.completed({ ...wanted, name: 'b' }))
  })

  it('can be opened if their damaged end must be cut, after many uploads were removed', async () => {
    await using directory = await smallDisk(3_000_000)
    const data = join(directory.path, 'data')
    const before = await opened(data)
    const names = Array.from({ length: 100 }, (_, index) => `removed ${index}`)
    await Promise.all(names.map((name) => claimed(before, { name })))
    await Promise.all(names.map((name) => before.transfers.remove('alice', name)))
    await fill(before, (await claimed(before)).claim)
    await before[Symbol.asyncDispose]()
    const rows = await readFile(rowsIn(data))
    await writeFile(rowsIn(data), rows.fill(1, rows.length - 4))
    using _ = ballast(directory.path, 0)
    await using storage = await opened(data)
    assert.equal((await storage.transfers.damages()).length, 1)
    assert.equal((await storage.files.sweep(0))[0]?.bytes, 5)
  })
})
