import assert from 'node:assert/strict'
import { defaultLimits, fixed } from '../../../lib/limits.ts'
import { registFlags } from '../../../lib/wire/protocol.ts'
import { heldRig, MessageClient, textOf, words } from '../../support/messageClient.ts'
import type { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'

const { enter, listen, listenAs } = MessageClient
const dayMs = 24 * fixed.deviceSeenMs

/** Resolves with the texts of the next messages of a client, which answers none of them. */
async function texts(client: MessageClient, count: number): Promise<string[]> {
  return (await client.deliveries(count)).map(({ content }) => textOf(content))
}

/** Resolves with the texts of the messages in a mailbox. */
async function waitingFor(rig: ServerRig, user: string): Promise<number> {
  const levels = await rig.server.mailboxes()
  return levels.find((level) => level.user === user)?.messages ?? 0
}

spec('several devices of a user', (it) => {
  it('each receive every message, which stays until all have handled it', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const phone = await listenAs(rig, 'bob', 'phone')
    const laptop = await listenAs(rig, 'bob', 'laptop')
    await alice.post(1, ['bob'], 'hello')
    for (const [client, left] of [
      [phone, 1],
      [laptop, 0],
    ] as const) {
      const delivered = await client.delivery()
      assert.deepEqual([textOf(delivered.content), delivered.attempt], ['hello', 1])
      await client.take(delivered)
      await pass(rig.clock, 50)
      assert.equal(await waitingFor(rig, 'bob'), left)
    }
  })

  it('receive the messages that they missed when they connect again, and not those that they have handled', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    await (await listenAs(rig, 'bob', 'phone')).vanish()
    const laptop = await listenAs(rig, 'bob', 'laptop')
    await alice.post(1, ['bob'], 'one')
    await alice.post(2, ['bob'], 'two')
    await laptop.take(...(await laptop.deliveries(2)))
    await alice.post(3, ['bob'], 'three')
    await laptop.vanish()
    assert.deepEqual(await texts(await listenAs(rig, 'bob', 'phone'), 3), ['one', 'two', 'three'])
    const again = await listenAs(rig, 'bob', 'laptop')
    assert.deepEqual(await texts(again, 1), ['three'])
    assert.deepEqual(again.unread, [])
  })

  it('receive no handled message again when the server restarts', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const [phone] = [await listenAs(rig, 'bob', 'phone'), await listenAs(rig, 'bob', 'laptop')]
    await alice.post(1, ['bob'], 'one')
    await alice.post(2, ['bob'], 'two')
    await phone.take(await phone.delivery())
    await pass(rig.clock, 50)
    await rig.crash()
    await rig.restart()
    assert.deepEqual(await texts(await listenAs(rig, 'bob', 'phone'), 1), ['two'])
    assert.deepEqual(await texts(await listenAs(rig, 'bob', 'laptop'), 2), ['one', 'two'])
  })

  it('begin with the messages that wait', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    await alice.post(1, ['bob'], 'one')
    const phone = await listenAs(rig, 'bob', 'phone')
    await phone.take(await phone.delivery())
    await pass(rig.clock, 50)
    await alice.post(2, ['bob'], 'two')
    assert.deepEqual(await texts(await listenAs(rig, 'bob', 'laptop'), 1), ['two'])
  })

  it('are superseded by a later link of the same device only', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const phone = await listenAs(rig, 'bob', 'phone')
    const laptop = await listenAs(rig, 'bob', 'laptop')
    await alice.post(1, ['bob'], 'one')
    await texts(phone, 1)
    const next = await enter(rig, 'bob', { session: 'next' })
    next.device = 'phone'
    await next.regist()
    await phone.raw.dismissed('superseded')
    assert.equal((await next.delivery()).attempt, 2)
    const back = await enter(rig, 'bob', { session: "bob's phone" })
    back.device = 'phone'
    await back.registRefused('superseded')
    await laptop.take(await laptop.delivery())
    assert.deepEqual(laptop.unread, [])
    // The session that was superseded can listen as another device.
    back.device = 'tablet'
    await back.regist()
    assert.deepEqual(await texts(back, 1), ['one'])
  })

  it('show their user as online until the last one is gone', async () => {
    await using rig = await heldRig()
    const watcher = await listen(rig, 'alice')
    const phone = await listenAs(rig, 'bob', 'phone')
    const laptop = await listenAs(rig, 'bob', 'laptop')
    await phone.vanish()
    await pass(rig.clock, 200)
    assert.deepEqual(words(await watcher.list()), ['+alice', '+bob'])
    assert.deepEqual(await watcher.post(1, ['bob'], ''), ['bob online'])
    await laptop.vanish()
    await pass(rig.clock, 200)
    assert.deepEqual(words(await watcher.list()), ['+alice'])
    assert.deepEqual(await watcher.post(2, ['bob'], ''), ['bob stored'])
  })

  it('can be changed on a link, and are released when it no longer listens', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const bob = await listenAs(rig, 'bob', 'phone')
    bob.device = 'laptop'
    await bob.regist()
    await alice.post(1, ['bob'], 'one')
    await bob.take(await bob.delivery())
    await pass(rig.clock, 50)
    assert.equal(await waitingFor(rig, 'bob'), 1)
    bob.device = 'phone'
    await bob.regist()
    await bob.take(await bob.delivery())
    await pass(rig.clock, 50)
    assert.equal(await waitingFor(rig, 'bob'), 0)
    await bob.regist(0)
    assert.equal(rig.server.status().online.length, 1)
    await bob.regist(registFlags.listening)
    assert.equal(rig.server.status().online.length, 2)
  })

  it('do not lose a message that they are handling when its time to live ends for another device', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const phone = await listenAs(rig, 'bob', 'phone')
    await (await listenAs(rig, 'bob', 'laptop')).vanish()
    await alice.postWith({ timeToLive: 1_000 }, 1, ['bob'], 'one')
    const handling = await phone.delivery()
    await pass(rig.clock, 2_000)
    const laptop = await listenAs(rig, 'bob', 'laptop')
    await pass(rig.clock, 50)
    assert.deepEqual([laptop.unread, await waitingFor(rig, 'bob')], [[], 1])
    await phone.take(handling)
    await pass(rig.clock, 50)
    assert.equal(await waitingFor(rig, 'bob'), 0)
  })

  it('are limited in number, and need valid names', async () => {
    await using rig = await heldRig({ devicesPerUser: 2 })
    await listenAs(rig, 'bob', 'phone')
    await listenAs(rig, 'bob', 'laptop')
    await listen(rig, 'bob')
    const bob = await enter(rig, 'bob', { session: 'other' })
    bob.device = 'tablet'
    await bob.registRefused('too-many-devices')
    bob.device = 'a/b'
    await bob.registRefused('bad-name')
    assert.equal(defaultLimits.devicesPerUser, 8)
  })

  it('are forgotten when they have not listened for 30 days', async () => {
    await using rig = await heldRig({ deviceAgeMs: dayMs, keepAliveMs: 3_600_000 })
    await (await listenAs(rig, 'bob', 'laptop')).vanish()
    await (await listen(rig, 'alice')).post(1, ['bob'], 'one')
    for (const left of [1, 1, 0]) {
      const phone = await listenAs(rig, 'bob', 'phone')
      await turn()
      if (phone.unread.length > 0) await phone.take(await phone.delivery())
      await phone.vanish()
      await pass(rig.clock, 50)
      assert.equal(await waitingFor(rig, 'bob'), left)
      for (let hour = 0; hour < 24; hour++) await pass(rig.clock, 3_600_000)
    }
    const forgotten = rig.log.filter(({ event }) => event === 'device-forgotten')
    assert.deepEqual(
      forgotten.map(({ user, device }) => [user, device]),
      [['bob', 'laptop']],
    )
    assert.equal(defaultLimits.deviceAgeMs, 30 * dayMs)
  })
})

/** Resolves with the devices of a client's user: name, whether it listens, waiting messages. */
async function listed({ raw }: MessageClient): Promise<readonly (readonly unknown[])[]> {
  raw.send('ListDevicesReq', {})
  const { devices } = await raw.expect('ListDevicesAck')
  return devices.map(({ device, listening, waiting }) => [device, listening, waiting])
}

/** Removes a device. Resolves with whether it was known. */
async function removed({ raw }: MessageClient, device: string): Promise<number> {
  raw.send('RemoveDeviceReq', { device })
  return (await raw.expect('RemoveDeviceAck')).removed
}

spec('the devices of a user', (it) => {
  it('are listed with the time at which they last listened, and with the number of messages that they have not handled', async () => {
    await using rig = await heldRig({ keepAliveMs: 3_600_000 })
    const alice = await listen(rig, 'alice')
    const bob = await enter(rig, 'bob')
    assert.deepEqual(await listed(bob), [])
    await (await listenAs(rig, 'bob', 'laptop')).vanish()
    await alice.post(1, ['bob'], 'one')
    for (let hours = 0; hours < 5; hours++) await pass(rig.clock, 3_600_000)
    const phone = await listenAs(rig, 'bob', 'phone')
    await phone.take(await phone.delivery())
    await (await listen(rig, 'carol')).post(2, ['bob'], 'two')
    const again = await enter(rig, 'bob', { session: 'again' })
    again.raw.send('ListDevicesReq', {})
    const { devices } = await again.raw.expect('ListDevicesAck')
    const now = rig.clock.wallTime()
    assert.deepEqual(
      devices.map(({ device, listening, waiting, seenAt }) => [device, listening, waiting, now - seenAt]),
      [
        ['laptop', 0, 2, 5 * 3_600_000],
        ['phone', 1, 1, 0],
      ],
    )
    assert.deepEqual(await listed(await enter(rig, 'alice', { session: 'again' })), [])
  })

  it('are removed with the messages that only they have not handled, whose senders get receipts', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    await (await listenAs(rig, 'bob', 'laptop')).vanish()
    const phone = await listenAs(rig, 'bob', 'phone')
    const bob = await enter(rig, 'bob', { session: 'other' })
    await alice.postWith({ receiptWanted: true }, 1, ['bob'], 'one')
    await alice.post(2, ['bob'], 'two')
    await phone.take(await phone.delivery())
    await pass(rig.clock, 50)
    assert.equal(await removed(bob, 'tablet'), 0)
    assert.equal(await removed(await enter(rig, 'alice', { session: 'other' }), 'laptop'), 0)
    assert.equal(await waitingFor(rig, 'bob'), 2)
    assert.equal(await removed(bob, 'laptop'), 1)
    assert.deepEqual([await waitingFor(rig, 'bob'), await waitingFor(rig, ':receipts:alice')], [1, 1])
    while ((await alice.raw.next()).event !== 'ReceiptsNtf');
    assert.deepEqual(await listed(bob), [['phone', 1, 1]])
    assert.deepEqual(
      rig.log.filter(({ event }) => event === 'device-forgotten').map(({ user, device }) => [user, device]),
      [['bob', 'laptop']],
    )
    const laptop = await listenAs(rig, 'bob', 'laptop')
    assert.deepEqual(await texts(laptop, 1), ['two'])
  })

  it('are not removed while they listen, or are about to', async () => {
    await using rig = await heldRig()
    const phone = await listenAs(rig, 'bob', 'phone')
    const laptop = await listenAs(rig, 'bob', 'laptop')
    phone.raw.send('RemoveDeviceReq', { device: 'laptop' })
    await phone.raw.refused('RemoveDeviceNack', 'device-listening')
    phone.raw.send('RemoveDeviceReq', { device: 'a/b' })
    await phone.raw.refused('RemoveDeviceNack', 'bad-name')
    await laptop.vanish()
    const back = await enter(rig, 'bob', { session: 'back' })
    back.device = 'laptop'
    const registered = back.regist()
    phone.raw.send('RemoveDeviceReq', { device: 'laptop' })
    await phone.raw.refused('RemoveDeviceNack', 'device-listening')
    await registered
    await phone.regist(0)
    assert.equal(await removed(back, 'phone'), 1)
    assert.deepEqual(await listed(back), [['laptop', 1, 0]])
  })

  it('stay removed when the server restarts', async () => {
    await using rig = await heldRig()
    for (const device of ['phone', 'laptop']) await (await listenAs(rig, 'bob', device)).vanish()
    await (await listen(rig, 'bob')).vanish()
    const bob = await enter(rig, 'bob', { session: 'other' })
    for (const device of ['', 'phone']) assert.equal(await removed(bob, device), 1)
    await rig.crash()
    await rig.restart()
    assert.deepEqual(await listed(await enter(rig, 'bob', { session: 'later' })), [['laptop', 0, 0]])
  })
})

spec('a listener without a device', (it) => {
  it('removes messages on its own while the user has no devices', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const bob = await listen(rig, 'bob')
    await alice.post(1, ['bob'], 'one')
    await bob.take(await bob.delivery())
    await pass(rig.clock, 50)
    assert.equal(await waitingFor(rig, 'bob'), 0)
  })

  it('counts as a device from the time when others are known', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const bob = await listen(rig, 'bob')
    await alice.post(1, ['bob'], 'one')
    const first = await bob.delivery()
    const phone = await listenAs(rig, 'bob', 'phone')
    await bob.take(first)
    await phone.take(await phone.delivery())
    await pass(rig.clock, 50)
    assert.equal(await waitingFor(rig, 'bob'), 0)
    await alice.post(2, ['bob'], 'two')
    await bob.vanish()
    await phone.take(await phone.delivery())
    await pass(rig.clock, 50)
    assert.equal(await waitingFor(rig, 'bob'), 1)
    assert.deepEqual(await texts(await listen(rig, 'bob', { session: 'later' }), 1), ['two'])
  })

  it('takes over from another one, and from no device', async () => {
    await using rig = await heldRig()
    const first = await listen(rig, 'bob', { session: 'first' })
    const phone = await listenAs(rig, 'bob', 'phone')
    await listen(rig, 'bob', { session: 'second' })
    await first.raw.dismissed('superseded')
    assert.deepEqual(phone.unread, [])
  })
})
