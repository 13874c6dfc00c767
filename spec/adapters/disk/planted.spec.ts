import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { link, lstat, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { claimed, fill } from '../../../lib/testing/storage/steps.ts'
import { spec } from '../../support/spec.ts'
import { opened, withData } from './data.ts'

/** Entries that an attacker can put in the place of a file, so that a write to it would do harm or hang. */
const planting = {
  'a symbolic link': (foreign: string, at: string) => symlink(foreign, at),
  'a hard link': (foreign: string, at: string) => link(foreign, at),
  'a FIFO': async (_foreign: string, at: string) => void execFileSync('mkfifo', [at]),
} as const

const facts = Object.entries(planting).filter(([what]) => process.platform !== 'win32' || what === 'a hard link')

/** Moves the entry at `path` away and plants another one. Resolves with the path of the foreign file that it leads to. */
async function plant(act: (typeof planting)['a hard link'], data: string, path: string): Promise<string> {
  const foreign = join(dirname(data), 'foreign')
  await writeFile(foreign, 'foreign')
  await rm(join(data, path), { recursive: true, force: true })
  await act(foreign, join(data, path))
  return foreign
}

const untouched = async (foreign: string) => assert.equal(await readFile(foreign, 'utf8'), 'foreign')

for (const [what, act] of facts) {
  spec(what, (it) => {
    it(
      'in the place of a partial file is not opened: nothing is written, and nothing hangs',
      withData(async (data) => {
        await using storage = await opened(data)
        const { claim } = await claimed(storage)
        await (await storage.files.open(claim))[Symbol.asyncDispose]()
        const [partial = ''] = await readdir(join(data, 'partial'))
        const foreign = await plant(act, data, join('partial', partial))
        await assert.rejects(storage.files.open(claim), { code: 'storage-unusable', message: new RegExp(partial) })
        await untouched(foreign)
        // An upload that starts over removes it.
        await storage.files.remove(claim.user, claim.name)
        await using file = await storage.files.open(claim)
        await fill(storage, claim)
        assert.equal((await lstat(join(data, 'partial', partial))).nlink, 1)
        assert.ok(file.length >= 0)
        await untouched(foreign)
      }),
    )

    it(
      'in "partial" under any name is removed with old partial files; its target is not',
      withData(async (data) => {
        await (await opened(data))[Symbol.asyncDispose]()
        const foreign = await plant(act, data, 'partial/0123.part')
        await using storage = await opened(data)
        assert.deepEqual(
          (await storage.files.sweep(0)).map(({ removed }) => removed),
          [true],
        )
        assert.deepEqual(await readdir(join(data, 'partial')), [])
        await untouched(foreign)
      }),
    )

    it(
      'in the place of a published file is replaced or conflicts with the upload; its target does not change',
      withData(async (data) => {
        await using storage = await opened(data)
        const { claim } = await claimed(storage)
        await fill(storage, claim)
        await mkdir(join(data, 'files/alice'), { recursive: true, mode: 0o700 })
        const foreign = await plant(act, data, 'files/alice/planted')
        await using file = await storage.files.open(claim)
        if (what === 'a hard link') assert.equal(await file.publish('planted', true), true)
        else await assert.rejects(file.publish('planted', true), { code: 'name-conflict' })
        await untouched(foreign)
      }),
    )

    for (const path of ['format.new', 'daemon.json.new']) {
      it(
        `in the place of ${path} is removed; its target does not change`,
        withData(async (data) => {
          await mkdir(data, { mode: 0o700 })
          // A failed start can leave it in a directory that is otherwise empty.
          if (path === 'daemon.json.new') await (await opened(data))[Symbol.asyncDispose]()
          const foreign = await plant(act, data, path)
          await using _ = await opened(data)
          await untouched(foreign)
        }),
      )
    }

    for (const path of [
      'mailboxes/00000001.log',
      'mailboxes/00000009.log',
      'uploads/00000001.log',
      'lock/CURRENT',
      'lock/LOCK',
    ]) {
      it(
        `in the place of ${path} is refused by its name at the start, and nothing hangs`,
        withData(async (data) => {
          await (await opened(data))[Symbol.asyncDispose]()
          const foreign = await plant(act, data, path)
          await assert.rejects(opened(data), { message: new RegExp(path) })
          await untouched(foreign)
        }),
      )
    }
  })
}

spec('a data directory that was replaced while it is open', (it) => {
  if (process.platform === 'win32') return it.skip('is not used', 'Windows renames no directory that is in use')

  it(
    'opens, publishes and creates no file in the other one, and is used again when it is back',
    withData(async (data) => {
      await using storage = await opened(data)
      const { claim } = await claimed(storage)
      await using file = await storage.files.open(claim)
      await fill(storage, claim)
      const other = await claimed(storage, { name: 'other' })
      await rename(data, `${data}-aside`)
      for (const path of ['partial', 'files', 'mailboxes', 'uploads'])
        await mkdir(join(data, path), { recursive: true })
      const refused = { code: 'storage-unusable', message: /has been replaced since the start/ }
      await assert.rejects(file.publish('name', true), refused)
      await assert.rejects(storage.files.open(other.claim), refused)
      const left = await readdir(data, { recursive: true })
      assert.deepEqual(left.sort(), ['files', 'mailboxes', 'partial', 'uploads'])
      await rm(data, { recursive: true })
      await rename(`${data}-aside`, data)
      assert.equal(await file.publish('name', true), true)
      await (await storage.files.open(other.claim))[Symbol.asyncDispose]()
    }),
  )
})
