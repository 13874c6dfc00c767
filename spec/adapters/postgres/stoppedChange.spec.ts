import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { ClusterStorage } from '../../../lib/adapters/cluster/clusterStorage.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { StoredFile } from '../../../lib/ports/storage.ts'
import { textBytes } from '../../../lib/testing/storage/steps.ts'
import { canFreeze, freeze, thaw } from '../../support/frozen.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { startNode } from '../../support/processes.ts'
import { spec } from '../../support/spec.ts'
import { SharedDirectory } from '../cluster/sharedDirectory.ts'
import { emptyStore } from './stores.ts'

/** Stores a file without an upload. */
async function store({ files, transfers }: ClusterStorage, name: string, text: string): Promise<void> {
  const content = textBytes(text)
  const digest = createHash('sha256').update(content).digest('hex')
  const stored = { user: 'alice', name, storedName: name, replaced: false, size: content.length, digest }
  const file: StoredFile = { ...stored, algorithm: 'sha256' }
  await using created = await files.create('alice', [content])
  const { version, source = '' } = created
  assert.deepEqual(await transfers.announceAll([{ file, version, modifiedAt: 1, source }], 60_000), [undefined])
  assert.equal(await created.publish(name, true), true)
  await transfers.settled([{ user: 'alice', name, source, isStored: true }])
  await transfers.reported([{ user: 'alice', name }])
}

spec('a server that is stopped while it changes a file', (it) => {
  const missing = databaseMissing ?? (canFreeze ? undefined : 'only Linux shows whether a process is frozen')
  if (missing !== undefined) return it.skip('changes no newer file', missing)

  /** Resolves with the files after the server has continued, and with the outcome that it printed. */
  async function stopped(change: 'remove' | 'rename', point: string, newer: string) {
    await using database = await emptyStore()
    await using directory = await SharedDirectory.create()
    await using storage = directory.storage(await database.connect())
    await storage.open(nodePlatform())
    await store(storage, 'a', 'old')
    const args = [database.url, directory.path, change, point]
    await using server = startNode('spec/support/stoppedChange.ts', args, { node: ['--import', 'tsx'] })
    await server.printed(/ready\n/u)
    await freeze(server)
    await store(storage, newer, 'newer')
    thaw(server)
    server.child.stdin?.end()
    assert.deepEqual(await server.ended, { code: 0, signal: null }, server.stderr)
    const [, outcome] = /^outcome: (.*)$/mu.exec(server.stdout) ?? []
    const names = (await storage.catalogue.list('alice', { prefix: '', after: '', most: 9 })).files
    const texts = await Promise.all(names.map(async ({ name }) => directory.read('alice', name)))
    const found = names.map(({ name }, at) => `${name} ${new TextDecoder().decode(texts[at])}`)
    return { outcome, files: found.join(', ') }
  }

  for (const point of ['recorded', 'rename']) {
    it(`does not remove a newer file when it continues at the point ${point}`, async () => {
      assert.deepEqual(await stopped('remove', point, 'a'), { outcome: 'version-changed', files: 'a newer' })
    })
  }

  for (const point of ['recorded', 'link']) {
    it(`does not rename a newer file when it continues at the point ${point}`, async () => {
      assert.deepEqual(await stopped('rename', point, 'a'), { outcome: 'version-changed', files: 'a newer' })
    })

    it(`does not replace a newer file that has the new name when it continues at the point ${point}`, async () => {
      assert.deepEqual(await stopped('rename', point, 'b'), { outcome: 'file-exists', files: 'a old, b newer' })
    })
  }

  it('changes no newer file when the file has both names and the other server completes the change', async () => {
    assert.deepEqual(await stopped('rename', 'rename', 'a'), { outcome: 'false', files: 'a newer, b old' })
    assert.deepEqual(await stopped('rename', 'rename', 'b'), { outcome: 'false', files: 'b newer' })
  })
})
