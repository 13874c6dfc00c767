import assert from 'node:assert/strict'
import { defaultLimits } from '../../../lib/limits.ts'
import { rosterKind } from '../../../lib/wire/protocol.ts'
import { heldRig, MessageClient, words } from '../../support/messageClient.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'

const { enter, listen } = MessageClient
/** Flags of REGIST_REQ. */
const [silent, listening] = [0, 1]

/** The users of the whole list. */
const users = async (client: MessageClient) => words(await client.list())

spec('REGIST', (it) => {
  it('assigns an instance, and returns the version of the list and the window of deliveries', async () => {
    await using rig = await heldRig({ deliveryWindow: 7 })
    const { ack } = await (await enter(rig)).regist()
    assert.deepEqual(ack, { event: 'RegistAck', instance: 1, listVersion: 1, deliveryWindow: 7 })
  })

  it('is followed at once by the whole list, with the client itself, at the version of the ACK', async () => {
    await using rig = await heldRig()
    await listen(rig, 'alice')
    const bob = await enter(rig, 'bob')
    bob.sendRegist()
    const { listVersion } = await bob.raw.expect('RegistAck')
    const list = await bob.raw.expect('RegistListNtf')
    assert.deepEqual([list.kind, list.listVersion], [rosterKind.whole, listVersion])
    assert.deepEqual(words(list), ['+alice', '+bob'])
    assert.equal(list.members[1]?.node, bob.node)
  })

  it("for another user than HELLO's is unauthorized, and lists no client", async () => {
    await using rig = await heldRig()
    const alice = await enter(rig)
    const { retryAfter } = await alice.registRefused('unauthorized', listening, 'bob')
    assert.equal(retryAfter, 0)
    assert.deepEqual(await users(alice), [])
    assert.equal((await alice.regist()).ack.instance, 1)
  })

  it('gets the longest idle instance', async () => {
    await using rig = await heldRig({ clients: 3 })
    const taken: number[] = []
    for (const user of ['a', 'b', 'c', 'd']) {
      const client = await listen(rig, user)
      taken.push(client.instance)
      await client.vanish()
    }
    assert.deepEqual(taken, [1, 2, 3, 1])
  })

  it('is refused if no instance is idle, with a time to come back, and succeeds once one is idle', async () => {
    await using rig = await heldRig({ clients: 2, retryAfterMs: 700 })
    const alice = await listen(rig, 'alice')
    await (await enter(rig, 'bob')).regist(silent)
    const carol = await enter(rig, 'carol')
    assert.equal((await carol.registRefused('clients-full')).retryAfter, 700)
    assert.equal((await carol.registRefused('clients-full', silent)).retryAfter, 700)
    await alice.vanish()
    await carol.regist()
    assert.deepEqual(await users(carol), ['+carol'])
  })

  it('beyond the maximum of one user is refused as clients-full, and other users can still register', async () => {
    await using rig = await heldRig({ registrationsPerUser: 2 })
    const first = await enter(rig, 'bob', { session: 'one' })
    await first.regist(silent)
    await listen(rig, 'bob', { session: 'two' })
    const third = await enter(rig, 'bob', { session: 'three' })
    assert.match((await third.registRefused('clients-full', silent)).text, /^bob has 2 registered clients/)
    await (await enter(rig, 'carol')).regist(silent)
    await listen(rig, 'bob', { session: 'four' })
    await third.registRefused('clients-full', silent)
    await first.vanish()
    await third.regist(silent)
  })

  it('is possible for 100 clients by default', () => {
    assert.equal(defaultLimits.clients, 100)
    assert.equal(defaultLimits.registrationsPerUser, 20)
  })

  it('without bit 0 does not list the client, which receives the list and its changes', async () => {
    await using rig = await heldRig()
    await listen(rig, 'alice')
    const watcher = await enter(rig, 'bob')
    const { ack, list } = await watcher.regist(silent)
    assert.ok(ack.instance > 0)
    assert.deepEqual([words(list), list.listVersion], [['+alice'], 1])
    await pass(rig.clock, 100)
    await listen(rig, 'carol')
    await pass(rig.clock, 100)
    assert.deepEqual(words(await watcher.raw.expect('RegistListNtf')), ['+carol'])
  })

  it('without bit 0 collides with none of the same user', async () => {
    await using rig = await heldRig()
    const all = [await listen(rig, 'alice')]
    for (const session of ['two', 'three']) {
      const client = await enter(rig, 'alice', { session })
      await client.regist(silent)
      all.push(client)
    }
    assert.equal(new Set(all.map(({ instance }) => instance)).size, 3)
    assert.equal(rig.server.status().links, 3)
  })

  it('without bit 0 receives no messages, and with it the waiting ones', async () => {
    await using rig = await heldRig()
    const bob = await enter(rig, 'bob')
    await bob.regist(silent)
    const alice = await listen(rig, 'alice')
    assert.deepEqual(await alice.post(1, ['bob'], 'hello'), ['bob stored'])
    await turn()
    assert.deepEqual(bob.unread, [])
    await bob.regist(listening)
    assert.equal((await bob.delivery()).sender, 'alice')
  })

  it('a second time on one link changes its flags, in the same instance', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const { instance } = alice
    const hushed = await alice.regist(silent)
    assert.deepEqual([hushed.ack.instance, words(hushed.list), hushed.list.listVersion], [instance, [], 2])
    const back = await alice.regist(listening)
    assert.deepEqual([back.ack.instance, words(back.list), back.list.listVersion], [instance, ['+alice'], 3])
  })

  it('a second time with the same flags changes nothing, and sends the list again', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const { ack, list } = await alice.regist()
    assert.deepEqual([ack.instance, list.listVersion, words(list)], [1, 1, ['+alice']])
  })

  it('without bit 0 stops unanswered deliveries, which are repeated when it is set', async () => {
    await using rig = await heldRig({ deliveryWindow: 1 })
    const bob = await listen(rig, 'bob')
    const alice = await listen(rig, 'alice')
    for (const number of [1, 2, 3]) await alice.post(number, ['bob'], `${number}`)
    const first = await bob.delivery()
    await bob.regist(silent)
    await bob.take(first)
    assert.deepEqual(bob.unread, [])
    await bob.regist(listening)
    const next = await bob.delivery()
    assert.deepEqual([next.mailboxSeq > first.mailboxSeq, next.attempt], [true, 1])
  })
})

spec('the end of a link', (it) => {
  it('makes its instance idle, and removes the client from the list', async () => {
    await using rig = await heldRig({ clients: 2 })
    const alice = await listen(rig, 'alice')
    const bob = await listen(rig, 'bob')
    await pass(rig.clock, 100)
    assert.deepEqual(words(await alice.raw.expect('RegistListNtf')), ['+bob'])
    await bob.vanish()
    await pass(rig.clock, 100)
    const gone = await alice.raw.expect('RegistListNtf')
    assert.deepEqual([words(gone), gone.members[0]?.node], [['-bob'], bob.node])
    assert.deepEqual(await users(alice), ['+alice'])
    await listen(rig, 'carol')
  })

  it('by GOODBYE does the same', async () => {
    await using rig = await heldRig({ clients: 1 })
    const alice = await listen(rig, 'alice')
    alice.raw.send('GoodbyeNtf', { code: 0, retryAfter: 0, text: '' })
    await alice.raw.closed
    const bob = await listen(rig, 'bob')
    assert.deepEqual(await users(bob), ['+bob'])
  })

  it('by its own session on a new link supersedes no other session: the new link registers as usual', async () => {
    await using rig = await heldRig({ clients: 1 })
    const former = await listen(rig, 'alice', { session: 'same' })
    const client = await enter(rig, 'alice', { session: 'same' })
    await former.raw.dismissed('link-replaced')
    const { list } = await client.regist()
    assert.deepEqual(
      list.members.map(({ node }) => node),
      [client.node],
    )
  })
})
