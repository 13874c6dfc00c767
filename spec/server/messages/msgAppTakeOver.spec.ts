import assert from 'node:assert/strict'
import { fixed } from '../../../lib/limits.ts'
import { heldRig, MessageClient, words } from '../../support/messageClient.ts'
import { spec } from '../../support/spec.ts'
import { pass } from '../../support/turn.ts'

const { enter, listen } = MessageClient
/** Flags of REGIST_REQ. */
const [silent, listening] = [0, 1]

spec('a second listening registration of a user', (it) => {
  it('takes over: the first link is closed, its instance moves, and the list shows both changes', async () => {
    await using rig = await heldRig()
    const first = await listen(rig, 'alice')
    const watcher = await listen(rig, 'bob')
    await pass(rig.clock, 100)
    const second = await enter(rig, 'alice', { session: 'two' })
    const { ack, list } = await second.regist()
    assert.equal(ack.instance, first.instance)
    assert.deepEqual(words(list), ['+bob', '+alice'])
    await superseded(first)
    await pass(rig.clock, 100)
    const told = await watcher.raw.expect('RegistListNtf')
    assert.deepEqual(
      [words(told), told.members.map(({ node }) => node)],
      [
        ['-alice', '+alice'],
        [first.node, second.node],
      ],
    )
  })

  it('refuses the first session as superseded when it registers to listen again, and accepts it without listening', async () => {
    await using rig = await heldRig()
    await listen(rig, 'alice', { session: 'one' })
    await listen(rig, 'alice', { session: 'two' })
    const back = await enter(rig, 'alice', { session: 'one' })
    assert.equal((await back.registRefused('superseded')).retryAfter, 0)
    await back.regist(silent)
    await back.registRefused('superseded', listening)
    assert.equal(rig.server.status().online.length, 1)
  })

  it('never leads to two that evict each other in turn, also after the second is gone', async () => {
    await using rig = await heldRig()
    await listen(rig, 'alice', { session: 'one' })
    const second = await listen(rig, 'alice', { session: 'two' })
    for (let times = 0; times < 5; times++) {
      const back = await enter(rig, 'alice', { session: 'one' })
      await back.registRefused('superseded')
    }
    assert.deepEqual(
      [...rig.server.status().online].map(({ node }) => node),
      [second.node],
    )
    await second.vanish()
    await (await enter(rig, 'alice', { session: 'one' })).registRefused('superseded')
    await listen(rig, 'alice', { session: 'new' })
  })

  it('is checked before whether there is an idle instance', async () => {
    await using rig = await heldRig({ clients: 1 })
    const first = await listen(rig, 'alice', { session: 'one' })
    const second = await listen(rig, 'alice', { session: 'two' })
    assert.equal(second.instance, first.instance)
  })

  it('frees the instance of the first if it has one already', async () => {
    await using rig = await heldRig({ clients: 2 })
    const first = await listen(rig, 'alice', { session: 'one' })
    const second = await enter(rig, 'alice', { session: 'two' })
    const { ack } = await second.regist(silent)
    await (await enter(rig, 'bob')).registRefused('clients-full')
    assert.equal((await second.regist(listening)).ack.instance, ack.instance)
    await superseded(first)
    assert.equal((await listen(rig, 'bob')).instance, first.instance)
  })

  it('is remembered for the last eight sessions of a user', async () => {
    await using rig = await heldRig()
    for (let at = 0; at <= fixed.supersededSessions + 1; at++) await listen(rig, 'alice', { session: `s${at}` })
    await (await enter(rig, 'alice', { session: 's1' })).registRefused('superseded')
    await listen(rig, 'alice', { session: 's0' })
  })

  it('of another user takes nothing over', async () => {
    await using rig = await heldRig()
    await listen(rig, 'alice', { session: 'same' })
    await listen(rig, 'bob', { session: 'same' })
    assert.equal(rig.server.status().online.length, 2)
  })
})

/** The GOODBYE comes next, but for what the list tells. */
async function superseded({ raw }: MessageClient): Promise<void> {
  while (raw.unread[0] === 'RegistListNtf') await raw.next()
  await raw.dismissed('superseded')
}
