import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { fixed } from '../../../lib/limits.ts'
import { StoredCatalogue } from '../../../lib/storage/catalogue/storedCatalogue.ts'
import type { StoredTree, TreeEntry } from '../../../lib/storage/catalogue/storedTree.ts'
import { spec } from '../../support/spec.ts'

const content = Buffer.from('hello')

/** A tree in which each name has a file. Counts the files that are opened. */
function treeOfAll() {
  let opened = 0
  const entryOf = (name: string): TreeEntry => {
    return { name, size: content.length, modifiedAt: 1, storedAt: 2, version: 'v1' }
  }
  const tree: StoredTree = {
    list: async () => ({ files: [], more: false }),
    find: async (_user, name) => entryOf(name),
    open: async () => {
      opened++
      const read = async (into: Uint8Array, offset: number) => content.copy(into, 0, offset)
      return { size: content.length, version: 'v1', read, [Symbol.asyncDispose]: async () => {} }
    },
    unlink: async () => {},
    move: async () => {},
  }
  return { tree, opened: () => opened }
}

spec('the digests that the catalogue has computed', (it) => {
  it('are remembered up to a bound', async () => {
    const { tree, opened } = treeOfAll()
    const { digests } = nodePlatform()
    const catalogue = new StoredCatalogue(
      tree,
      () => undefined,
      () => digests,
    )
    const digestOf = async (at: number) => (await catalogue.find('alice', `${at}`, true))?.digest
    const count = fixed.computedDigests + 10
    for (let at = 0; at < count; at++) await digestOf(at)
    assert.equal(opened(), count)
    await digestOf(count - 1)
    assert.equal(opened(), count)
    await digestOf(0)
    assert.equal(opened(), count + 1)
  })
})
