import assert from 'node:assert/strict'
import { KiB } from '../../../lib/limits.ts'
import { removeUnfinished, unfinishedUploads } from '../../../lib/server/files/unfinishedUploads.ts'
import { patterned } from '../../support/memorySource.ts'
import { manualPlatform, ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { pass } from '../../support/turn.ts'

/** Shorter than a keep-alive interval may be. */
const agoMs = 3_000_000
const file = (name: string) => ({ name, bytes: patterned(8 * KiB) })

/** A server with an upload that was paused a while ago, and one that runs. */
async function withTwo() {
  const platform = manualPlatform()
  const rig = await ServerRig.start({ keepAliveMs: 3_600_000 }, { platform })
  const client = await rig.client()
  const { instance: first } = await client.start(file('old'))
  await client.chunk(first, 0, file('old').bytes.subarray(0, 4 * KiB))
  await client.pause(first)
  await pass(platform.clock, agoMs)
  const { instance } = await client.start(file('new'))
  return { rig, client, instance }
}

spec('the unfinished uploads of a server', (it) => {
  it('are listed, the longest idle first, with their disk space', async () => {
    const { rig } = await withTwo()
    await using _rig = rig
    const common = { user: 'alice', size: 8 * KiB }
    assert.deepEqual(await rig.server.unfinished(), [
      { ...common, name: 'old', durable: 4 * KiB, diskBytes: 4 * KiB, idleMs: agoMs, running: false },
      { ...common, name: 'new', durable: 0, diskBytes: 0, idleMs: 0, running: true },
    ])
  })

  it('are removed by name; the client of a running one receives cancelled, and another upload of its name may follow', async () => {
    const { rig, client, instance } = await withTwo()
    await using _rig = rig
    assert.equal(await rig.server.removeUnfinished('alice', 'new'), true)
    assert.equal(await rig.server.removeUnfinished('alice', 'new'), false)
    await client.chunkRefused(instance, 0, file('new').bytes, 'cancelled')
    assert.deepEqual(
      (await rig.server.unfinished()).map(({ name }) => name),
      ['old'],
    )
    assert.ok(rig.log.some(({ event, name }) => event === 'upload-removed' && name === 'new'))
    await client.upload(file('new'))
  })

  it('stay if they run, or were idle for less than the given time', async () => {
    const { rig, client } = await withTwo()
    await using _rig = rig
    assert.equal(await rig.server.removeUnfinished('alice', 'new', 1), false)
    assert.equal(await rig.server.removeUnfinished('alice', 'old', agoMs + 1), false)
    assert.equal(await rig.server.removeUnfinished('alice', 'old', agoMs), true)
    const { progress } = await client.continue(file('old'))
    assert.equal(progress, 0)
  })

  it('do not include stored files, which stay', async () => {
    const { rig, client } = await withTwo()
    await using _rig = rig
    await client.upload(file('stored'))
    assert.equal(await rig.server.removeUnfinished('alice', 'stored'), false)
    await rig.assertStored('stored', file('stored').bytes)
  })

  it('are found and removed in a storage that no server has open', async () => {
    const { rig } = await withTwo()
    await using _rig = rig
    await rig.server.close()
    await using storage = rig.storage
    await storage.open(rig.platform)
    const found = await unfinishedUploads(storage, rig.platform)
    assert.deepEqual(
      found.map(({ name, running }) => [name, running]),
      [
        ['old', false],
        ['new', false],
      ],
    )
    assert.equal(await removeUnfinished(storage, rig.platform, { user: 'alice', name: 'old' }, 2 * agoMs), false)
    assert.equal(await removeUnfinished(storage, rig.platform, { user: 'alice', name: 'old' }), true)
    assert.equal(await storage.files.heldBytes('alice', 'old'), 0)
  })
})
