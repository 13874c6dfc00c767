import assert from 'node:assert/strict'
import { clientLimits } from '../../../lib/limits.ts'
import { FairScheduler } from '../../../lib/server/files/fairScheduler.ts'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { manualPlatform, ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'

const retryMs = 2_000
/** How long an upload counts as waiting after it was refused. */
const waitMs = retryMs + clientLimits.reconnectMostMs
const now = 0

function share(...waiting: readonly string[]): FairScheduler {
  const fairShare = new FairScheduler(retryMs)
  for (const [at, user] of waiting.entries()) fairShare.wait({ user, name: `file ${at}` }, 1, now)
  return fairShare
}

const held = (counts: Readonly<Record<string, number>>) => (user: string) => counts[user] ?? 0

spec('an idle instance', (it) => {
  it('is for any user if no upload waits', () => {
    assert.ok(share().mayAssign('alice', 1, held({ alice: 199 }), now))
  })

  it('is refused to a user who holds more than a waiting user', () => {
    assert.ok(!share('bob').mayAssign('alice', 1, held({ alice: 1 }), now))
    assert.ok(!share('bob').mayAssign('alice', 1, held({ alice: 3, bob: 2 }), now))
  })

  it('is for either user if both hold as many', () => {
    const both = share('alice', 'bob')
    for (const user of ['alice', 'bob']) assert.ok(both.mayAssign(user, 1, held({ alice: 2, bob: 2 }), now))
  })

  it('is for the waiting user who holds the fewest', () => {
    const three = share('alice', 'bob', 'carol')
    const counts = held({ alice: 4, bob: 2, carol: 1 })
    const may = ['alice', 'bob', 'carol', 'dan'].map((user) => three.mayAssign(user, 1, counts, now))
    assert.deepEqual(may, [false, false, true, true])
  })

  it('is not kept from a user by other waiting uploads of that user', () => {
    assert.ok(share('alice', 'alice').mayAssign('alice', 1, held({ alice: 5 }), now))
  })

  it('is also for a user who holds more if there are more idle instances than waiting uploads', () => {
    const counts = held({ alice: 10 })
    assert.ok(!share('bob', 'bob').mayAssign('alice', 2, counts, now))
    assert.ok(share('bob', 'bob').mayAssign('alice', 3, counts, now))
  })

  it('is not kept for a user who would then hold more than the other', () => {
    const many = share('bob', 'bob', 'bob')
    assert.ok(many.mayAssign('alice', 2, held({ alice: 5, bob: 4 }), now))
    assert.ok(!many.mayAssign('alice', 1, held({ alice: 5, bob: 4 }), now))
  })
})

spec('an upload that waits for an instance', (it) => {
  const counts = held({ alice: 1 })

  it('waits until it has one', () => {
    const one = share('bob')
    one.remove({ user: 'bob', name: 'file 0' })
    assert.ok(one.mayAssign('alice', 1, counts, now))
  })

  it('waits until its link ends, and those of other links wait on', () => {
    const two = share('bob')
    two.wait({ user: 'bob', name: 'another' }, 2, now)
    two.lost(1)
    assert.equal(two.waiting, 1)
    two.lost(2)
    assert.ok(two.mayAssign('alice', 1, counts, now))
  })

  it('waits as long as a client may take to ask again, from its last request', () => {
    const one = share('bob')
    assert.ok(!one.mayAssign('alice', 1, counts, waitMs - 1))
    one.wait({ user: 'bob', name: 'file 0' }, 1, waitMs - 1)
    assert.ok(!one.mayAssign('alice', 1, counts, 2 * waitMs - 2))
    assert.equal(one.waiting, 1)
    assert.ok(one.mayAssign('alice', 1, counts, 2 * waitMs - 1))
    assert.equal(one.waiting, 0)
  })

  it('waits only while there are not too many', () => {
    const one = share('bob')
    for (let at = 0; at < 9_999; at++) one.wait({ user: 'carol', name: `${at}` }, 1, now)
    assert.ok(!one.mayAssign('alice', 1, counts, now))
    for (let at = 9_999; at < 20_000; at++) one.wait({ user: 'carol', name: `${at}` }, 1, now)
    assert.equal(one.waiting, 10_000)
  })
})

spec('with many uploads that wait', (it) => {
  it('a request without an idle instance is refused without checking any user', () => {
    const many = share()
    for (let at = 0; at < 10_000; at++) many.wait({ user: `user ${at}`, name: 'file' }, at, now)
    let looks = 0
    const looked = (user: string) => {
      looks++
      return user === 'alice' ? 5 : 0
    }
    assert.ok(!many.mayAssign('alice', 0, looked, now))
    assert.ok(!many.mayAssign('alice', 3, looked, now))
    assert.ok(looks <= 5, `${looks} looks`)
  })

  it('those of a link that ends are forgotten, and so is a user without others', () => {
    const many = share()
    for (let at = 0; at < 100; at++) many.wait({ user: 'bob', name: `${at}` }, at % 2, now)
    many.lost(0)
    assert.equal(many.waiting, 50)
    assert.ok(!many.mayAssign('alice', 1, held({ alice: 1 }), now))
    many.lost(1)
    assert.ok(many.mayAssign('alice', 1, held({ alice: 1 }), now))
  })
})

const bytes = patterned(100)
const named = (name: string) => ({ name, bytes })

spec("a user's one file", (it) => {
  it('waits for no more than one upload of another user who always sends more', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.start({ fileInstances: 2 }, { platform })
    const alice = await rig.client({ user: 'alice', session: 'one' })
    const bob = await rig.client({ user: 'bob', session: 'two' })
    const names = Array.from({ length: 20 }, (_, at) => `${at}`)
    const [first, second, ...more] = names
    const { instance } = await alice.start(named(`${first}`))
    await alice.start(named(`${second}`))
    for (const name of more) await alice.startRefused(named(name), 'no-idle-instance')
    await bob.continueRefused(named('b'), 'no-idle-instance')
    await alice.chunk(instance, 0, bytes)
    await alice.end(instance, sha256(bytes))
    for (const name of more) await alice.continueRefused(named(name), 'no-idle-instance')
    const own = await bob.continue(named('b'))
    await bob.chunk(own.instance, 0, bytes)
    for (const name of more) await alice.startRefused(named(name), 'no-idle-instance')
    await bob.end(own.instance, sha256(bytes))
    await rig.assertStored('b', bytes, 'bob')
    await alice.start(named('2'))
  })

  it('that is refused names other users as the reason only if an instance is kept for them', async () => {
    await using rig = await ServerRig.start({ fileInstances: 2 }, { platform: manualPlatform() })
    const alice = await rig.client({ user: 'alice', session: 'one' })
    const bob = await rig.client({ user: 'bob', session: 'two' })
    const [{ instance }] = [await alice.start(named('1')), await alice.start(named('2'))]
    const told = async (user: typeof alice, name: string) =>
      (await user.continueRefused(named(name), 'no-idle-instance')).text
    const full = 'the server is already transferring as many files as it can'
    // However often: the first time nobody waits, then she does herself, then also somebody who sends fewer.
    for (let time = 0; time < 2; time++) assert.equal(await told(alice, '3'), full)
    for (let time = 0; time < 2; time++) assert.equal(await told(bob, 'b'), full)
    assert.equal(await told(alice, '3'), full)
    await alice.pause(instance)
    assert.equal(await told(alice, '3'), 'the idle instances are kept for users who send fewer files')
    await bob.continue(named('b'))
    assert.equal(await told(alice, '3'), full)
  })

  it('that is cancelled, or whose link ends, keeps no instance from others', async () => {
    await using rig = await ServerRig.start({ fileInstances: 2 }, { platform: manualPlatform() })
    const alice = await rig.client({ user: 'alice', session: 'one' })
    for (const how of ['cancel', 'vanish'] as const) {
      const [first, second] = [await alice.start(named('1')), await alice.start(named('2'))]
      const bob = await rig.client({ user: 'bob', session: how })
      await bob.startRefused(named('b'), 'no-idle-instance')
      await alice.pause(first.instance)
      await alice.continueRefused(named('3'), 'no-idle-instance')
      await (how === 'cancel' ? bob.cancel('b') : bob.vanish())
      const { instance } = await alice.continue(named('3'))
      for (const held of [second.instance, instance]) await alice.pause(held)
    }
  })
})
