import assert from 'node:assert/strict'
import { heldRig, MessageClient, textOf } from '../../support/messageClient.ts'
import type { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

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
    await store(rig, 1, 2, 3)
    const bob = await listen(rig, 'bob')
    await bob.take(...(await bob.deliveries(3)))
    assert.equal(rig.storage.count.get('remove messages'), 1)
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

spec('DELIVER_MSG_NACK', (it) => {
  it('sets the message aside, logs it, and delivers the next ones', async () => {
    await using rig = await heldRig({ deliveryWindow: 1, mailboxMessages: 2, senderSharePercent: 100 })
    const alice = await store(rig, 1, 2)
    const bob = await listen(rig, 'bob')
    const first = await bob.delivery()
    await bob.giveUp(first, 'it threw 16 times')
    const second = await bob.delivery()
    assert.deepEqual(texts([second]), ['2'])
    const logged = rig.log.find(({ event }) => event === 'message-given-up')
    assert.deepEqual([logged?.user, logged?.seq, logged?.text], ['bob', first.mailboxSeq, 'it threw 16 times'])
    await bob.take(second)
    const back = await listen(rig, 'bob', { session: 'two' })
    await turn()
    assert.deepEqual(back.unread, [])
    await alice.post(3, ['bob'], '3')
    assert.deepEqual((await alice.postRefused(4, ['bob'], '4', 'mailbox-full')).recipients, ['bob'])
  })

  it('also counts from a client that no longer listens', async () => {
    await using rig = await heldRig()
    await store(rig, 1)
    const bob = await listen(rig, 'bob')
    const delivery = await bob.delivery()
    await bob.regist(0)
    await bob.giveUp(delivery)
    await bob.regist(1)
    await turn()
    assert.deepEqual(bob.unread, [])
  })

  it('that cannot be processed ends the link, and the message arrives on the next one', async () => {
    await using rig = await heldRig()
    await store(rig, 1)
    const bob = await listen(rig, 'bob')
    rig.storage.fail('set messages aside', new Error('EIO'))
    await bob.giveUp(await bob.delivery())
    await bob.raw.dismissed('internal')
    assert.deepEqual(texts([await (await listen(rig, 'bob')).delivery()]), ['1'])
  })
})
