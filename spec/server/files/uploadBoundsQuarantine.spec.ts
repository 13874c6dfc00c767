import assert from 'node:assert/strict'
import { fixed } from '../../../lib/limits.ts'
import { patterned } from '../../support/memorySource.ts'
import { manualPlatform, ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { pass } from '../../support/turn.ts'

const bytes = patterned(1_000)
const one = { name: 'one', bytes }
const two = { name: 'two', bytes }

spec('an instance that a link has lost', (it) => {
  it('is not assigned to it again while its chunks may still arrive, so that they are not taken for another upload', async () => {
    await using rig = await ServerRig.start({ fileInstances: 2 })
    const [mine, theirs] = [await rig.client({ session: 'mine' }), await rig.client({ session: 'theirs' })]
    const { instance } = await mine.start(one)
    await theirs.continue(one)
    await theirs.pause(instance)
    const { instance: other } = await mine.start(two)
    assert.notEqual(other, instance)
    await mine.chunkRefused(instance, 0, bytes, 'superseded')
    assert.equal((await mine.continue(two)).progress, 0)
  })

  it('is assigned to it again after a minute, and to other links at once', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.start({ fileInstances: 1, keepAliveMs: 600_000 }, { platform })
    const [mine, theirs] = [await rig.client({ session: 'mine' }), await rig.client({ session: 'theirs' })]
    const { instance } = await mine.start(one)
    await theirs.continue(one)
    await theirs.pause(instance)
    const { text } = await mine.startRefused(two, 'no-idle-instance')
    assert.equal(text, 'this link lost the idle instances within the last minute and cannot use them yet')
    assert.equal((await theirs.start(two)).instance, instance)
    await theirs.pause(instance)
    await pass(platform.clock, fixed.frameLifetimeMs)
    assert.equal((await mine.start({ name: 'three', bytes })).instance, instance)
  })

  it('is not assigned to it by a take-over either: the upload continues in another one', async () => {
    await using rig = await ServerRig.start({ fileInstances: 2 })
    const [mine, theirs] = [await rig.client({ session: 'mine' }), await rig.client({ session: 'theirs' })]
    const { instance } = await mine.start(one)
    await theirs.continue(one)
    await theirs.pause(instance)
    const { instance: other } = await theirs.start(one)
    assert.notEqual(other, instance)
    assert.equal((await theirs.start(two)).instance, instance)
    await theirs.pause(other)
    assert.equal((await mine.continue(two)).instance, other)
    await theirs.chunkRefused(instance, 0, bytes, 'superseded')
  })

  it('is assigned to it again immediately if it left the instance by its own request', async () => {
    await using rig = await ServerRig.start({ fileInstances: 1 })
    const mine = await rig.client()
    for (const subject of [one, two]) assert.equal(await mine.upload(subject), subject.name)
    const { instance } = await mine.start({ name: 'three', bytes })
    await mine.pause(instance)
    await mine.start({ name: 'four', bytes })
  })
})

spec('uploads of one link', (it) => {
  it('stay within their limit when several are taken over at once', async () => {
    await using rig = await ServerRig.start({ uploadsPerLink: 2 })
    const [mine, theirs, third] = [
      await rig.client({ session: 'mine' }),
      await rig.client({ session: 'theirs' }),
      await rig.client({ session: 'third' }),
    ]
    await mine.start(one)
    await mine.start(two)
    await third.start({ name: 'three', bytes })
    for (const name of ['one', 'two', 'three']) theirs.sendContinue({ name, bytes })
    const outcomes: string[] = []
    for (let replies = 0; replies < 3; replies++) outcomes.push((await theirs.raw.next()).event)
    assert.deepEqual(outcomes.sort(), ['ContinuePostFileAck', 'ContinuePostFileAck', 'ContinuePostFileNack'])
  })
})
