import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import {
  claimed,
  fileOf,
  fill,
  isEarlierUpload,
  recordsOf,
  resume,
  start,
  textBytes,
  wanted,
} from '../../../lib/testing/storage/steps.ts'
import { canFreeze, freeze, thaw } from '../../support/frozen.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { startNode } from '../../support/processes.ts'
import { spec } from '../../support/spec.ts'
import { SharedDirectory } from '../cluster/sharedDirectory.ts'
import { emptyStore } from './stores.ts'

spec('a server that is stopped before it publishes files', (it) => {
  const missing = databaseMissing ?? (canFreeze ? undefined : 'only Linux shows whether a process is frozen')
  if (missing !== undefined) return it.skip('does not replace newer files of these names', missing)

  it('does not replace newer files of these names when it continues', async () => {
    await using store = await emptyStore()
    await using directory = await SharedDirectory.create()
    await using stopped = startNode('spec/support/stoppedServer.ts', [store.url, directory.path], {
      node: ['--import', 'tsx'],
    })
    await stopped.printed(/ready\n/u)
    await freeze(stopped)
    const storage = directory.storage(await store.connect())
    await storage.open(nodePlatform())
    await storage.links.open()
    const link = { node: storage.links.nextNode(), user: 'alice', session: '2'.repeat(32) }
    await storage.links.openSession(link, 1)
    const { transfers, files } = storage

    const small = await files.create('alice', [textBytes('newer')])
    const file = fileOf({ name: 'small' })
    const { version, source = '' } = small
    assert.deepEqual(await transfers.announceAll([{ file, version, modifiedAt: 2, source }], 60_000, link), [undefined])
    assert.equal(await small.publish('small', true), true)
    await transfers.settled([{ user: 'alice', name: 'small', source, isStored: true }])
    // The database still counts the stopped server as alive, so only the program that sent the file can begin anew.
    const moved = { node: storage.links.nextNode(), user: 'alice', session: '1'.repeat(32) }
    await storage.links.openSession(moved, 2)
    const owner = { node: moved.node, instance: 1, session: moved.session }
    const [verified = assert.fail('there is no record')] = await recordsOf(storage)
    await assert.rejects(claimed(storage, { ...verified, modifiedAt: 9 }, start, owner), isEarlierUpload)
    const recovered = await claimed(storage, verified, { ...resume, recovery: true }, verified.owner)
    const earlier = await files.open(recovered.claim)
    assert.equal(await earlier.publish('large', true), true)
    await transfers.complete(recovered.claim, 60_000)
    await transfers.reported([{ user: 'alice', name: 'large' }])
    const { claim } = await claimed(storage, { ...wanted, name: 'large', modifiedAt: 9 }, start, owner)
    await fill(storage, claim, textBytes('hello'))
    await transfers.verified(claim, fileOf({ name: 'large' }))
    const large = await files.open(claim)
    assert.equal(await large.publish('large', true), true)
    await transfers.complete(claim, 60_000)

    thaw(stopped)
    stopped.child.stdin?.end()
    assert.deepEqual(await stopped.ended, { code: 0, signal: null })
    assert.match(
      stopped.stdout,
      /small: file-busy\nlarge: (digest-mismatch|superseded)\ncomplete: superseded\nsettled: undefined\n$/u,
    )
    const text = async (name: string) => new TextDecoder().decode(await directory.read('alice', name))
    assert.deepEqual([await text('small'), await text('large')], ['newer', 'hello'])
    await storage[Symbol.asyncDispose]()
  })
})
