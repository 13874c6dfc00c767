import assert from 'node:assert/strict'
import { link, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { LevelShelf } from '../../../lib/adapters/disk/levelShelf.ts'
import { nodePlatform } from '../../../lib/adapters/nodePlatform.ts'
import {
  claimed,
  contentOf,
  fileOf,
  fill,
  hello,
  recordsOf,
  start,
  upload,
} from '../../../lib/contract/storage/steps.ts'
import type { Claim, Storage } from '../../../lib/ports/storage.ts'
import { canMount, smallDisk, temporaryDirectory } from '../../contract/storage/places.ts'
import { spec } from '../../support/spec.ts'
import { opened } from './data.ts'

/** Leaves a verified upload behind as a crash would, changed on the disk by `crash`; then finishes it. */
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

spec('a file whose publishing a crash interrupted', (it) => {
  for (const replace of [true, false]) {
    const how = replace ? 'replacing' : 'not replacing'
    it(
      `is published if it had not begun, ${how}`,
      afterCrash(replace, async () => {}, inPlace),
    )
    it(
      `is published if it was linked and the partial file not removed, ${how}`,
      afterCrash(replace, (partial, target) => link(partial, target), inPlace),
    )
    it(
      `is published if the partial file was gone already, ${how}`,
      afterCrash(replace, (partial, target) => link(partial, target).then(() => rm(partial)), inPlace),
    )
  }

  it(
    'does not replace another one that came into its place, unless it is told to',
    afterCrash(
      false,
      (_partial, target) => writeFile(target, 'other'),
      async (published, data, storage, claim) => {
        assert.equal(published, false)
        assert.equal(await readFile(join(data, 'files', 'alice', 'a'), 'utf8'), 'other')
        assert.equal(await contentOf(storage, claim), 'hello')
      },
    ),
  )
})

spec('records that are damaged', (it) => {
  for (const damage of ['', '{"user":"alice"', '{"user":"alice"}', 'null']) {
    it(`are dropped with their partial files, and the others stand: ${JSON.stringify(damage)}`, async () => {
      await using directory = await temporaryDirectory()
      const before = await opened(directory.path)
      await fill(before, (await claimed(before)).claim)
      const other = await claimed(before, { name: 'b' })
      await fill(before, other.claim)
      await before[Symbol.asyncDispose]()
      const level = new ClassicLevel(join(directory.path, 'records'))
      await level.put('transfer\0alice\0a', damage)
      await level.close()
      await using storage = await opened(directory.path)
      assert.deepEqual(await recordsOf(storage), [other.record])
      assert.equal((await readdir(join(directory.path, 'partial'))).length, 1)
      assert.equal(await contentOf(storage, other.claim), 'hello')
      assert.deepEqual((await claimed(storage)).record.checkpoints, [])
    })
  }

  it('count as none when a note is damaged', async () => {
    await using directory = await temporaryDirectory()
    const before = await opened(directory.path)
    await upload(before)
    await before[Symbol.asyncDispose]()
    const level = new ClassicLevel(join(directory.path, 'records'))
    await level.put('note\0alice\0a', '{"until":')
    await level.close()
    await using storage = await opened(directory.path)
    await claimed(storage)
  })
})

spec('records on a full disk', (it) => {
  if (!canMount) return it.skip('are refused', 'this process may not mount a small disk')

  it('are refused, and those written when there is room again outlive a crash', async () => {
    await using directory = await smallDisk(3_000_000)
    const ballast = join(directory.path, 'ballast')
    await writeFile(ballast, new Uint8Array(2_000_000))
    const records = join(directory.path, 'records')
    const shelf = await LevelShelf.open(records)
    // Random, so that it is not compressed away.
    const value = Buffer.from(nodePlatform().random.bytes(24_000, 'a spec')).toString('hex')
    let written = 0
    const untilFull = async () => {
      for (; ; written++) await shelf.write([{ key: `before ${written}`, value }])
    }
    await assert.rejects(untilFull(), { code: 'disk-full' })
    await rm(ballast)
    for (let index = 0; index < 3; index++) await shelf.write([{ key: `after ${index}`, value }])
    // A copy of the files as they are now: what a crash would leave.
    await using copy = await temporaryDirectory()
    for (const name of await readdir(records)) {
      await writeFile(join(copy.path, name), await readFile(join(records, name)))
    }
    await shelf.close()
    const again = await LevelShelf.open(copy.path)
    const keys: string[] = []
    for await (const [key] of again.entries({ from: '', below: '~' })) keys.push(key)
    await again.close()
    assert.deepEqual(
      keys.filter((key) => key.startsWith('after')),
      ['after 0', 'after 1', 'after 2'],
    )
    assert.equal(keys.length, written + 3)
  })

  it('refuse a claim, and grant it when there is room again', async () => {
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
})
