import assert from 'node:assert/strict'
import { messageInstance } from '../../../lib/core/instance.ts'
import { defaultLimits } from '../../../lib/limits.ts'
import { heldRig, MessageClient, textOf, words } from '../../support/messageClient.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'

const { enter, listen } = MessageClient

/** The next change of the list that a client is told. */
const change = async (client: MessageClient) => words(await client.raw.expect('RegistListNtf')).join(' ')

spec('在线客户端列表 (the list of online clients)', (it) => {
  it("has in its table every arrow of the seed's chart", () => {
    assert.equal(messageInstance.table.IDLE.RegistReq, 'RECEIVE_MSG')
    assert.equal(messageInstance.table.RECEIVE_MSG.linkLost, 'IDLE')
  })

  it('REGIST gets its NACK if the maximum number of users is registered', async () => {
    await using rig = await heldRig({ clients: 1 })
    await listen(rig, 'alice')
    await (await enter(rig, 'bob')).registRefused('clients-full')
  })

  it('REGIST gets an idle instance, and the list is sent to the client and to the others', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    await pass(rig.clock, 100)
    const bob = await enter(rig, 'bob')
    const { ack, list } = await bob.regist()
    assert.notEqual(ack.instance, alice.instance)
    assert.deepEqual(words(list), ['+alice', '+bob'])
    await pass(rig.clock, 100)
    assert.deepEqual([await change(alice), bob.raw.unread], ['+bob', []])
  })

  it('when a client leaves, its instance becomes idle, and the list is sent to the others', async () => {
    await using rig = await heldRig({ clients: 2 })
    const [alice, bob] = [await listen(rig, 'alice'), await listen(rig, 'bob')]
    await pass(rig.clock, 100)
    assert.equal(await change(alice), '+bob')
    await bob.vanish()
    await pass(rig.clock, 100)
    assert.equal(await change(alice), '-bob')
    await alice.postNacked(1, ['alice'], 'to an idle instance', 'not-registered', bob.instance)
    assert.equal((await listen(rig, 'carol')).instance, bob.instance)
  })

  it('accepts a hundred clients at once', async () => {
    await using rig = await heldRig({ hellosPerSecond: 1_000 })
    for (let at = 0; at < 100; at++) await listen(rig, `user ${at}`)
    await (await enter(rig, 'one more')).registRefused('clients-full')
    assert.equal(rig.server.status().online.length, 100)
  })
})

spec('一对多消息发送 (one message is sent to many)', (it) => {
  it('an instance that is idle, or that another node holds, causes the NACK', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const bob = await enter(rig, 'bob')
    await bob.postNacked(1, ['alice'], 'hello', 'not-registered', 2)
    await bob.postNacked(1, ['alice'], 'hello', 'wrong-node', alice.instance)
  })

  it('gets its ACK, goes to all online recipients, and their answers end it', async () => {
    await using rig = await heldRig()
    const names = Array.from({ length: 16 }, (_, at) => `user ${at}`)
    const others: MessageClient[] = []
    for (const name of names) others.push(await listen(rig, name))
    const alice = await listen(rig, 'alice')
    assert.deepEqual(
      await alice.post(1, names, 'hello'),
      names.map((name) => `${name} online`),
    )
    for (const other of others) await other.take(await other.delivery())
    await pass(rig.clock, 2 * defaultLimits.deliveryMs)
    assert.deepEqual(
      others.flatMap((other) => other.unread),
      [],
    )
  })

  it('a delivery without a timely answer goes to the tail of the queue, and the next task continues', async () => {
    await using rig = await heldRig()
    const [alice, bob, carol] = [await listen(rig, 'alice'), await listen(rig, 'bob'), await listen(rig, 'carol')]
    await alice.post(1, ['bob', 'carol'], 'first')
    const unanswered = await bob.delivery()
    await carol.take(await carol.delivery())
    await alice.post(2, ['carol'], 'second')
    assert.equal(textOf((await carol.delivery()).content), 'second')
    await pass(rig.clock, defaultLimits.deliveryMs)
    const again = await bob.delivery()
    assert.deepEqual([again.mailboxSeq, again.attempt], [unanswered.mailboxSeq, 2])
    await bob.take(again)
    await pass(rig.clock, defaultLimits.deliveryMs / 2)
    assert.deepEqual(bob.unread, [])
  })
})

for (const where of ['memory', 'disk'] as const) {
  spec(`离线消息发送 (messages to those who are offline) on ${where}`, (it) => {
    const start = () => (where === 'disk' ? ServerRig.onDisk() : ServerRig.start())

    it('a message to an offline client is stored, and a client that registers later receives it', async () => {
      await using rig = await start()
      const alice = await listen(rig, 'alice')
      assert.deepEqual(await alice.post(1, ['alice', 'bob'], 'hello'), ['alice online', 'bob stored'])
      const bob = await enter(rig, 'bob')
      await bob.regist()
      const delivery = await bob.delivery()
      assert.deepEqual([delivery.sender, textOf(delivery.content), delivery.attempt], ['alice', 'hello', 1])
    })

    it('tasks that were unfinished when the server crashed are resumed', async () => {
      await using rig = await start()
      const [alice, bob] = [await listen(rig, 'alice'), await listen(rig, 'bob')]
      await alice.post(1, ['bob', 'carol'], 'hello')
      const unanswered = await bob.delivery()
      await rig.crash()
      await rig.restart()
      for (const user of ['bob', 'carol']) {
        const client = await listen(rig, user)
        const delivery = await client.delivery()
        assert.deepEqual([delivery.mailboxSeq, delivery.attempt > 1], [unanswered.mailboxSeq, true])
      }
    })

    it('an answered message is not delivered again after a crash', async () => {
      await using rig = await start()
      const [alice, bob] = [await listen(rig, 'alice'), await listen(rig, 'bob')]
      for (const number of [1, 2]) await alice.post(number, ['bob'], `${number}`)
      const [first] = await bob.deliveries(2)
      assert.ok(first)
      await bob.take(first)
      while ((await rig.storage.mailboxes.levels()).some(({ messages }) => messages > 1)) await turn()
      await rig.crash()
      await rig.restart()
      assert.equal(textOf((await (await listen(rig, 'bob')).delivery()).content), '2')
    })
  })
}
