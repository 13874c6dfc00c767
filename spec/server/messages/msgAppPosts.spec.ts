import assert from 'node:assert/strict'
import { codeOf } from '../../../lib/errors.ts'
import { defaultLimits, fixed } from '../../../lib/limits.ts'
import { deliveryStatus } from '../../../lib/wire/protocol.ts'
import { patterned } from '../../support/memorySource.ts'
import { bodyOf, heldRig, idOf, MessageClient, textOf } from '../../support/messageClient.ts'
import type { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const { enter, listen } = MessageClient

/** An authenticator that knows everybody once it is told to say so, each name's turn by itself. */
function slowAuthenticator() {
  const asked: { readonly user: string; readonly answer: () => void }[] = []
  return {
    authenticate: async ({ user }: { user: string }) => ({ user }),
    knows: (user: string) => new Promise<boolean>((resolve) => asked.push({ user, answer: () => resolve(true) })),
    /** Says of whom was asked for first that they are known. */
    answer(user: string): void {
      const at = asked.findIndex((question) => question.user === user)
      const [question] = asked.splice(at, 1)
      assert.equal(question?.user, user)
      question?.answer()
    },
    /** Who is asked for, in that order. */
    get users(): readonly string[] {
      return asked.map(({ user }) => user)
    },
  }
}

/** Alice and Bob, both registered. */
async function two(rig: ServerRig): Promise<[alice: MessageClient, bob: MessageClient]> {
  return [await listen(rig, 'alice'), await listen(rig, 'bob')]
}

spec('POST_MSG', (it) => {
  it('is acknowledged only when the message is durable, and delivered only then', async () => {
    await using rig = await heldRig()
    const [alice, bob] = await two(rig)
    const append = rig.storage.hold('append message')
    alice.sendPost(1, ['bob'], 'hello')
    await append.reached
    await turn()
    assert.deepEqual([alice.unread, bob.unread], [[], []])
    append.go()
    assert.deepEqual(await alice.posted(), ['bob online'])
    const { seqOfReq, mailboxSeq, content: _, ...delivered } = await bob.delivery()
    assert.deepEqual(delivered, {
      messageId: idOf(1),
      sender: 'alice',
      sentAt: rig.clock.wallTime(),
      body: bodyOf('hello'),
      attempt: 1,
    })
    assert.ok(seqOfReq > 0 && mailboxSeq > 0)
  })

  it('has the status of each recipient in order: online or stored', async () => {
    await using rig = await heldRig()
    const [alice] = await two(rig)
    await (await enter(rig, 'carol')).regist(0)
    const statuses = await alice.post(1, ['dave', 'bob', 'carol', 'alice'], 'hello')
    assert.deepEqual(statuses, ['dave stored', 'bob online', 'carol stored', 'alice online'])
  })

  it('goes to each of its recipients, also to its sender', async () => {
    await using rig = await heldRig()
    const [alice, bob] = await two(rig)
    await alice.post(1, ['bob', 'alice'], 'hello')
    for (const client of [alice, bob]) assert.equal(textOf((await client.delivery()).content), 'hello')
  })

  it('is acknowledged before it is delivered', async () => {
    await using rig = await heldRig()
    const [alice] = await two(rig)
    alice.sendPost(1, ['alice'], 'hello')
    await turn()
    assert.deepEqual(alice.unread, ['PostMsgAck', 'DeliverMsgReq'])
  })

  it('may come from a client that does not listen', async () => {
    await using rig = await heldRig()
    const bob = await listen(rig, 'bob')
    const alice = await enter(rig, 'alice')
    await alice.regist(0)
    await alice.post(1, ['bob'], 'hello')
    assert.equal((await bob.delivery()).sender, 'alice')
  })

  it('with a recipient named twice counts it once', async () => {
    await using rig = await heldRig({ recipients: 2 })
    const [alice, bob] = await two(rig)
    const statuses = await alice.post(1, ['bob', 'carol', 'bob', 'bob'], 'hello')
    assert.deepEqual(statuses, ['bob online', 'carol stored'])
    await bob.take(await bob.delivery())
    assert.deepEqual(bob.unread, [])
  })

  it('has the status unseen for a recipient who has never logged in, and stores the message', async () => {
    const names = { bob: true, carol: 'unlisted', lunch: 'unseen', alice: 'unseen' } as const
    const knows = async (user: string) => names[user as keyof typeof names]
    await using rig = await heldRig({}, { authenticator: { authenticate: async ({ user }) => ({ user }), knows } })
    const alice = await listen(rig, 'alice')
    const statuses = await alice.post(1, ['bob', 'carol', 'lunch', 'alice'], 'today?')
    assert.deepEqual(statuses, ['bob stored', 'carol stored', 'lunch unseen', 'alice online'])
    const lunch = await listen(rig, 'lunch')
    assert.equal(textOf((await lunch.delivery()).content), 'today?')
  })

  it("goes to the seed's sixteen recipients at once", async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const recipients = Array.from({ length: 16 }, (_, at) => `user ${at}`)
    assert.equal(defaultLimits.recipients, 16)
    assert.equal((await alice.post(1, recipients, 'hello')).length, 16)
  })

  it('takes any content from 0 bytes to 64 KiB', async () => {
    await using rig = await heldRig()
    const [alice, bob] = await two(rig)
    for (const [at, length] of [0, 1, fixed.messageBytes].entries()) {
      await alice.post(at, ['bob'], patterned(length))
      const delivery = await bob.delivery()
      assert.deepEqual(delivery.content, patterned(length))
      await bob.take(delivery)
    }
  })

  it('of one sender are checked concurrently, and keep their order', async () => {
    const authenticator = slowAuthenticator()
    await using rig = await heldRig({}, { authenticator })
    const [alice, bob] = await two(rig)
    alice.sendPost(1, ['slow', 'bob'], 'first')
    alice.sendPost(2, ['quick', 'bob'], 'second')
    alice.sendPost(3, [], 'bad')
    await turn()
    // Bob listens, so he has been authenticated.
    assert.deepEqual(authenticator.users, ['slow', 'quick'])
    authenticator.answer('quick')
    await turn()
    assert.deepEqual([alice.unread, bob.unread], [[], []])
    authenticator.answer('slow')
    const texts = (await bob.deliveries(2)).map(({ content }) => textOf(content))
    assert.deepEqual(texts, ['first', 'second'])
  })

  it('of one sender does not wait for another one', async () => {
    const authenticator = slowAuthenticator()
    await using rig = await heldRig({}, { authenticator })
    const [alice, bob] = await two(rig)
    alice.sendPost(1, ['slow'], 'first')
    bob.sendPost(1, ['alice', 'other'], 'second')
    await turn()
    authenticator.answer('other')
    assert.deepEqual(await bob.posted(), ['alice online', 'other stored'])
    assert.deepEqual(await alice.delivery().then(({ content }) => textOf(content)), 'second')
  })
})

spec('a POST_MSG of several messages', (it) => {
  const message = (number: number, recipients: readonly string[], text = `${number}`) => ({
    messageId: idOf(number),
    recipients,
    body: bodyOf(text),
  })

  it('stores them in order, and has the outcome of each', async () => {
    await using rig = await heldRig({ recipients: 2 })
    const [alice, bob] = await two(rig)
    const messages = [
      message(1, ['bob', 'carol']),
      message(2, ['a', 'b', 'c']),
      message(3, ['b/ob', 'bob']),
      message(4, ['bob'], 'x'.repeat(fixed.messageBytes + 1)),
      message(1, ['bob']),
      message(5, ['bob', 'bob']),
    ]
    alice.raw.send('PostMsgReq', { messages }, alice.instance)
    const { statuses, refused } = await alice.raw.expect('PostMsgAck')
    const { online, stored } = deliveryStatus
    assert.deepEqual(statuses, [[online, stored], [], [], [], [], [online, online]])
    assert.deepEqual(
      refused.map(({ message, code, recipients }) => [message, codeOf(code), recipients]),
      [
        [1, 'too-many-recipients', []],
        [2, 'bad-name', ['b/ob']],
        [3, 'too-large', []],
        [4, 'id-reused', []],
      ],
    )
    const delivered = await bob.deliveries(2)
    assert.deepEqual(
      delivered.map(({ content }) => textOf(content)),
      ['1', '5'],
    )
    await turn()
    assert.deepEqual(bob.unread, [])
  })

  it('makes one append for all of them', async () => {
    await using rig = await heldRig()
    const [alice] = await two(rig)
    const append = rig.storage.hold('append message')
    alice.raw.send('PostMsgReq', { messages: [message(1, ['carol']), message(2, ['carol'])] }, alice.instance)
    await append.reached
    await turn()
    assert.equal(rig.storage.count.get('append message'), 1)
    append.go()
    assert.equal((await alice.raw.expect('PostMsgAck')).statuses.length, 2)
  })

  for (const [what, count] of [
    ['no message', 0],
    ['over 256 messages', fixed.batchMessages + 1],
  ] as const) {
    it(`with ${what} is malformed`, async () => {
      await using rig = await heldRig()
      const alice = await enter(rig, 'alice')
      await alice.regist(0)
      const messages = Array.from({ length: count }, (_, number) => message(number, ['carol']))
      alice.raw.send('PostMsgReq', { messages }, alice.instance)
      await alice.raw.dismissed('malformed')
      assert.deepEqual(await rig.storage.mailboxes.levels(), [])
    })
  }
})

spec('a repeated POST_MSG', (it) => {
  it('joins the one that is being stored: both are acknowledged, and it is stored once', async () => {
    await using rig = await heldRig()
    const [alice, bob] = await two(rig)
    const appends = [rig.storage.hold('append message'), rig.storage.hold('append message')]
    for (const append of appends) {
      alice.sendPost(1, ['bob'], 'hello')
      await append.reached
    }
    for (const append of appends) append.go()
    assert.deepEqual([await alice.posted(), await alice.posted()], [['bob online'], ['bob online']])
    await bob.take(await bob.delivery())
    assert.deepEqual(bob.unread, [])
  })

  it('after the ACK is acknowledged with the present statuses, and not delivered again', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    assert.deepEqual(await alice.post(1, ['bob'], 'hello'), ['bob stored'])
    const bob = await listen(rig, 'bob')
    await bob.take(await bob.delivery())
    assert.deepEqual(await alice.post(1, ['bob'], 'hello'), ['bob online'])
    await bob.vanish()
    assert.deepEqual(await alice.post(1, ['bob'], 'hello'), ['bob stored'])
    await listen(rig, 'bob').then(async (back) => {
      await turn()
      assert.deepEqual(back.unread, [])
    })
  })

  it('is known on another link of its sender, and after a restart of the server', async () => {
    await using rig = await heldRig()
    await (await listen(rig, 'alice')).post(1, ['bob'], 'hello')
    await rig.crash()
    await rig.restart()
    const alice = await listen(rig, 'alice', { session: 'new' })
    assert.deepEqual(await alice.post(1, ['bob'], 'hello'), ['bob stored'])
    const bob = await listen(rig, 'bob')
    await bob.take(await bob.delivery())
    assert.deepEqual(bob.unread, [])
  })

  it('with another body or other recipients is refused as id-reused', async () => {
    await using rig = await heldRig()
    const [alice, bob] = await two(rig)
    await alice.post(1, ['bob'], 'hello')
    await alice.postRefused(1, ['bob'], 'other', 'id-reused')
    await alice.postRefused(1, ['bob', 'carol'], 'hello', 'id-reused')
    await bob.take(await bob.delivery())
    assert.deepEqual(bob.unread, [])
  })

  it('belongs to its sender: another one may use the same id', async () => {
    await using rig = await heldRig()
    const [alice, bob] = await two(rig)
    await alice.post(1, ['carol'], 'from Alice')
    assert.deepEqual(await bob.post(1, ['carol'], 'from Bob'), ['carol stored'])
    const carol = await listen(rig, 'carol')
    assert.deepEqual(
      (await carol.deliveries(2)).map(({ sender }) => sender),
      ['alice', 'bob'],
    )
  })
})

spec('a POST_MSG whose link ends', (it) => {
  it('before it was checked stores nothing', async () => {
    const authenticator = slowAuthenticator()
    await using rig = await heldRig({}, { authenticator })
    const alice = await listen(rig, 'alice')
    alice.sendPost(1, ['bob'], 'hello')
    await turn()
    await alice.vanish()
    authenticator.answer('bob')
    await turn()
    assert.equal(rig.storage.count.get('append message'), undefined)
  })

  it('while it is being stored is stored, and the server closes only afterwards', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const append = rig.storage.hold('append message')
    alice.sendPost(1, ['bob'], 'hello')
    await append.reached
    let closed = false
    const closing = rig.server.close().then(() => {
      closed = true
    })
    await alice.raw.dismissed('shutting-down')
    await turn()
    assert.ok(!closed)
    append.go()
    await closing
    await rig.restart()
    const bob = await listen(rig, 'bob')
    assert.equal(textOf((await bob.delivery()).content), 'hello')
  })
})
