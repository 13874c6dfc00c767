import assert from 'node:assert/strict'
import { fixed } from '../../../lib/limits.ts'
import { patterned } from '../../support/memorySource.ts'
import { heldRig, MessageClient, textOf } from '../../support/messageClient.ts'
import type { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const { enter, listen } = MessageClient

/** Stores messages for Bob, named by their number; resolves with their sender. */
async function store(rig: ServerRig, ...numbers: number[]): Promise<MessageClient> {
  const alice = await listen(rig, 'alice')
  for (const number of numbers) await alice.post(number, ['bob'], `${number}`)
  return alice
}

const texts = (deliveries: readonly { readonly content: Uint8Array }[]) =>
  deliveries.map(({ content }) => textOf(content))

spec('deliveries', (it) => {
  it('come in the order in which their messages were stored, from all senders', async () => {
    await using rig = await heldRig()
    const senders = [await listen(rig, 'alice'), await listen(rig, 'carol')]
    for (const number of [1, 2, 3, 4]) await senders[number % 2]?.post(number, ['bob'], `${number}`)
    const bob = await listen(rig, 'bob')
    const all = await bob.deliveries(4)
    assert.deepEqual(texts(all), ['1', '2', '3', '4'])
    const seqs = all.map(({ mailboxSeq }) => mailboxSeq)
    assert.deepEqual(
      seqs.toSorted((a, b) => a - b),
      seqs,
    )
    // They share a request.
    assert.equal(new Set(all.map(({ seqOfReq }) => seqOfReq)).size, 1)
  })

  it('share a request up to 64 KiB of messages', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    for (const number of [1, 2, 3]) await alice.post(number, ['bob'], patterned(fixed.batchBytes / 2 - 1, number))
    await alice.post(4, ['bob'], patterned(fixed.batchBytes, 4))
    const bob = await listen(rig, 'bob')
    const all = await bob.deliveries(4)
    assert.deepEqual(
      all.map(({ seqOfReq }) => seqOfReq),
      [1, 1, 2, 3],
    )
  })

  it('of the same messages have the same bytes for all recipients', async () => {
    await using rig = await heldRig()
    const others = [await listen(rig, 'bob'), await listen(rig, 'carol')]
    const alice = await enter(rig, 'alice')
    await alice.regist(0)
    await alice.post(1, ['bob', 'carol'], 'hi')
    const payloads: (Uint8Array | undefined)[] = []
    for (const other of others) {
      await other.delivery()
      payloads.push(other.raw.last?.payload[0])
    }
    assert.deepEqual(payloads[0], payloads[1])
  })

  it('are limited by the window in REGIST_ACK', async () => {
    await using rig = await heldRig({ deliveryWindow: 3 })
    await store(rig, 1, 2, 3, 4, 5)
    const bob = await listen(rig, 'bob')
    await bob.deliveries(3)
    await turn()
    assert.deepEqual(bob.unread, [])
  })

  it('are counted from the oldest unanswered one, also if later ones were answered first', async () => {
    await using rig = await heldRig({ deliveryWindow: 3 })
    const bob = await listen(rig, 'bob')
    const alice = await store(rig, 1)
    const first = await bob.delivery()
    for (const number of [2, 3, 4, 5, 6]) await alice.post(number, ['bob'], `${number}`)
    const [second, third] = await bob.deliveries(2)
    assert.ok(second && third)
    await bob.take(second, third)
    assert.deepEqual(bob.unread, [])
    await bob.take(first)
    assert.deepEqual(texts(await bob.deliveries(3)), ['4', '5', '6'])
  })

  it('make room one by one if the oldest is answered first', async () => {
    await using rig = await heldRig({ deliveryWindow: 2 })
    await store(rig, 1, 2, 3)
    const bob = await listen(rig, 'bob')
    const [first, second] = await bob.deliveries(2)
    assert.ok(first && second)
    await bob.take(first)
    assert.deepEqual(texts([await bob.delivery()]), ['3'])
  })

  it('are limited by the bytes of their content as well', async () => {
    await using rig = await heldRig({ deliveryBytes: 100 })
    const alice = await listen(rig, 'alice')
    for (const number of [1, 2, 3]) await alice.post(number, ['bob'], patterned(50, number))
    const bob = await listen(rig, 'bob')
    const [first] = await bob.deliveries(2)
    assert.ok(first)
    await turn()
    assert.deepEqual(bob.unread, [])
    await bob.take(first)
    assert.equal((await bob.delivery()).content.length, 50)
  })

  it('are at least one, however large it is', async () => {
    await using rig = await heldRig({ deliveryBytes: 1 })
    const alice = await listen(rig, 'alice')
    for (const number of [1, 2]) await alice.post(number, ['bob'], patterned(1_000))
    const bob = await listen(rig, 'bob')
    const first = await bob.delivery()
    await turn()
    assert.deepEqual(bob.unread, [])
    await bob.take(first)
    await bob.delivery()
  })

  it('miss nothing that is stored while the mailbox is being read', async () => {
    await using rig = await heldRig()
    const alice = await store(rig, 1)
    const reads = [rig.storage.hold('read messages'), rig.storage.hold('read messages')]
    const bob = await listen(rig, 'bob')
    for (const [at, read] of reads.entries()) {
      await read.reached
      await alice.post(2 + at, ['bob'], `${2 + at}`)
      read.go()
    }
    assert.deepEqual(texts(await bob.deliveries(3)), ['1', '2', '3'])
    await turn()
    assert.deepEqual(bob.unread, [])
  })

  it('end the link if the mailbox cannot be read, and arrive on the next one', async () => {
    await using rig = await heldRig()
    await store(rig, 1)
    rig.storage.fail('read messages', new Error('EIO /some/path'))
    const bob = await listen(rig, 'bob')
    assert.ok(!(await bob.raw.dismissed('internal')).text.includes('path'))
    assert.ok(
      rig.log.some(
        ({ event, user, text }) => event === 'mailbox-failed' && user === 'bob' && `${text}`.includes('EIO'),
      ),
    )
    assert.deepEqual(texts([await (await listen(rig, 'bob')).delivery()]), ['1'])
  })
})

spec('a message', (it) => {
  it('waits in its mailbox until its recipient listens', async () => {
    await using rig = await heldRig()
    await store(rig, 1)
    const bob = await enter(rig, 'bob')
    await bob.list()
    assert.deepEqual(bob.unread, [])
    await bob.regist()
    assert.deepEqual(texts([await bob.delivery()]), ['1'])
  })
})
