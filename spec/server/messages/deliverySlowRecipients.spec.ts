import assert from 'node:assert/strict'
import { defaultLimits, KiB, MiB } from '../../../lib/limits.ts'
import { patterned } from '../../support/memorySource.ts'
import { heldRig, MessageClient, textOf } from '../../support/messageClient.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'

const { listen } = MessageClient
const { keepAliveMs } = defaultLimits

/** Why the server has closed a user's link, if it has. */
const closedWith = (
  rig: { readonly log: readonly { event: string; user?: unknown; code?: unknown }[] },
  user: string,
) => rig.log.filter((entry) => entry.event === 'link-closed' && entry.user === user).map(({ code }) => code)

spec('a recipient that reads nothing', (it) => {
  it('is closed as slow-consumer after two keep-alive intervals, and delays no other client', async () => {
    // More than the socket takes.
    await using rig = await heldRig({ deliveryBytes: 4 * MiB, deliveryWindow: 64 })
    const [alice, bob, carol] = [await listen(rig, 'alice'), await listen(rig, 'bob'), await listen(rig, 'carol')]
    bob.raw.socket.pause()
    for (let number = 0; number < 50; number++) await alice.post(number, ['bob'], patterned(64 * KiB))
    for (let half = 0; half < 5; half++) {
      assert.deepEqual(closedWith(rig, 'bob'), [])
      await pass(rig.clock, keepAliveMs / 2)
      bob.raw.send('PingReq', {})
      await alice.post(100 + half, ['carol', 'bob'], `${half}`)
      const delivery = await carol.delivery()
      assert.equal(textOf(delivery.content), `${half}`)
      await carol.take(delivery)
    }
    assert.deepEqual(closedWith(rig, 'bob'), ['slow-consumer'])
    assert.deepEqual(
      [...rig.server.status().online].map(({ user }) => user),
      ['alice', 'carol'],
    )
    const back = await listen(rig, 'bob', { session: 'two' })
    assert.ok((await back.delivery()).attempt > 1)
  })

  it('has no more unanswered messages than the window, however many are stored for it', async () => {
    await using rig = await heldRig({ deliveryWindow: 3 })
    const [alice, bob] = [await listen(rig, 'alice'), await listen(rig, 'bob')]
    bob.raw.socket.pause()
    for (let number = 0; number < 10; number++) await alice.post(number, ['bob'], 'hello')
    bob.raw.socket.resume()
    await turn()
    assert.equal(bob.unread.length, 3)
  })

  it('and requests the list again and again is closed at the limit of unsent bytes', async () => {
    const asMany = { registrationsPerSecond: 1e6, workMsPerSecond: 1e6 }
    await using rig = await heldRig({ unsentBytes: 8 * KiB, ...asMany })
    const bob = await listen(rig, 'bob')
    const alice = await listen(rig, 'alice')
    bob.raw.socket.pause()
    // The socket takes two megabytes before it is full.
    for (let times = 0; closedWith(rig, 'bob').length === 0; times++) {
      assert.ok(times < 300, 'it has been told of everything and is not dismissed')
      for (let more = 0; more < 100; more++) bob.sendRegist()
      await pass(rig.clock, 1)
    }
    assert.deepEqual(closedWith(rig, 'bob'), ['slow-consumer'])
    assert.equal((await alice.list()).members.length, 1)
  })
})

spec('a recipient that reads and never answers', (it) => {
  it('keeps its link, and delays no other client', async () => {
    await using rig = await heldRig({ deliveryWindow: 2 })
    const [alice, bob, carol] = [await listen(rig, 'alice'), await listen(rig, 'bob'), await listen(rig, 'carol')]
    for (let number = 0; number < 6; number++) {
      await alice.post(number, ['bob', 'carol'], `${number}`)
      const delivery = await carol.delivery()
      assert.equal(textOf(delivery.content), `${number}`)
      await carol.take(delivery)
      bob.raw.send('PingReq', {})
      await pass(rig.clock, keepAliveMs / 2)
    }
    const came = bob.raw.unread.filter((event) => event === 'DeliverMsgReq')
    assert.ok(came.length > 2)
    const first = await bob.delivery()
    assert.deepEqual([textOf(first.content), closedWith(rig, 'bob')], ['0', []])
  })
})
