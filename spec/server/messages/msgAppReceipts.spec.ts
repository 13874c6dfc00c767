import assert from 'node:assert/strict'
import { decodeBody } from '../../../lib/wire/messageBody.ts'
import { listMsgFlags, receiptStates, registFlags } from '../../../lib/wire/protocol.ts'
import { heldRig, MessageClient } from '../../support/messageClient.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'

const { listen } = MessageClient
const flags = listMsgFlags.receipts
const { handled, rejected, expired } = receiptStates
const asking = { receiptWanted: true } as const

/** Resolves with the receipts of a user: recipient, state and result. */
async function receipts({ raw }: MessageClient): Promise<(readonly unknown[])[]> {
  raw.send('ListMsgReq', { flags, afterSeq: 0, most: 0 })
  let reply = await raw.next()
  while (reply.event !== 'ListMsgAck') reply = await raw.next()
  const { messages } = reply
  return messages.map(({ body, sender }) => {
    const { attributes, content } = decodeBody(body)
    const { recipient, state } = attributes.receipt ?? {}
    return [sender, recipient, state, new TextDecoder().decode(content)]
  })
}

/** Connects a client that has registered without listening. */
async function sender(rig: Parameters<typeof listen>[0], user = 'alice', session = 'sends'): Promise<MessageClient> {
  const client = await MessageClient.enter(rig, user, { session })
  await client.regist(0)
  return client
}

spec('a receipt', (it) => {
  it('has the result that the recipient sent, and is announced to the registered links of the sender', async () => {
    await using rig = await heldRig()
    const [alice, other, bob] = [await sender(rig), await sender(rig, 'alice', 'two'), await listen(rig, 'bob')]
    await alice.postWith(asking, 1, ['bob', 'carol'], 'a')
    await alice.postWith({}, 2, ['bob'], 'b')
    const [first, second] = await bob.deliveries(2)
    assert.ok(first && second)
    const results = [first, second].map(({ mailboxSeq }) => ({ mailboxSeq, result: `done ${mailboxSeq}` }))
    const { mailboxSeq } = second
    const { seqOfReq: seq } = first
    bob.raw.send('DeliverMsgNtf', { mailboxSeq: first.mailboxSeq, results: results.slice(0, 1) })
    bob.raw.send('DeliverMsgAck', { mailboxSeq, rejected: [], results }, 0, { seq: second.seqOfReq })
    assert.ok(seq > 0)
    await pass(rig.clock, 20)
    for (const each of [alice, other]) assert.deepEqual(each.unread, ['ReceiptsNtf'])
    for (const each of [alice, other]) assert.deepEqual(await receipts(each), [['alice', 'bob', handled, 'done 1']])
    assert.deepEqual(await receipts(bob), [])
  })

  it('is announced once until the client lists its receipts, and stays until it is removed', async () => {
    await using rig = await heldRig()
    const [alice, bob] = [await sender(rig), await listen(rig, 'bob')]
    for (const number of [1, 2, 3]) {
      await alice.postWith(asking, number, ['bob'], '')
      await bob.take(await bob.delivery())
      await pass(rig.clock, 20)
      assert.deepEqual(alice.unread, number === 2 ? [] : ['ReceiptsNtf'])
      if (number === 2) assert.equal((await receipts(alice)).length, 2)
    }
    alice.raw.send('RemoveMsgReq', { mailboxSeqs: [1, 2, 3, 4], flags })
    await turn()
    assert.equal((await receipts(await sender(rig, 'alice', 'two'))).length, 1)
  })

  it('reports a rejection with its reason, a removal without handling, and an expiry', async () => {
    await using rig = await heldRig()
    const [alice, bob] = [await sender(rig), await listen(rig, 'bob')]
    await alice.postWith(asking, 1, ['bob'], '')
    await bob.reject(await bob.delivery(), 'no such account')
    await alice.postWith(asking, 2, ['carol'], '')
    const carol = await MessageClient.enter(rig, 'carol')
    carol.raw.send('RemoveMsgReq', { mailboxSeqs: [1, 2, 3, 4] })
    await carol.raw.expect('RemoveMsgAck')
    await alice.postWith({ ...asking, timeToLive: 1_000 }, 3, ['dave'], '')
    await pass(rig.clock, 2_000)
    await (await listen(rig, 'dave')).raw.vanish()
    await pass(rig.clock, 20)
    assert.deepEqual(await receipts(alice), [
      ['alice', 'bob', rejected, 'no such account'],
      ['alice', 'carol', rejected, ''],
      ['alice', 'dave', expired, ''],
    ])
  })

  it('of a message that expires arrives although its recipient is offline, also after a restart', async () => {
    await using rig = await heldRig()
    const alice = await sender(rig)
    await alice.postWith({ ...asking, timeToLive: 3_000 }, 1, ['bob'], '')
    await alice.postWith({ ...asking, timeToLive: 6_000 }, 2, ['bob'], '')
    await pass(rig.clock, 2_900)
    assert.deepEqual([alice.unread, await receipts(alice)], [[], []])
    await pass(rig.clock, 1_100)
    assert.deepEqual([alice.unread, await receipts(alice)], [['ReceiptsNtf'], [['alice', 'bob', expired, '']]])
    await rig.crash()
    await rig.restart()
    await pass(rig.clock, 3_100)
    assert.equal((await receipts(await sender(rig))).length, 2)
  })

  it('reports no expiry while a listener handles the message, and after that soon', async () => {
    await using rig = await heldRig()
    const [alice, bob] = [await sender(rig), await listen(rig, 'bob')]
    await alice.postWith({ ...asking, timeToLive: 2_000 }, 1, ['bob'], '')
    await alice.postWith({ ...asking, timeToLive: 2_000 }, 2, ['bob'], '')
    const first = await bob.delivery()
    await pass(rig.clock, 5_000)
    assert.deepEqual(await receipts(alice), [])
    bob.raw.send('DeliverMsgNtf', { mailboxSeq: first.mailboxSeq })
    await pass(rig.clock, 20)
    await bob.raw.vanish()
    await pass(rig.clock, 1_100)
    assert.deepEqual(
      (await receipts(alice)).map(([, , state]) => state),
      [handled, expired],
    )
  })

  it('cannot be forged by a client, and is not delivered to a client that does not list receipts', async () => {
    await using rig = await heldRig({ receipts: 1 })
    const [alice, bob] = [await listen(rig, 'alice'), await listen(rig, 'bob')]
    const receipt = { messageId: new Uint8Array(16), recipient: 'bob', state: handled, at: 1 }
    await alice.postWith(asking, 1, ['alice'], '')
    await alice.take(await alice.delivery())
    await pass(rig.clock, 20)
    assert.deepEqual(alice.unread, ['ReceiptsNtf'])
    await assert.rejects(alice.postWith({ receipt }, 2, ['bob'], ''), /only a server/u)
    await assert.rejects(alice.postWith(asking, 3, ['bob'], ''), /too many receipts/u)
    assert.deepEqual(bob.unread, [])
  })

  it('limits a result to 4 KiB, and a request to as many results as fit into its answer', async () => {
    await using rig = await heldRig({ chunkBytes: 1_024 })
    const [alice, bob] = [await sender(rig), await MessageClient.enter(rig, 'bob')]
    for (let number = 1; number <= 20; number++) await alice.postWith(asking, number, ['bob'], '')
    await bob.regist(registFlags.listening)
    const all = await bob.deliveries(20)
    const perRequest = all.filter(({ seqOfReq }) => seqOfReq === all[0]?.seqOfReq)
    assert.equal(perRequest.length, 8)
    const { mailboxSeq = 0 } = perRequest.at(-1) ?? {}
    const results = perRequest.map((each) => ({ mailboxSeq: each.mailboxSeq, result: 'ä'.repeat(3_000) }))
    bob.raw.send('DeliverMsgAck', { mailboxSeq, rejected: [], results }, 0, { seq: all[0]?.seqOfReq ?? 0 })
    await pass(rig.clock, 20)
    const lengths = (await receipts(alice)).map(([, , , result]) => String(result).length)
    assert.deepEqual(
      lengths,
      Array.from({ length: 8 }, () => 2_048),
    )
  })
})
