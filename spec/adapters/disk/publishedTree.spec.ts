import assert from 'node:assert/strict'
import { access, mkdir, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DirectoryFlushes } from '../../../lib/adapters/disk/directories.ts'
import { PublishedTree } from '../../../lib/adapters/disk/publishedTree.ts'
import { OspError } from '../../../lib/errors.ts'
import { spec } from '../../support/spec.ts'
import { withData } from './data.ts'

spec('a file that is moved into its place', (it) => {
  for (const replace of [true, false]) {
    it(
      `is there before its directory is flushed, which is the last step (replace: ${replace})`,
      withData(async (data) => {
        await mkdir(join(data, 'alice'), { recursive: true })
        await writeFile(join(data, 'partial'), 'bytes')
        const flushed: string[] = []
        const sync = async (path: string) => {
          if (path === join(data, 'alice')) await access(join(data, 'alice', 'a'))
          flushed.push(path)
        }
        const tree = new PublishedTree(data, new DirectoryFlushes(sync))
        const move = { partial: join(data, 'partial'), parts: ['alice', 'a'] }
        assert.deepEqual(await tree.publish([move], replace), [true])
        assert.equal(flushed.at(-1), join(data, 'alice'))
      }),
    )
  }
})

spec('a file whose folder is removed while it is moved there', (it) => {
  it(
    'is there, in a new folder',
    withData(async (data) => {
      await mkdir(join(data, 'alice', 'x'), { recursive: true })
      await mkdir(join(data, 'alice', 'y'))
      const names = ['one', 'two', 'three']
      for (const name of names) await writeFile(join(data, name), name)
      let removals = 0
      const sync = async (path: string) => {
        // The folder is flushed after it was created, and before the file is moved into it.
        if (path === join(data, 'alice') && removals++ < 2) await rmdir(join(data, 'alice', 'x'))
      }
      const tree = new PublishedTree(data, new DirectoryFlushes(sync))
      const moveTo = (name: string, parts: readonly string[]) => ({ partial: join(data, name), parts })
      assert.deepEqual(await tree.publish([moveTo('one', ['alice', 'x', 'a'])], true), [true])
      await access(join(data, 'alice', 'x', 'a'))
      assert.equal(removals, 3)
    }),
  )
})

spec('files that are moved into their places together', (it) => {
  for (const [first, second] of [
    ['a', 'a/b/c'],
    ['a/b/c', 'a'],
    ['a/b/c', 'a/b'],
  ] as const) {
    it(
      `are in the place of the first only, if that is ${first} and the place of the second is ${second}`,
      withData(async (data) => {
        await mkdir(data)
        const places = ['x/y', first, 'x/z', second]
        for (const [at] of places.entries()) await writeFile(join(data, `${at}`), 'bytes')
        const tree = new PublishedTree(data)
        const moves = places.map((name, at) => ({ partial: join(data, `${at}`), parts: ['alice', ...name.split('/')] }))
        const results = await tree.publish(moves, true)
        const codes = results.map((result) => (result instanceof OspError ? result.code : result))
        assert.deepEqual(codes, [true, true, true, 'name-conflict'])
        await access(join(data, 'alice', first))
      }),
    )
  }
})
