import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { link, lstat, mkdir, readdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { claimed, fill, hello } from '../../../lib/testing/storage/steps.ts'
import { failingFlushes } from '../../support/failingFlushes.ts'
import { spec } from '../../support/spec.ts'
import { opened, withData } from './data.ts'

spec('the files without an upload of a data directory', (it) => {
  it(
    'are removed by a sweep if a crash has left them, without a report, and not while they are in use',
    withData(async (data) => {
      await using storage = await opened(data)
      const file = await storage.files.create('alice', [hello])
      const [own] = await readdir(join(data, 'partial'))
      const left = join(data, 'partial', `${randomUUID()}.new`)
      await writeFile(left, 'a crash')
      await link(left, join(data, 'files', 'published'))
      await writeFile(join(data, 'partial', `${randomUUID()}.new`), '')
      assert.deepEqual(await storage.files.sweep(0), [])
      assert.deepEqual(await readdir(join(data, 'partial')), [own])
      assert.equal(await readFile(join(data, 'files', 'published'), 'utf8'), 'a crash')
      assert.equal(await file.publish('a', false), true)
      await file[Symbol.asyncDispose]()
      await file[Symbol.asyncDispose]()
      assert.deepEqual(await readdir(join(data, 'partial')), [])
      assert.equal(await readFile(join(data, 'files', 'alice', 'a'), 'utf8'), 'hello')
    }),
  )

  it(
    'are readable by their owner only, and are removed if they cannot be written',
    withData(async (data) => {
      await using storage = await opened(data)
      await using file = await storage.files.create('alice', [hello])
      const [own = ''] = await readdir(join(data, 'partial'))
      assert.equal((await lstat(join(data, 'partial', own))).mode & 0o777, 0o600)
      using _ = await failingFlushes(data, () => true)
      await assert.rejects(storage.files.create('alice', [hello]), { code: 'internal' })
      assert.deepEqual(await readdir(join(data, 'partial')), [own])
      assert.equal(await file.publish('a', false), true)
    }),
  )
})

spec('the published files of a data directory', (it) => {
  it(
    'are never written through a symbolic link',
    withData(async (data) => {
      await using storage = await opened(data)
      await mkdir(join(data, 'files', 'alice'))
      await mkdir(join(data, '..', 'outside'))
      await symlink('../../../outside', join(data, 'files', 'alice', 'x'))
      await assert.rejects(claimed(storage, { name: 'x/a' }), { code: 'name-conflict' })
      const { claim } = await claimed(storage)
      await fill(storage, claim)
      await using file = await storage.files.open(claim)
      await assert.rejects(file.publish('x/a', true), { code: 'name-conflict' })
      assert.deepEqual(await readdir(join(data, '..', 'outside')), [])
    }),
  )

  it(
    'are not read from a symbolic link in the place of the directory of a user',
    withData(async (data) => {
      await using storage = await opened(data)
      await mkdir(join(data, '..', 'outside'))
      await writeFile(join(data, '..', 'outside', 'a'), 'secret')
      await symlink('../../outside', join(data, 'files', 'alice'))
      assert.equal(await storage.files.stored('alice', 'a'), false)
      await assert.rejects(claimed(storage), { code: 'name-conflict' })
    }),
  )

  it(
    'do not replace a symbolic link',
    withData(async (data) => {
      await using storage = await opened(data)
      await mkdir(join(data, 'files', 'alice'))
      await symlink('nowhere', join(data, 'files', 'alice', 'a'))
      await assert.rejects(claimed(storage), { code: 'name-conflict' })
      assert.equal(await storage.files.stored('alice', 'a'), false)
    }),
  )

  it(
    'replace directories that contain no file',
    withData(async (data) => {
      await using storage = await opened(data)
      await mkdir(join(data, 'files', 'alice', 'a', 'b', 'c'), { recursive: true })
      const { claim } = await claimed(storage)
      await fill(storage, claim)
      await using file = await storage.files.open(claim)
      assert.equal(await file.publish('a', true), true)
      assert.equal(await readFile(join(data, 'files', 'alice', 'a'), 'utf8'), 'hello')
    }),
  )

  it(
    'can have names of the maximum length of the protocol',
    withData(async (data) => {
      await using storage = await opened(data)
      await claimed(storage, { name: `${'d'.repeat(255)}/${'e'.repeat(255)}/${'f'.repeat(255)}/${'g'.repeat(250)}` })
    }),
  )
})

spec('the partial files of a data directory', (it) => {
  it(
    'without a record survive the start; old ones and other entries are removed and reported',
    withData(async (data) => {
      const storage = await opened(data)
      const { claim } = await claimed(storage)
      await fill(storage, claim)
      await storage[Symbol.asyncDispose]()
      const [kept] = await readdir(join(data, 'partial'))
      const orphan = '00000000000000000000000000000000.part'
      await writeFile(join(data, 'partial', orphan), 'left over')
      await writeFile(join(data, 'partial', 'other.part'), 'left over')
      await mkdir(join(data, 'partial', 'directory'))
      await using again = await opened(data)
      const removed = (await again.files.sweep(0)).filter((found) => found.removed).map(({ file }) => basename(file))
      assert.deepEqual(removed.sort(), ['directory', 'other.part'])
      assert.deepEqual((await readdir(join(data, 'partial'))).sort(), [orphan, kept])
    }),
  )

  it(
    'leave no open handle when the storage is closed',
    withData(async (data) => {
      const storage = await opened(data)
      const { claim } = await claimed(storage)
      const files = await Promise.all([storage.files.open(claim), storage.files.open(claim)])
      await files[0].write(0, [new Uint8Array(10)])
      await storage[Symbol.asyncDispose]()
      assert.deepEqual(await handlesBelow(data), [])
    }),
  )

  it(
    'that cannot be opened are named by the error',
    withData(async (data) => {
      await using storage = await opened(data)
      const { claim } = await claimed(storage)
      await fill(storage, claim)
      const [name = ''] = await readdir(join(data, 'partial'))
      await storage.files.remove('alice', 'a')
      await symlink('/dev/null', join(data, 'partial', name))
      await assert.rejects(storage.files.open(claim), {
        code: 'storage-unusable',
        message: new RegExp(`${name} failed: .*\\(ELOOP\\)$`, 'u'),
      })
    }),
  )
})

/** Returns the files below a directory that this process has open (Linux only). */
async function handlesBelow(directory: string): Promise<string[]> {
  const numbers = await readdir('/proc/self/fd').catch(() => [])
  const paths = await Promise.all(numbers.map((number) => readlink(`/proc/self/fd/${number}`).catch(() => '')))
  return paths.filter((path) => path.startsWith(directory))
}
