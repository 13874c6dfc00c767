import assert from 'node:assert/strict'
import { mostWaitMs } from '../../../lib/storage/journal/journalWriter.ts'
import { heldRig, MessageClient, textOf } from '../../support/messageClient.ts'
import type { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'

const { listen } = MessageClient

/** Stores messages for Bob, named by their number; resolves with their sender. */
async function store(rig: ServerRig, ...numbers: number[]): Promise<MessageClient> {
  const alice = await listen(rig, 'alice')
  for (const number of numbers) await alice.post(number, ['bob'], `${number}`)
  return alice
}

const texts = (deliveries: readonly { readonly content: Uint8Array }[]) =>
  deliveries.map(({ content }) => textOf(content))

spec('DELIVER_MSG_ACK', (it) => {
  it('removes the message permanently: it is not repeated on this or another link, or after a restart', async () => {
    await using rig = await heldRig()
    await store(rig, 1, 2)
    const bob = await listen(rig, 'bob')
    const [first] = await bob.deliveries(2)
    assert.ok(first)
    await bob.take(first)
    const again = await listen(rig, 'bob', { session: 'two' })
    assert.deepEqual(texts([await again.delivery()]), ['2'])
    await rig.crash()
    await rig.restart()
    assert.deepEqual(texts([await (await listen(rig, 'bob')).delivery()]), ['2'])
  })

  it('makes room in the window only when the removal is durable', async () => {
    await using rig = await heldRig({ deliveryWindow: 1 })
    await store(rig, 1, 2)
    const bob = await listen(rig, 'bob')
    const removal = rig.storage.hold('remove messages')
    await bob.take(await bob.delivery())
    await removal.reached
    await turn()
    assert.deepEqual(bob.unread, [])
    removal.go()
    assert.deepEqual(texts([await bob.delivery()]), ['2'])
  })

  it('is processed together with those that arrive with it', async () => {
    await using rig = await heldRig()
    const bob = await listen(rig, 'bob')
    await store(rig, 1, 2, 3)
    const deliveries = await bob.deliveries(3)
    assert.equal(new Set(deliveries.map(({ seqOfReq }) => seqOfReq)).size, 3)
    await bob.take(...deliveries)
    assert.equal(rig.storage.count.get('remove messages'), 1)
  })

  it('acknowledges all messages of its request, except those that it rejects', async () => {
    await using rig = await heldRig()
    await store(rig, 1, 2, 3)
    const bob = await listen(rig, 'bob')
    const [, second, third] = await bob.deliveries(3)
    assert.ok(second && third)
    const { mailboxSeq, seqOfReq: seq } = third
    const rejected = [{ mailboxSeq: second.mailboxSeq, text: 'it threw 16 times' }]
    bob.raw.send('DeliverMsgAck', { mailboxSeq, rejected }, 0, { seq })
    await turn()
    const logged = rig.log.filter(({ event }) => event === 'message-set-aside')
    assert.deepEqual(
      logged.map(({ seq, text }) => [seq, text]),
      [[second.mailboxSeq, 'it threw 16 times']],
    )
    const back = await listen(rig, 'bob', { session: 'two' })
    await turn()
    assert.deepEqual(back.unread, [])
    assert.deepEqual(
      (await rig.storage.mailboxes.levels()).map(({ messages }) => messages),
      [1],
    )
  })

  it('that rejects a message of another request is malformed', async () => {
    await using rig = await heldRig()
    await store(rig, 1)
    const bob = await listen(rig, 'bob')
    const { mailboxSeq, seqOfReq: seq } = await bob.delivery()
    bob.raw.send('DeliverMsgAck', { mailboxSeq, rejected: [{ mailboxSeq: mailboxSeq + 1, text: '' }] }, 0, { seq })
    await bob.raw.dismissed('malformed')
  })

  it('whose removal fails ends the link, and the message arrives on the next one', async () => {
    await using rig = await heldRig({ deliveryWindow: 1 })
    await store(rig, 1, 2)
    const bob = await listen(rig, 'bob')
    rig.storage.fail('remove messages', new Error('EIO /some/path'))
    await bob.take(await bob.delivery())
    assert.ok(!(await bob.raw.dismissed('internal')).text.includes('path'))
    assert.ok(rig.log.some(({ event, user }) => event === 'mailbox-failed' && user === 'bob'))
    const back = await listen(rig, 'bob')
    const first = await back.delivery()
    assert.deepEqual([texts([first]), first.attempt], [['1'], 2])
    await back.take(first)
    assert.deepEqual(texts([await back.delivery()]), ['2'])
  })

  it('of another mailboxSeq is malformed, and removes nothing', async () => {
    await using rig = await heldRig()
    await store(rig, 1)
    const bob = await listen(rig, 'bob')
    const delivery = await bob.delivery()
    await bob.take({ ...delivery, mailboxSeq: delivery.mailboxSeq + 1 })
    await bob.raw.dismissed('malformed')
    assert.deepEqual(texts([await (await listen(rig, 'bob')).delivery()]), ['1'])
  })

  it('without a request, or for the second time, is ignored', async () => {
    await using rig = await heldRig()
    await store(rig, 1)
    const bob = await listen(rig, 'bob')
    const delivery = await bob.delivery()
    await bob.take({ ...delivery, seqOfReq: 99 })
    await bob.take(delivery, delivery)
    await bob.list()
    assert.equal(rig.storage.count.get('remove messages'), 1)
  })

  it('that arrived last is processed before the server has closed', async () => {
    await using rig = await heldRig()
    await store(rig, 1)
    const bob = await listen(rig, 'bob')
    const removal = rig.storage.hold('remove messages')
    await bob.take(await bob.delivery())
    await removal.reached
    const closing = rig.server.close()
    await bob.raw.dismissed('shutting-down')
    removal.go()
    await pass(rig.clock, mostWaitMs)
    await closing
    assert.deepEqual(
      rig.log.filter(({ level }) => level === 'error'),
      [],
    )
    await rig.restart()
    const back = await listen(rig, 'bob')
    await turn()
    assert.deepEqual(back.unread, [])
  })
})

spec('DELIVER_MSG_NTF', (it) => {
  it('removes the messages of its request up to the one that it names, and makes room for as many', async () => {
    await using rig = await heldRig({ deliveryWindow: 3 })
    await store(rig, 1, 2, 3, 4, 5)
    const bob = await listen(rig, 'bob')
    const [, second, third] = await bob.deliveries(3)
    assert.ok(second && third)
    await bob.take(second)
    assert.deepEqual(texts(await bob.deliveries(2)), ['4', '5'])
    const back = await listen(rig, 'bob', { session: 'two' })
    assert.deepEqual(texts(await back.deliveries(3)), ['3', '4', '5'])
  })

  it('is ignored for messages that are not in flight, and before the client listens', async () => {
    await using rig = await heldRig({ deliveryWindow: 1 })
    await store(rig, 1, 2)
    const bob = await MessageClient.enter(rig, 'bob')
    bob.raw.send('DeliverMsgNtf', { mailboxSeq: 1 })
    await bob.regist()
    const first = await bob.delivery()
    for (const mailboxSeq of [0, first.mailboxSeq + 1]) bob.raw.send('DeliverMsgNtf', { mailboxSeq })
    await turn()
    assert.deepEqual([bob.unread, rig.storage.count.get('remove messages')], [[], undefined])
    await bob.take(first)
    assert.deepEqual(texts([await bob.delivery()]), ['2'])
  })
})

spec('a DELIVER_MSG_ACK that rejects a message', (it) => {
  it('sets the message aside, logs it, and delivers the next ones', async () => {
    await using rig = await heldRig({ deliveryWindow: 1, mailboxMessages: 2, senderSharePercent: 100 })
    const alice = await store(rig, 1, 2)
    const bob = await listen(rig, 'bob')
    const first = await bob.delivery()
    await bob.reject(first, 'it threw 16 times')
    const second = await bob.delivery()
    assert.deepEqual(texts([second]), ['2'])
    const logged = rig.log.find(({ event }) => event === 'message-set-aside')
    assert.deepEqual([logged?.user, logged?.seq, logged?.text], ['bob', first.mailboxSeq, 'it threw 16 times'])
    await bob.take(second)
    const back = await listen(rig, 'bob', { session: 'two' })
    await turn()
    assert.deepEqual(back.unread, [])
    await back.vanish()
    await alice.post(3, ['bob'], '3')
    assert.deepEqual((await alice.postRefused(4, ['bob'], '4', 'mailbox-full')).recipients, ['bob'])
  })

  it('also counts from a client that no longer listens', async () => {
    await using rig = await heldRig()
    await store(rig, 1)
    const bob = await listen(rig, 'bob')
    const delivery = await bob.delivery()
    await bob.regist(0)
    await bob.reject(delivery)
    await bob.regist(1)
    await turn()
    assert.deepEqual(bob.unread, [])
  })

  it('that cannot be processed ends the link, and the message arrives on the next one', async () => {
    await using rig = await heldRig()
    await store(rig, 1)
    const bob = await listen(rig, 'bob')
    rig.storage.fail('set messages aside', new Error('EIO'))
    await bob.reject(await bob.delivery())
    await bob.raw.dismissed('internal')
    assert.deepEqual(texts([await (await listen(rig, 'bob')).delivery()]), ['1'])
  })

  it('and whose other messages cannot be removed either ends only the link', async () => {
    await using rig = await heldRig()
    await store(rig, 1, 2)
    const bob = await listen(rig, 'bob')
    const [, second] = await bob.deliveries(2)
    assert.ok(second)
    for (const step of ['remove messages', 'set messages aside'] as const) rig.storage.fail(step, new Error('EIO'))
    const unhandled: unknown[] = []
    const note = (error: unknown) => unhandled.push(error)
    process.on('unhandledRejection', note)
    try {
      await bob.reject(second)
      await bob.raw.dismissed('internal')
      await turn()
    } finally {
      process.off('unhandledRejection', note)
    }
    assert.deepEqual(unhandled, [])
    assert.deepEqual(texts(await (await listen(rig, 'bob')).deliveries(2)), ['1', '2'])
  })
})
