import assert from 'node:assert/strict'
import { fixed } from '../../../lib/limits.ts'
import { listMsgFlags } from '../../../lib/wire/protocol.ts'
import { patterned } from '../../support/memorySource.ts'
import { heldRig, MessageClient } from '../../support/messageClient.ts'
import { spec } from '../../support/spec.ts'
import { pass } from '../../support/turn.ts'

const { enter, listen } = MessageClient

/** Resolves with the seqs of a page of the mailbox. */
async function listed({ raw }: MessageClient, { flags = 0, afterSeq = 0, most = 0 } = {}): Promise<number[]> {
  raw.send('ListMsgReq', { flags, afterSeq, most })
  const { messages } = await raw.expect('ListMsgAck')
  return messages.map(({ mailboxSeq }) => mailboxSeq)
}

async function change({ raw }: MessageClient, kind: 'Return' | 'Remove', mailboxSeqs: readonly number[]) {
  if (kind === 'Return') raw.send('ReturnMsgReq', { mailboxSeqs })
  else raw.send('RemoveMsgReq', { mailboxSeqs })
  await raw.expect(`${kind}MsgAck`)
}

const aside = { flags: listMsgFlags.aside }

spec('a mailbox', (it) => {
  it('is listed in pages without a registration, and keeps its messages', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    for (const number of [1, 2, 3]) await alice.post(number, ['bob'], `${number}`)
    const bob = await enter(rig, 'bob', { session: 'another' })
    assert.deepEqual(await listed(bob), [1, 2, 3])
    assert.deepEqual([await listed(bob, { most: 2 }), await listed(bob, { afterSeq: 2 })], [[1, 2], [3]])
    assert.deepEqual([await listed(bob, { afterSeq: 3 }), await listed(bob, aside)], [[], []])
    assert.deepEqual(await listed(await enter(rig, 'carol')), [])
    assert.equal((await (await listen(rig, 'bob')).deliveries(3)).length, 3)
  })

  it('is listed in pages of up to 1 MiB', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    for (let number = 1; number <= 17; number++)
      await alice.post(number, ['bob'], patterned(fixed.messageBytes, number))
    const bob = await enter(rig, 'bob', { session: 'another' })
    const first = await listed(bob)
    assert.deepEqual([first.length, await listed(bob, { afterSeq: 15 })], [15, [16, 17]])
  })

  it('is listed while a program is listening, which continues to receive messages', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const bob = await listen(rig, 'bob')
    await alice.post(1, ['bob'], '1')
    const delivered = await bob.delivery()
    assert.deepEqual(await listed(await enter(rig, 'bob', { session: 'another' })), [1])
    await bob.reject(delivered)
    await alice.post(2, ['bob'], '2')
    assert.equal((await bob.delivery()).mailboxSeq, 2)
  })

  it('does not list messages whose time to live has expired', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    await alice.postWith({ timeToLive: 10 }, 1, ['bob'], '1')
    await alice.post(2, ['bob'], '2')
    await pass(rig.clock, 10)
    const bob = await enter(rig, 'bob', { session: 'another' })
    assert.deepEqual([await listed(bob), await listed(bob, { most: 1 })], [[2], [2]])
  })
})

spec('a message that was set aside', (it) => {
  it('is delivered again, at once and after a crash, when it is returned to the mailbox', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const bob = await listen(rig, 'bob')
    await alice.post(1, ['bob'], '1')
    await bob.reject(await bob.delivery())
    const other = await enter(rig, 'bob', { session: 'another' })
    assert.deepEqual([await listed(other), await listed(other, aside)], [[], [1]])
    await change(other, 'Return', [1, 9])
    await change(other, 'Return', [1])
    assert.deepEqual([await listed(other), await listed(other, aside)], [[2], []])
    const { mailboxSeq, attempt, messageId } = await bob.delivery()
    assert.deepEqual([mailboxSeq, attempt, messageId.at(-1)], [2, 1, 1])
    await rig.crash()
    await rig.restart()
    assert.equal((await (await listen(rig, 'bob')).delivery()).mailboxSeq, 2)
  })

  it('is removed on request, like a waiting message', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const bob = await listen(rig, 'bob')
    await alice.post(1, ['bob'], '1')
    await bob.reject(await bob.delivery())
    await bob.vanish()
    for (const number of [2, 3]) await alice.post(number, ['bob'], `${number}`)
    const other = await enter(rig, 'bob', { session: 'another' })
    await change(await enter(rig, 'carol'), 'Remove', [1, 2])
    await change(other, 'Remove', [1, 2, 9])
    assert.deepEqual([await listed(other), await listed(other, aside)], [[3], []])
    assert.deepEqual(await rig.storage.mailboxes.levels(), [{ user: 'bob', messages: 1, bytes: 2 }])
  })

  it('frees space for another message when it is removed', async () => {
    await using rig = await heldRig({ mailboxMessages: 1, senderSharePercent: 100 })
    const alice = await listen(rig, 'alice')
    await alice.post(1, ['bob'], '1')
    await alice.postRefused(2, ['bob'], '2', 'mailbox-full')
    await change(await enter(rig, 'bob', { session: 'another' }), 'Remove', [1])
    assert.deepEqual(await alice.post(3, ['bob'], '3'), ['bob stored'])
  })

  it('is named with at most 255 others in a request', async () => {
    await using rig = await heldRig()
    const bob = await enter(rig, 'bob', { session: 'another' })
    const seqs = Array.from({ length: 257 }, (_, at) => at + 1)
    await change(bob, 'Return', seqs.slice(1))
    bob.raw.send('ReturnMsgReq', { mailboxSeqs: seqs })
    await bob.raw.dismissed('malformed')
  })
})
