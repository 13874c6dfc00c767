import assert from 'node:assert/strict'
import { OspError } from '../../../lib/errors.ts'
import { defaultLimits, limitsWith } from '../../../lib/limits.ts'
import { UploadTable } from '../../../lib/server/files/uploadTable.ts'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { manualPlatform, ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const bytes = patterned(1_000)
const file = { name: 'a', bytes }
const named = (name: string) => ({ name, bytes })

/** From `retryAfterMs`, which is 300 here, to less than twice that. */
function inSpread({ retryAfter }: { readonly retryAfter: number }): void {
  assert.ok(retryAfter >= 300 && retryAfter < 601, `${retryAfter} ms`)
}

spec('uploads at once', (it) => {
  it('on one link are limited, and more are refused for a limited time', async () => {
    await using rig = await ServerRig.start({ uploadsPerLink: 2, retryAfterMs: 300 })
    const client = await rig.client()
    const { instance } = await client.start(named('a'))
    await client.start(named('b'))
    inSpread(await client.startRefused(named('c'), 'too-many-uploads'))
    inSpread(await client.continueRefused(named('c'), 'too-many-uploads'))
    await client.start(named('b'))
    await client.pause(instance)
    await client.start(named('c'))
  })

  it('on other links are not counted, also of the same user', async () => {
    await using rig = await ServerRig.start({ uploadsPerLink: 1 })
    for (const session of ['one', 'two']) await (await rig.client({ session })).start(named(session))
  })

  it('are limited by the instances, and more are refused for a limited time', async () => {
    await using rig = await ServerRig.start({ fileInstances: 2, retryAfterMs: 300 })
    const client = await rig.client()
    await client.start(named('a'))
    const { instance } = await client.start(named('b'))
    inSpread(await client.startRefused(named('c'), 'no-idle-instance'))
    inSpread(await client.continueRefused(named('c'), 'no-idle-instance'))
    await client.pause(instance)
    await client.continue(named('c'))
  })

  it('beyond the limit get different times to come back', async () => {
    const fractions: number[] = []
    const reasons: string[] = []
    const platform = manualPlatform()
    const fraction = (reason: string) => {
      reasons.push(reason)
      return fractions.shift() ?? 0
    }
    const random = { ...platform.random, fraction }
    await using rig = await ServerRig.start(
      { fileInstances: 1, uploadsPerLink: 2, retryAfterMs: 1_000 },
      { platform: { ...platform, random } },
    )
    await (await rig.client({ session: 'one' })).start(named('a'))
    const client = await rig.client({ session: 'two' })
    reasons.length = 0
    fractions.push(0, 0.5, 0.999)
    const told: number[] = []
    for (const name of ['b', 'c', 'd']) {
      told.push((await client.continueRefused(named(name), 'no-idle-instance')).retryAfter)
    }
    assert.deepEqual(told, [1_000, 1_500, 1_999])
    assert.deepEqual([...new Set(reasons)], ['when a refused upload comes back'])
  })

  it('get the longest idle instance first', async () => {
    await using rig = await ServerRig.start({ fileInstances: 3 })
    const client = await rig.client()
    const taken: number[] = []
    for (const name of ['a', 'b', 'c', 'd', 'e']) {
      const { instance } = await client.start(named(name))
      taken.push(instance)
      await client.pause(instance)
    }
    assert.deepEqual(taken, [1, 2, 3, 1, 2])
  })

  it('are granted shorter chunks as instances fill', async () => {
    await using rig = await ServerRig.start({ chunkBytes: 1_024, chunkMemoryBytes: 4_096, uploadsPerLink: 16 })
    const client = await rig.client()
    const chunks: number[] = []
    for (let at = 0; at < 9; at++) chunks.push((await client.start(named(`${at}`))).chunk)
    assert.deepEqual(chunks, [1_024, 1_024, 1_024, 1_024, 512, 512, 512, 512, 256])
  })
})

spec('an instance', (it) => {
  it('does not stay with a link that was lost while it was being assigned', async () => {
    await using rig = await ServerRig.start({ fileInstances: 1 })
    const client = await rig.client()
    const claim = rig.storage.hold('claim')
    client.sendStart(file)
    await claim.reached
    await client.vanish()
    await turn()
    claim.go()
    await turn()
    assert.deepEqual(rig.server.status().uploads, [])
    assert.equal((await (await rig.client()).continue(file)).progress, 0)
  })

  it('is not assigned to a link that was lost before its turn', async () => {
    await using rig = await ServerRig.start({ fileInstances: 1 })
    const client = await rig.client()
    const claim = rig.storage.hold('claim')
    client.sendStart(file)
    await claim.reached
    client.sendStart(file)
    client.sendContinue(file)
    client.sendCancel('a')
    await turn()
    await client.vanish()
    claim.go()
    await turn()
    assert.deepEqual(rig.server.status().uploads, [])
    assert.equal(rig.storage.count.get('claim'), 1)
    assert.equal((await rig.records()).length, 1)
    await (await rig.client()).start(named('b'))
  })

  it('is free again after an opening that was refused', async () => {
    await using rig = await ServerRig.start({ fileInstances: 1 })
    const client = await rig.client()
    await client.upload(named('a'))
    await client.startRefused(named('a/b'), 'name-conflict')
    await (await rig.client({ session: 'two' })).start(named('b'))
  })

  for (const step of ['claim', 'open', 'truncate'] as const) {
    it(`is free again after an opening that failed at ${step}, and no partial file is left open`, async () => {
      await using rig = await ServerRig.start({ fileInstances: 1 })
      const former = await rig.client()
      const { instance } = await former.start(file)
      await former.chunk(instance, 0, bytes.subarray(0, 10))
      await rig.crash()
      await rig.restart()
      const client = await rig.client()
      rig.storage.fail(step, new OspError('disk-full'))
      await client.continueRefused(file, 'disk-full')
      assert.equal(rig.storage.partials, 0)
      await (await rig.client({ session: 'two' })).start(named('b'))
    })
  }
})

spec('an upload that is not open', (it) => {
  function uploadsOf(): UploadTable {
    const context = { limits: limitsWith({ fileInstances: 1 }), platform: manualPlatform(), log: () => {} }
    return new UploadTable(context, () => {})
  }

  it('is forgotten after the last request about it', async () => {
    const uploads = uploadsOf()
    for (const name of ['a', 'b', 'c']) await uploads.run('alice', name, async () => {})
    await assert.rejects(uploads.run('alice', 'd', () => Promise.reject(new OspError('bad-name'))))
    assert.deepEqual(uploads.known(), [])
  })

  it('is also forgotten if a job was queued after its last request', async () => {
    const uploads = uploadsOf()
    let late: Promise<unknown> = Promise.resolve()
    await uploads.run('alice', 'a', async (upload) => {
      late = upload.queue.run(turn)
    })
    assert.equal(uploads.known().length, 1)
    await late
    await turn()
    assert.deepEqual(uploads.known(), [])
  })

  it('holds no partial file', async () => {
    await using rig = await ServerRig.start({ checkpointMs: 1 })
    const client = await rig.client()
    await client.upload(named('a'))
    await client.start(named('b'))
    await client.cancel('b')
    const { instance } = await client.start(named('c'))
    await client.chunk(instance, 0, bytes)
    await client.endRefused(instance, sha256(patterned(2)), 'digest-mismatch')
    assert.equal(rig.storage.partials, 0)
  })
})

spec('the defaults', (it) => {
  it("are the seed's: 5 files on a link, 200 instances", () => {
    assert.deepEqual([defaultLimits.uploadsPerLink, defaultLimits.fileInstances], [5, 200])
  })
})
