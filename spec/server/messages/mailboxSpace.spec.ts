import assert from 'node:assert/strict'
import type { Client } from '../../../lib/client/client.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { MailboxSpace } from '../../../lib/server/messages/mailboxSpace.ts'
import { heldRig, MessageClient, textOf } from '../../support/messageClient.ts'
import { handled } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'
import { turns } from '../../support/turns.ts'
import { UploadRig } from '../../support/uploadRig.ts'
import { VirtualClock } from '../../support/virtualClock.ts'

const { enter, listen } = MessageClient

/** Waits for space, and notes the result. */
function waiting(space: MailboxSpace, users: readonly string[], untilMs: number) {
  const results: boolean[] = []
  void space.wait(users, untilMs).then((result) => results.push(result))
  return results
}

spec('waiting for space in mailboxes', (it) => {
  it('ends at once if one of the users handles no messages, or has handled none for two seconds', async () => {
    const clock = new VirtualClock()
    const space = new MailboxSpace(clock)
    space.freed('bob')
    assert.equal(await space.wait(['bob', 'carol'], 60_000), false)
    clock.pass(2_000)
    assert.equal(await space.wait(['bob'], 60_000), false)
    assert.deepEqual([space.waiting, clock.set], [0, []])
  })

  it('ends when one of the users handles messages, stops listening, or handles none any more', async () => {
    const clock = new VirtualClock()
    const space = new MailboxSpace(clock)
    for (const ends of [
      () => space.freed('carol'),
      () => space.stopped('carol'),
      () => clock.pass(2_000),
      () => space.close(),
    ]) {
      space.freed('bob')
      space.freed('carol')
      const results = waiting(space, ['bob', 'carol'], clock.now() + 60_000)
      clock.pass(1_000)
      space.freed('dave')
      await turn()
      assert.deepEqual([results, space.waiting], [[], 1])
      ends()
      await turn()
      assert.deepEqual([results, space.waiting, clock.set], [[true], 0, []])
    }
  })

  it('ends at the latest time', async () => {
    const clock = new VirtualClock()
    const space = new MailboxSpace(clock)
    space.freed('bob')
    const results = waiting(space, ['bob'], clock.now() + 500)
    clock.pass(500)
    await turn()
    assert.deepEqual(results, [true])
    assert.equal(await space.wait(['bob'], clock.now()), false)
  })
})

spec('a message to a full mailbox', (it) => {
  const limits = { mailboxMessages: 2, senderSharePercent: 100, deliveryWindow: 1 }

  it('waits while the recipient handles messages, and is neither refused nor overtaken', async () => {
    await using rig = await heldRig(limits)
    const bob = await listen(rig, 'bob')
    const alice = await listen(rig, 'alice')
    for (const number of [1, 2]) await alice.post(number, ['bob'], `${number}`)
    for (const number of [3, 4]) alice.sendPost(number, ['bob'], `${number}`)
    alice.sendPost(5, ['carol'], '5')
    await turn()
    assert.deepEqual(alice.unread, [])
    for (const number of [1, 2, 3, 4]) {
      await pass(rig.clock, 1_000)
      const delivery = await bob.delivery()
      assert.equal(textOf(delivery.content), `${number}`)
      await bob.take(delivery)
    }
    assert.deepEqual(await alice.posted(), ['bob online'])
    assert.deepEqual(await alice.posted(), ['bob online'])
    assert.deepEqual(await alice.posted(), ['carol stored'])
  })

  it('is refused when the recipient has handled no message for two seconds', async () => {
    await using rig = await heldRig(limits)
    const bob = await listen(rig, 'bob')
    const alice = await listen(rig, 'alice')
    for (const number of [1, 2]) await alice.post(number, ['bob'], `${number}`)
    await bob.delivery()
    alice.sendPost(3, ['bob'], '3')
    await pass(rig.clock, 1_999)
    assert.deepEqual(alice.unread, [])
    await pass(rig.clock, 1)
    assert.deepEqual((await alice.refused('mailbox-full')).recipients, ['bob'])
  })

  it('is refused at once if one of the full mailboxes belongs to a user who does not listen', async () => {
    await using rig = await heldRig(limits)
    await listen(rig, 'bob')
    const alice = await listen(rig, 'alice')
    for (const number of [1, 2]) await alice.post(number, ['bob', 'carol'], `${number}`)
    await alice.postRefused(3, ['bob', 'carol'], '3', 'mailbox-full')
  })

  it('is refused when the recipient stops listening, and is not stored after the link of the sender has ended', async () => {
    await using rig = await heldRig(limits)
    const bob = await listen(rig, 'bob')
    const alice = await listen(rig, 'alice')
    for (const number of [1, 2]) await alice.post(number, ['bob'], `${number}`)
    await bob.delivery()
    alice.sendPost(3, ['bob'], '3')
    await turn()
    await bob.regist(0)
    await alice.refused('mailbox-full')
    await bob.regist(1)
    alice.sendPost(4, ['bob'], '4')
    await turn()
    await alice.vanish()
    for (const number of [1, 2]) {
      const delivery = await bob.delivery()
      assert.equal(textOf(delivery.content), `${number}`)
      await bob.take(delivery)
    }
    await pass(rig.clock, 60_000)
    assert.deepEqual(await rig.storage.mailboxes.levels(), [])
  })

  it('is stored already if it was sent before: it waits for no space', async () => {
    await using rig = await heldRig(limits)
    await listen(rig, 'bob')
    const alice = await enter(rig, 'alice')
    await alice.regist(0)
    for (const number of [1, 2]) await alice.post(number, ['bob'], `${number}`)
    assert.deepEqual(await alice.post(2, ['bob'], '2'), ['bob online'])
  })
})

spec('messages that are sent together', (it) => {
  const upTo = (count: number) => Array.from({ length: count }, (_, at) => `${at + 1}`)

  for (const [what, count, limits] of [
    ['are more than a mailbox has space for', 30, { mailboxMessages: 10, senderSharePercent: 100 }],
    ['are more than the share of one sender in a mailbox', 20, { mailboxMessages: 20, senderSharePercent: 50 }],
    ['are more than the share of one sender in all mailboxes', 20, { waitingMessages: 20, senderSharePercent: 50 }],
    ['have more bytes than the share of one sender in a mailbox', 20, { mailboxBytes: 40, senderSharePercent: 50 }],
  ] as const) {
    it(`all arrive if the recipient handles them, also if they ${what}`, async () => {
      await using rig = await UploadRig.start(limits)
      const bob = rig.client({ user: 'bob' })
      const texts: string[] = []
      bob.receive((message) => void texts.push(message.text()))
      await bob.online()
      const alice = rig.client({ user: 'alice' })
      await alice.online()
      await Promise.all(upTo(count).map((text) => alice.send(['bob'], text)))
      await turns(() => texts.length >= count)
      assert.deepEqual(texts, upTo(count))
    })
  }

  it('arrive while a later one waits for space', async () => {
    await using rig = await UploadRig.start({ mailboxMessages: 1, senderSharePercent: 100 })
    const [bob, carol, alice] = ['bob', 'carol', 'alice'].map((user) => rig.client({ user })) as [
      Client,
      Client,
      Client,
    ]
    const first = deferred<void>()
    const texts: string[] = []
    bob.receive((message) => void texts.push(message.text()))
    carol.receive(() => first.promise)
    await Promise.all([bob, carol, alice].map((client) => client.online()))
    await alice.send(['carol'], 'first')
    const sent: string[] = []
    const sendings = ['bob', 'carol'].map((user) => alice.send([user], 'second').then(() => sent.push(user)))
    const allSent = handled(Promise.all(sendings))
    await turns(() => texts.length === 1)
    assert.deepEqual(sent, [])
    first.resolve()
    await allSent
  })
})
