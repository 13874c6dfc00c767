import assert from 'node:assert/strict'
import { OspError } from '../../../lib/errors.ts'
import { fixed } from '../../../lib/limits.ts'
import { type FileClient, sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { manualPlatform, ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'

const bytes = patterned(1_000)
const file = { name: 'a', bytes }
const piece = (from: number, to: number) => bytes.subarray(from, to)

/** One client that sends 400 bytes, and another one of the same user. */
async function two(rig: ServerRig): Promise<[holder: FileClient, other: FileClient, instance: number]> {
  const [holder, other] = [await rig.client({ session: 'one' }), await rig.client({ session: 'two' })]
  const { instance } = await holder.start(file)
  await holder.chunk(instance, 0, piece(0, 400))
  return [holder, other, instance]
}

spec('a take-over', (it) => {
  it('moves the same instance with its progress to the new node, and raises the token', async () => {
    await using rig = await ServerRig.start()
    const [, other, instance] = await two(rig)
    const [before] = await rig.records()
    const taken = await other.continue(file)
    assert.deepEqual([taken.instance, taken.progress], [instance, 400])
    const [after] = await rig.records()
    assert.ok((after?.token ?? 0) > (before?.token ?? 0))
    assert.deepEqual([after?.owner.node, after?.superseded], [other.node, [before?.owner.session]])
    await other.chunk(instance, 400, piece(400, 1_000))
    await other.end(instance, sha256(bytes))
    await rig.assertStored('a', bytes)
  })

  it('fails the next request of the old session, whichever it is', async () => {
    await using rig = await ServerRig.start()
    const [holder, other, instance] = await two(rig)
    await other.continue(file)
    await holder.chunkRefused(instance, 400, piece(400, 500), 'superseded')
    await holder.endRefused(instance, sha256(bytes), 'superseded')
    holder.sendPause(instance)
    await holder.raw.refused('PauseFileNack', 'superseded')
  })

  it('fails each CONTINUE of the old session while the record exists, so that sessions do not take over in turn', async () => {
    await using rig = await ServerRig.start()
    const [holder, other, instance] = await two(rig)
    await other.continue(file)
    for (let times = 0; times < 3; times++) await holder.continueRefused(file, 'superseded')
    assert.equal((await other.chunk(instance, 400, piece(400, 500))).progress, 500)
    await other.pause(instance)
    await holder.continueRefused(file, 'superseded')
    await other.continue(file)
    await other.vanish()
    await turn()
    await holder.continueRefused(file, 'superseded')
    await holder.vanish()
    await (await rig.client({ session: 'one' })).continueRefused(file, 'superseded')
  })

  it('still fails it after a restart', async () => {
    await using rig = await ServerRig.start()
    const [, other] = await two(rig)
    await other.continue(file)
    await rig.crash()
    await rig.restart()
    await (await rig.client({ session: 'one' })).continueRefused(file, 'superseded')
    assert.ok((await (await rig.client({ session: 'two' })).continue(file)).instance > 0)
  })

  it('no longer fails it after the upload is completed', async () => {
    await using rig = await ServerRig.start()
    const [holder, other, instance] = await two(rig)
    await other.continue(file)
    await other.chunk(instance, 400, piece(400, 1_000))
    await other.end(instance, sha256(bytes))
    assert.equal((await holder.continue(file)).progress, 1_000)
  })

  it('is remembered for the last eight sessions', async () => {
    await using rig = await ServerRig.start()
    for (let at = 0; at < fixed.supersededSessions + 2; at++) {
      const client = await rig.client({ session: `s${at}` })
      await client.continue(file)
    }
    const [record] = await rig.records()
    assert.equal(record?.superseded.length, fixed.supersededSessions)
    await (await rig.client({ session: 's1' })).continueRefused(file, 'superseded')
  })

  it('refused to a superseded session leaves the parked upload open', async () => {
    await using rig = await ServerRig.start()
    const [holder, other] = await two(rig)
    await other.continue(file)
    await other.vanish()
    await turn()
    await holder.continueRefused(file, 'superseded')
    await turn()
    assert.equal(rig.storage.partials, 1)
  })

  it('during FILE_MD5_REQ finds the completed upload', async () => {
    await using rig = await ServerRig.start()
    const [holder, other, instance] = await two(rig)
    await holder.chunk(instance, 400, piece(400, 1_000))
    const publish = rig.storage.hold('publish')
    holder.sendEnd(instance, sha256(bytes))
    await publish.reached
    other.sendContinue(file)
    await turn()
    assert.deepEqual(other.raw.unread, [])
    publish.go()
    await holder.raw.expect('FileMd5Ack')
    assert.equal((await other.raw.expect('ContinuePostFileAck')).progress, 1_000)
  })

  it('during a checkpoint waits for it, and the upload continues', async () => {
    await using rig = await ServerRig.start({ checkpointBytes: 500 })
    const [holder, other, instance] = await two(rig)
    const flush = rig.storage.hold('flush')
    await holder.chunk(instance, 400, piece(400, 600))
    await flush.reached
    other.sendContinue(file)
    await turn()
    flush.go()
    await other.raw.expect('ContinuePostFileAck')
    await other.chunk(instance, 600, piece(600, 1_000))
    await other.end(instance, sha256(bytes))
  })

  it('is not disturbed by a checkpoint that becomes due meanwhile, and does not lose it', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.start({ checkpointMs: 500 }, { platform })
    const [, other, instance] = await two(rig)
    const claim = rig.storage.hold('claim')
    other.sendContinue(file)
    await claim.reached
    await pass(platform.clock, 600)
    claim.go()
    await other.raw.expect('ContinuePostFileAck')
    await pass(platform.clock, 500)
    assert.deepEqual(await other.chunk(instance, 400, piece(400, 500)), {
      event: 'PostFileAck',
      progress: 500,
      durable: 400,
    })
  })

  it('counts against the uploads of the link that takes over', async () => {
    await using rig = await ServerRig.start({ uploadsPerLink: 1 })
    const [, other] = await two(rig)
    await other.start({ name: 'b', bytes })
    await other.continueRefused(file, 'too-many-uploads')
  })

  it('by a link that is lost meanwhile frees the instance', async () => {
    await using rig = await ServerRig.start({ fileInstances: 1 })
    const [holder, other, instance] = await two(rig)
    const claim = rig.storage.hold('claim')
    other.sendContinue(file)
    await claim.reached
    await other.vanish()
    claim.go()
    await turn()
    assert.deepEqual(rig.server.status().uploads, [])
    await holder.chunkRefused(instance, 400, piece(400, 500), 'superseded')
    assert.equal((await (await rig.client({ session: 'three' })).continue(file)).progress, 400)
  })

  it('from a link that is lost meanwhile gets an instance nevertheless', async () => {
    await using rig = await ServerRig.start({ fileInstances: 1 })
    const [holder, other] = await two(rig)
    const claim = rig.storage.hold('claim')
    other.sendContinue(file)
    await claim.reached
    await holder.vanish()
    claim.go()
    const { instance, progress } = await other.raw.expect('ContinuePostFileAck')
    assert.equal(progress, 400)
    await other.chunk(instance, 400, piece(400, 1_000))
    await other.end(instance, sha256(bytes))
  })

  it('that a fault of the disk interrupts supersedes no session, and both can continue', async () => {
    for (const step of ['claim', 'open'] as const) {
      await using rig = await ServerRig.start()
      const [holder, other, instance] = await two(rig)
      rig.storage.fail(step, new OspError('disk-full'))
      await other.continueRefused(file, 'disk-full')
      await holder.chunkRefused(instance, 400, piece(400, 500), 'disk-full')
      assert.equal((await other.continue(file)).progress, 400)
    }
  })
})
