import assert from 'node:assert/strict'
import { defaultLimits } from '../../../lib/limits.ts'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { heldRig, type WallClock } from '../../support/messageClient.ts'
import type { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'

const hourMs = 3_600_000
const yearMs = 365 * 24 * hourMs
/** So that nobody is taken for dead who says nothing. */
const keepAliveMs = hourMs
const limits = { keepAliveMs, uploadAgeMs: 10 * hourMs, checkpointMs: 1 }

const bytes = patterned(1_000)
const file = { name: 'a', bytes }

/** Lets hours pass with nobody there, as the server sees them. */
async function hours(clock: WallClock, count: number): Promise<void> {
  for (let hour = 0; hour < count; hour++) await pass(clock, hourMs)
}

/** Sends the first 100 bytes of a file, and leaves. */
async function begin(rig: ServerRig & { readonly clock: WallClock }, name = 'a', content = bytes): Promise<void> {
  const client = await rig.client()
  const { instance, progress } = await client.continue({ name, bytes: content })
  await client.chunk(instance, progress, content.subarray(progress, progress + 100))
  await pass(rig.clock, 1)
  await client.vanish()
  await pass(rig.clock, defaultLimits.parkedMs)
}

const expired = (rig: ServerRig) =>
  rig.log.flatMap(({ event, level, user, name, bytes }) =>
    event === 'upload-expired' ? [`${level} ${user} ${name} ${bytes}`] : [],
  )

const names = async (rig: ServerRig) => (await rig.records()).map(({ name }) => name)

spec('an unfinished upload', (it) => {
  it('is removed and logged within an hour after no client has continued it for `uploadAgeMs`', async () => {
    await using rig = await heldRig(limits)
    await begin(rig, 'a')
    await begin(rig, 'b')
    await hours(rig.clock, 5)
    await begin(rig, 'b')
    await hours(rig.clock, 4)
    assert.deepEqual(expired(rig), [])
    await hours(rig.clock, 2)
    assert.deepEqual(expired(rig), ['warn alice a 100'])
    assert.deepEqual(await names(rig), ['b'])
    assert.equal((await (await rig.client()).continue(file)).progress, 0)
  })

  it('is kept for seven days by default', () => {
    assert.equal(defaultLimits.uploadAgeMs, 7 * 24 * hourMs)
  })

  it('is looked for more often if its age limit is shorter', async () => {
    await using rig = await heldRig({ ...limits, uploadAgeMs: 60_000, parkedMs: 1_000 })
    await begin(rig)
    await pass(rig.clock, 60_000)
    await pass(rig.clock, 60_000)
    assert.deepEqual(expired(rig), ['warn alice a 100'])
  })

  it('is removed with its partial file when the server starts, if it is old by then', async () => {
    await using rig = await heldRig(limits)
    await begin(rig)
    for (let times = 0; times < 12; times++) {
      await rig.crash()
      await hours(rig.clock, 1)
      await rig.restart()
    }
    assert.deepEqual(expired(rig), ['warn alice a 100'])
    assert.deepEqual(await names(rig), [])
    const used = (await rig.storage.files.space()).free
    await rig.storage.files.remove('alice', 'a')
    assert.equal((await rig.storage.files.space()).free, used)
  })

  it('is not removed by a wall clock that jumps a year forward, whether the server runs or not', async () => {
    await using rig = await heldRig(limits)
    await begin(rig)
    rig.clock.aheadMs = yearMs
    await hours(rig.clock, 2)
    await rig.crash()
    rig.clock.aheadMs = 2 * yearMs
    await rig.restart()
    await hours(rig.clock, 2)
    assert.deepEqual([expired(rig), await names(rig)], [[], ['a']])
  })

  it('is removed in time although the wall clock is set a year back, or was a year ahead when it began', async () => {
    await using rig = await heldRig(limits)
    await begin(rig, 'a')
    rig.clock.aheadMs = yearMs
    await begin(rig, 'b')
    rig.clock.aheadMs = -yearMs
    await hours(rig.clock, 8)
    assert.deepEqual(expired(rig), [])
    await hours(rig.clock, 4)
    assert.deepEqual(expired(rig), ['warn alice a 100', 'warn alice b 100'])
  })

  it('is not removed while a link holds it or while it is parked, but after it is closed', async () => {
    await using rig = await heldRig({ ...limits, parkedMs: 15 * hourMs })
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, bytes.subarray(0, 100))
    for (let half = 0; half < 24; half++) {
      client.raw.send('PingReq', {})
      await pass(rig.clock, hourMs / 2)
    }
    await client.vanish()
    await hours(rig.clock, 12)
    assert.deepEqual([expired(rig), await names(rig)], [[], ['a']])
    await hours(rig.clock, 4)
    assert.deepEqual(expired(rig), ['warn alice a 100'])
  })

  it('is not removed if a client continues it during the check', async () => {
    await using rig = await heldRig(limits)
    await begin(rig)
    await hours(rig.clock, 9)
    await pass(rig.clock, 0.75 * hourMs)
    const client = await rig.client()
    const claim = rig.storage.hold('claim')
    client.sendContinue(file)
    await claim.reached
    rig.clock.freeze(0.5 * hourMs)
    rig.clock.pass(1)
    await turn()
    claim.go()
    const { instance, progress } = await client.raw.expect('ContinuePostFileAck')
    assert.equal(progress, 100)
    await client.chunk(instance, 100, bytes.subarray(100))
    await client.end(instance, sha256(bytes))
    await rig.assertStored('a', bytes)
    assert.deepEqual(expired(rig), [])
  })

  it('that is verified is published within an hour, and never removed', async () => {
    await using rig = await heldRig(limits)
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, bytes)
    rig.storage.fail('publish', new Error('EIO'))
    await client.endRefused(instance, sha256(bytes), 'internal')
    await client.vanish()
    for (let hour = 0; hour < 12; hour++) {
      rig.storage.fail('publish', new Error('EIO'))
      await hours(rig.clock, 1)
      assert.deepEqual([expired(rig), await names(rig)], [[], ['a']])
    }
    await hours(rig.clock, 1)
    assert.deepEqual([expired(rig), await names(rig)], [[], []])
    await rig.assertStored('a', bytes)
  })

  it('that has begun anew is kept, although the search has found its verified predecessor', async () => {
    await using rig = await heldRig(limits)
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, bytes)
    rig.storage.fail('publish', new Error('EIO'))
    await client.endRefused(instance, sha256(bytes), 'internal')
    await client.vanish()
    const found = await rig.records()
    await hours(rig.clock, 1)
    await begin(rig, 'a', patterned(2_000))
    Object.assign(rig.storage.transfers, { records: () => found })
    await hours(rig.clock, 1)
    const { size, verified } = (await rig.storage.transfers.record?.('alice', 'a')) ?? {}
    assert.deepEqual([size, verified], [2_000, undefined])
  })

  it('is removed without the published file of its name', async () => {
    await using rig = await heldRig(limits)
    const older = patterned(500)
    await (await rig.client()).upload({ name: 'a', bytes: older })
    await begin(rig)
    await hours(rig.clock, 12)
    assert.deepEqual(expired(rig), ['warn alice a 100'])
    await rig.assertStored('a', older)
  })
})

spec('the sweep of old uploads', (it) => {
  it('that fails for one upload is logged, checks the others, and tries again an hour later', async () => {
    await using rig = await heldRig(limits)
    await begin(rig, 'a')
    await begin(rig, 'b')
    const { expire } = rig.storage.transfers
    let fails = true
    Object.assign(rig.storage.transfers, {
      expire: (...about: Parameters<typeof expire>) =>
        fails && about[1] === 'a' ? Promise.reject(new Error('EIO')) : expire(...about),
    })
    await hours(rig.clock, 11)
    assert.ok(rig.log.some(({ event, name, text }) => event === 'upload-not-expired' && name === 'a' && text === 'EIO'))
    assert.deepEqual(expired(rig), ['warn alice b 100'])
    fails = false
    await hours(rig.clock, 1)
    assert.deepEqual(expired(rig), ['warn alice b 100', 'warn alice a 100'])
  })

  it('that cannot read the records is logged, and tried again', async () => {
    await using rig = await heldRig(limits)
    await begin(rig)
    const { records } = rig.storage.transfers
    Object.assign(rig.storage.transfers, {
      records: () => {
        throw new Error('EIO')
      },
    })
    await hours(rig.clock, 11)
    assert.ok(rig.log.some(({ event, text }) => event === 'uploads-not-swept' && text === 'EIO'))
    Object.assign(rig.storage.transfers, { records })
    await hours(rig.clock, 1)
    assert.deepEqual(expired(rig), ['warn alice a 100'])
  })

  it('ends with the server, and leaves no alarm', async () => {
    await using rig = await heldRig(limits)
    await begin(rig)
    await rig.server.close()
    assert.deepEqual(rig.clock.set, [])
  })
})
