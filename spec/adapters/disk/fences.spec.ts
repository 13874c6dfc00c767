import assert from 'node:assert/strict'
import { readdir, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import type { DiskFiles } from '../../../lib/adapters/disk/files.ts'
import { ServerClaims, sharedFiles } from '../../support/sharedFiles.ts'
import { spec } from '../../support/spec.ts'
import { temporaryDirectory } from '../../testing/storage/places.ts'

/** Runs `proof` with the files of two servers that share a directory. */
function withServers(proof: (data: string, one: DiskFiles, two: DiskFiles) => Promise<void>) {
  return async () => {
    await using directory = await temporaryDirectory()
    const data = join(directory.path, 'data')
    const open = () => sharedFiles(data, new ServerClaims(() => false))
    await proof(data, await open(), await open())
  }
}

async function store(files: DiskFiles, name: string, content: string): Promise<void> {
  await using file = await files.create('alice', [new TextEncoder().encode(content)])
  assert.equal(await file.publish(name, true), true)
}

/** Resolves with a file as a server has seen it. */
async function seen(files: DiskFiles, name: string) {
  const { version } = (await files.tree.find('alice', name)) ?? assert.fail(`there is no file ${name}`)
  return { user: 'alice', name, version }
}

async function namesIn(files: DiskFiles): Promise<readonly string[]> {
  const page = await files.tree.list('alice', { prefix: '', after: '', most: 9 })
  return page.files.map(({ name }) => name)
}

spec('a change of a published file through a fence', (it) => {
  it(
    'removes the file, or gives it another name in addition',
    withServers(async (data, one, two) => {
      await store(one, 'x/a', 'hello')
      const file = await seen(two, 'x/a')
      await two.fences.add('f')
      assert.equal(await two.fences.link(file, 'y/b', false, 'f'), true)
      assert.deepEqual(await namesIn(one), ['x/a', 'y/b'])
      assert.equal((await seen(one, 'y/b')).version, file.version)
      assert.equal(await two.fences.unlink(file, 'f'), true)
      assert.deepEqual(await namesIn(one), ['y/b'])
      assert.equal(await two.fences.unlink(file, 'f'), false)
      await two.fences.remove('f')
      assert.deepEqual(await readdir(join(data, 'files/alice')), ['y'])
      assert.deepEqual(await namesIn(one), ['y/b'])
    }),
  )

  it(
    'has no effect once any server has removed the fence',
    withServers(async (_, one, two) => {
      await store(one, 'a', 'hello')
      const file = await seen(one, 'a')
      await one.fences.add('f')
      assert.deepEqual(await two.fences.list(), ['f'])
      await two.fences.remove('f')
      assert.deepEqual(await two.fences.list(), [])
      assert.equal(await one.fences.unlink(file, 'f'), false)
      assert.equal(await one.fences.link(file, 'b', true, 'f'), false)
      assert.deepEqual(await namesIn(two), ['a'])
      // It is removed again without an error.
      await one.fences.remove('f')
    }),
  )

  it(
    'has no effect on another version, and replaces a file only if it may',
    withServers(async (_, one, two) => {
      await store(one, 'a', 'hello')
      const file = await seen(one, 'a')
      await store(two, 'a', 'newer')
      await store(two, 'b', 'other')
      await one.fences.add('f')
      assert.equal(await one.fences.unlink(file, 'f'), false)
      assert.equal(await one.fences.link(file, 'c', true, 'f'), false)
      await one.fences.add('g')
      await assert.rejects(one.fences.link(await seen(one, 'a'), 'b', false, 'g'), { code: 'file-exists' })
      assert.deepEqual(await namesIn(two), ['a', 'b'])
    }),
  )

  it(
    'leaves a fence that a sweep removes once it is old, without reporting it',
    withServers(async (data, one, two) => {
      await one.fences.add('young')
      await one.fences.add('old')
      const longAgo = new Date(1_000_000)
      await utimes(join(data, 'partial/old.change'), longAgo, longAgo)
      assert.deepEqual(await two.sweep(2_000_000), [])
      const left = (await readdir(join(data, 'partial'))).filter((entry) => entry.endsWith('.change'))
      assert.deepEqual(left, ['young.change'])
    }),
  )
})
