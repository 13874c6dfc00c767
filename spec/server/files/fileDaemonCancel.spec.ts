import assert from 'node:assert/strict'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'

const bytes = patterned(1_000)
const file = { name: 'a', bytes }

spec('CANCEL of an upload', (it) => {
  it('that was published, but not marked as completed before a fault, marks it: outcome 2, and it is not stored again', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, bytes)
    rig.storage.fail('complete', new Error('the disk has a fault'))
    await client.endRefused(instance, sha256(bytes), 'internal')
    assert.equal(await client.cancel('a'), 2)
    assert.deepEqual(await rig.records(), [])
    assert.equal((await client.continue(file)).progress, 1_000)
    await rig.assertStored('a', bytes)
  })

  it('that was verified, but not published before a fault, removes it: outcome 1', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, bytes)
    rig.storage.fail('publish', new Error('the disk has a fault'))
    await client.endRefused(instance, sha256(bytes), 'internal')
    assert.equal(await client.cancel('a'), 1)
    assert.deepEqual([await rig.records(), await rig.stored('a')], [[], undefined])
  })
})
