import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { MemoryFileRecords } from '../../../lib/storage/catalogue/fileRecords.ts'
import { StoredCatalogue } from '../../../lib/storage/catalogue/storedCatalogue.ts'
import type { StoredTree, TreeEntry } from '../../../lib/storage/catalogue/storedTree.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const content = Buffer.from('hello')

/** A tree in which each name has a file. Counts the files that are opened. */
function treeOfAll() {
  let opened = 0
  const entryOf = (name: string): TreeEntry => {
    return { name, size: content.length, modifiedAt: 1, storedAt: 2, version: 'v1' }
  }
  const tree: StoredTree = {
    list: async () => ({ files: [], more: false, looked: 0 }),
    find: async (_user, name) => entryOf(name),
    open: async () => {
      opened++
      const read = async (into: Uint8Array, offset: number) => content.copy(into, 0, offset)
      return { size: content.length, version: 'v1', read, [Symbol.asyncDispose]: async () => {} }
    },
    key: async () => new Uint8Array(32),
    unlink: async () => {},
    move: async () => {},
  }
  return { tree, opened: () => opened }
}

function catalogueOf(tree: StoredTree) {
  const records = new MemoryFileRecords()
  const { digests } = nodePlatform()
  return {
    records,
    catalogue: new StoredCatalogue(tree, { describe: (keys) => records.get(keys) }, records, () => digests),
  }
}

spec('the records of stored files', (it) => {
  it('keep a digest that was computed', async () => {
    const { tree, opened } = treeOfAll()
    const { catalogue } = catalogueOf(tree)
    const { digest } = (await catalogue.find('alice', 'a', true)) ?? {}
    assert.equal(digest, createHash('sha256').update(content).digest('hex'))
    assert.equal((await catalogue.find('alice', 'a', true))?.digest, digest)
    assert.equal(opened(), 1)
  })

  it('keep a digest that is computed only once, even if several requests need it', async () => {
    const { tree, opened } = treeOfAll()
    const { catalogue } = catalogueOf(tree)
    const found = await Promise.all(['a', 'a', 'a'].map((name) => catalogue.find('alice', name, true)))
    assert.equal(new Set(found.map((entry) => entry?.digest)).size, 1)
    assert.equal(opened(), 1)
  })

  it('are kept when the file is renamed during a sweep', async () => {
    const { tree } = treeOfAll()
    const names = new Set(['a'])
    const moving = deferred<void>()
    const moved = deferred<void>()
    const { catalogue, records } = catalogueOf({
      ...tree,
      find: async (user, name) => (names.has(name) ? tree.find(user, name) : undefined),
      move: async (_file, newName) => {
        moving.resolve()
        await moved.promise
        names.delete('a')
        names.add(newName)
      },
    })
    const record = { user: 'alice', name: 'a', version: 'v1', size: 5, modifiedAt: 1 } as const
    await records.put([{ ...record, algorithm: 'md5', digest: 'ab', metadata: { kind: 'x' } }])
    const renaming = catalogue.rename('alice', 'a', 'b', { replace: false })
    await moving.promise
    const sweeping = catalogue.sweep()
    await turn()
    moved.resolve()
    await Promise.all([renaming, sweeping])
    assert.deepEqual((await catalogue.find('alice', 'b'))?.metadata, { kind: 'x' })
  })

  it('are removed if the file has another version', async () => {
    const { tree } = treeOfAll()
    const { catalogue, records } = catalogueOf(tree)
    const record = { user: 'alice', size: 5, modifiedAt: 1, algorithm: 'md5', digest: 'ab', metadata: {} } as const
    await records.put(['v0', 'v1'].map((version) => ({ ...record, name: 'a', version })))
    await records.put([{ ...record, name: 'ab', version: 'v0' }])
    await catalogue.sweep()
    const left: string[] = []
    for await (const { name, version } of records.all()) left.push(`${name} ${version}`)
    assert.deepEqual(left, ['a v1'])
  })
})
