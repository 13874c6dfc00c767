import assert from 'node:assert/strict'
import { defaultLimits } from '../../../lib/limits.ts'
import { type FileClient, sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { heldRig } from '../../support/messageClient.ts'
import { spec } from '../../support/spec.ts'
import { pass } from '../../support/turn.ts'

const bytes = patterned(100)
const named = (name: string) => ({ name, bytes })
const limits = { fileInstances: 2, stalledMs: 8_000 }

type Rig = Awaited<ReturnType<typeof heldRig>>

/** Both instances are alice's. */
async function taken(rig: Rig): Promise<{ alice: FileClient; quick: number; slow: number }> {
  const alice = await rig.client({ user: 'alice', session: 'one' })
  const [{ instance: quick }, { instance: slow }] = [
    await alice.start(named('quick')),
    await alice.start(named('slow')),
  ]
  return { alice, quick, slow }
}

const stalled = (rig: Rig) => rig.log.filter(({ event }) => event === 'upload-stalled').map(({ name }) => name)

spec('a stalled upload', (it) => {
  it('yields its instance to a user with fewer, and later continues at its progress', async () => {
    await using rig = await heldRig(limits)
    const { alice, quick, slow } = await taken(rig)
    const bob = await rig.client({ user: 'bob', session: 'two' })
    await alice.chunk(slow, 0, bytes.subarray(0, 10))
    await pass(rig.clock, 2_000)
    await alice.chunk(quick, 0, bytes.subarray(0, 50))
    await bob.startRefused(named('b'), 'no-idle-instance')
    await pass(rig.clock, 2_000)
    await bob.start(named('b'))
    assert.deepEqual(stalled(rig), ['slow'])
    await alice.chunk(quick, 50, bytes.subarray(50))
    await alice.chunkRefused(slow, 10, bytes.subarray(10), 'instance-lost')
    await alice.continueRefused(named('slow'), 'no-idle-instance')
    await alice.end(quick, sha256(bytes))
    assert.equal((await alice.continue(named('slow'))).progress, 10)
  })

  it('makes no progress by chunks that are empty or at a wrong offset', async () => {
    await using rig = await heldRig(limits)
    const { alice, quick, slow } = await taken(rig)
    const bob = await rig.client({ user: 'bob', session: 'two' })
    await pass(rig.clock, 3_000)
    await alice.chunk(quick, 0, bytes.subarray(0, 0))
    await alice.chunk(slow, 50, bytes.subarray(50))
    await pass(rig.clock, 1_000)
    await bob.start(named('b'))
  })

  it('keeps its instance if no user who holds fewer waits', async () => {
    await using rig = await heldRig(limits)
    const { alice } = await taken(rig)
    const bob = await rig.client({ user: 'bob', session: 'two' })
    await pass(rig.clock, 12_000)
    await alice.startRefused(named('more'), 'no-idle-instance')
    await bob.start(named('b'))
    await pass(rig.clock, 12_000)
    await bob.startRefused(named('c'), 'no-idle-instance')
    assert.equal(stalled(rig).length, 1)
  })

  it('yields it the sooner the more instances its user holds', async () => {
    await using rig = await heldRig({ fileInstances: 10, uploadsPerLink: 10, stalledMs: 20_000 })
    const [alice, bob] = [await rig.client(), await rig.client({ user: 'bob', session: 'two' })]
    for (let at = 0; at < 10; at++) await alice.start(named(`held ${at}`))
    await pass(rig.clock, 1_999)
    await bob.startRefused(named('b'), 'no-idle-instance')
    await pass(rig.clock, 1)
    await bob.start(named('b'))
    assert.equal(stalled(rig).length, 1)
  })

  it('yields it to a user with two fewer even if bytes trickle in or arrive fast', async () => {
    await using rig = await heldRig(limits)
    const { alice, quick, slow } = await taken(rig)
    const bob = await rig.client({ user: 'bob', session: 'two' })
    for (let at = 0; at < 4; at++) {
      await bob.startRefused(named('b'), 'no-idle-instance')
      await pass(rig.clock, 1_000)
      await alice.chunk(quick, 10 * at, bytes.subarray(10 * at, 10 * (at + 1)))
      await alice.chunk(slow, at, bytes.subarray(at, at + 1))
    }
    await bob.start(named('b'))
    assert.equal(stalled(rig).length, 1)
    await pass(rig.clock, 12_000)
    await bob.startRefused(named('c'), 'no-idle-instance')
    assert.equal(stalled(rig).length, 1)
  })

  it('has a minute by default', () => {
    assert.equal(defaultLimits.stalledMs, 60_000)
  })
})
