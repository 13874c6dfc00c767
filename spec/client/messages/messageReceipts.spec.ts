import assert from 'node:assert/strict'
import type { BoundClientOptions } from '../../../lib/client/client.ts'
import { type MessageReceipt, MessageReceipts } from '../../../lib/client/messages/messageReceipts.ts'
import type { Decoded } from '../../../lib/client/messages/receivedMessage.ts'
import { memoryState } from '../../../lib/client/runningClient.ts'
import { OspError } from '../../../lib/errors.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { bytesOfHex } from '../../../lib/runtime/hex.ts'
import { events, receiptStates } from '../../../lib/wire/protocol.ts'
import { spec } from '../../support/spec.ts'
import { turns } from '../../support/turns.ts'
import { UploadRig } from '../../support/uploadRig.ts'
import { VirtualClock } from '../../support/virtualClock.ts'

const clientOf = (rig: UploadRig, user: string, options: Partial<BoundClientOptions> = {}) =>
  rig.client({ user, ...options })

const textOf = ({ recipient, state, result }: MessageReceipt) => `${recipient} ${state} ${result}`.trim()

async function all(receipts: AsyncIterable<MessageReceipt>): Promise<string[]> {
  const texts: string[] = []
  for await (const receipt of receipts) texts.push(textOf(receipt))
  return texts.sort()
}

spec('the receipts of a message', (it) => {
  it('report the outcome for each recipient, with the result of its handler', async () => {
    await using rig = await UploadRig.start()
    const alice = clientOf(rig, 'alice')
    const sent = alice.send(['bob', 'carol', 'dave'], 'x', { receipt: true, headers: { k: 'v' } })
    const receipts = all(sent.receipts())
    clientOf(rig, 'bob').receive((message) => `${message.receiptWanted} ${message.headers.k}`)
    clientOf(rig, 'carol').receive((message) => message.reject('no space'))
    const { value } = await clientOf(rig, 'dave').messages({ ack: 'manual' }).next()
    await value?.ack('done by hand')
    assert.deepEqual(await receipts, ['bob handled true v', 'carol rejected no space', 'dave handled done by hand'])
    assert.equal((await all(await nowOf(rig, 'alice'))).length, 0)
  })

  it('reach the program that sent the message, while other programs of the user send and listen', async () => {
    await using rig = await UploadRig.start()
    const [one, two, listening] = [clientOf(rig, 'alice'), clientOf(rig, 'alice'), clientOf(rig, 'alice')]
    const received: string[] = []
    listening.receive((message) => void received.push(message.text()))
    clientOf(rig, 'bob').receive(async (message) => message.text().toUpperCase())
    const asked = ['a', 'b', 'c', 'd'].map((text, at) => (at % 2 ? one : two).send(['bob'], text, { receipt: true }))
    assert.deepEqual(
      await Promise.all(asked.map((sent) => all(sent.receipts()))),
      ['A', 'B', 'C', 'D'].map((text) => [`bob handled ${text}`]),
    )
    assert.deepEqual(received, [])
  })

  it('arrive even if links are cut and the server restarts', async () => {
    await using rig = await UploadRig.start()
    const [alice, bob] = [clientOf(rig, 'alice'), clientOf(rig, 'bob')]
    let handled = 0
    bob.receive((message) => `${++handled} ${message.text()}`)
    const sent = Array.from({ length: 100 }, (_, n) => alice.send(['bob'], `${n}`, { receipt: true }))
    const results = sent.map((each) => all(each.receipts()))
    for (const come of [20, 40, 60, 80]) {
      await turns(() => handled >= come)
      rig.transport.cut()
      if (come === 40) await rig.server.close()
      if (come === 40) await rig.startServer()
    }
    const texts = (await Promise.all(results)).map(([text]) => text?.replace(/\d+ /u, ''))
    assert.deepEqual(
      texts,
      sent.map((_, n) => `bob handled ${n}`),
    )
  })

  it('have the result of the first call of the handler if its acknowledgement was lost', async () => {
    await using rig = await UploadRig.start()
    const alice = clientOf(rig, 'alice')
    const state = memoryState()
    const first = clientOf(rig, 'bob', { state })
    rig.transport.inspect = ({ event }) => event !== events.DeliverMsgAck.number
    let calls = 0
    first.receive(() => `call ${++calls}`)
    const sent = alice.send(['bob'], 'x', { receipt: true })
    await turns(() => calls === 1)
    await first.close()
    rig.transport.inspect = () => true
    clientOf(rig, 'bob', { state }).receive(() => `call ${++calls}`)
    assert.deepEqual([await all(sent.receipts()), calls], [['bob handled call 1'], 1])
  })

  it('wait for the sender, and stay until its program asks for the next one', async () => {
    await using rig = await UploadRig.start()
    const first = clientOf(rig, 'alice')
    const sent = first.send(['bob', 'carol'], 'x', { receipt: true })
    await sent.stored
    await first.close()
    for (const user of ['bob', 'carol']) clientOf(rig, user).receive((message) => message.text())
    const second = clientOf(rig, 'alice').receipts()
    const { value } = await second.next()
    assert.deepEqual([value?.messageId, value?.state, value?.result], [sent.id, 'handled', 'x'])
    const third = await nowOf(rig, 'alice')
    assert.deepEqual((await all(third)).length, 2)
  })

  it('are handed out again by the next iterator of the same client if the loop ends early', async () => {
    await using rig = await UploadRig.start()
    const users = ['bob', 'carol', 'dave']
    for (const user of users) clientOf(rig, user).receive((message) => message.text())
    const first = clientOf(rig, 'alice')
    await first.send(users, 'x', { receipt: true })
    await first.close()
    const alice = clientOf(rig, 'alice')
    const sent = alice.send(users, 'y', { receipt: true })
    for await (const _ of sent.receipts()) break
    const outcomes = (text: string) => users.map((user) => `${user} handled ${text}`)
    assert.deepEqual(await all(sent.receipts()), outcomes('y'))
    assert.deepEqual(await all(sent.receipts()), [])
    for await (const _ of alice.receipts()) break
    const others = alice.receipts()
    const again: string[] = []
    for (const _ of users) again.push(textOf((await others.next()).value as MessageReceipt))
    assert.deepEqual(again.sort(), outcomes('x'))
  })

  it('need the option, end with the message or its client, and stop when the signal aborts', async () => {
    await using rig = await UploadRig.start({ receipts: 1 })
    const alice = clientOf(rig, 'alice')
    assert.throws(() => alice.send(['bob'], 'x').receipts(), { code: 'usage' })
    const sent = alice.send(['bob'], 'x', { receipt: true })
    await sent
    const refused = alice.send(['bob'], 'y', { receipt: true })
    await assert.rejects(all(refused.receipts()), { code: 'too-many-receipts' })
    await assert.rejects(refused, { code: 'too-many-receipts', retry: 'later' })
    const stopping = new AbortController()
    const waiting = all(sent.receipts({ signal: stopping.signal }))
    stopping.abort()
    await assert.rejects(waiting, { code: 'closed' })
    const others = alice.receipts()
    const next = others.next()
    await assert.rejects(alice.receipts().next(), { code: 'usage' })
    const last = all(sent.receipts())
    await alice.close()
    await Promise.all([next, last].map((each) => assert.rejects(each, { code: 'closed' })))
  })
})

spec('the receipts of an upload', (it) => {
  it('are all found if it is done while later receipts are being listed', async () => {
    const id = '0'.repeat(32)
    const stored = ['bob', 'carol'].map((recipient, at) => receiptOf(id, recipient, at + 1))
    const [asked, answered] = [deferred<void>(), deferred<void>()]
    const page = async (afterSeq: number) => {
      if (afterSeq === 1) {
        asked.resolve()
        await answered.promise
      }
      return stored.slice(afterSeq, afterSeq + 1)
    }
    const mailbox = { page, remove: async () => {} }
    const receipts = new MessageReceipts({ platform: { clock: new VirtualClock() }, mailbox, begin: () => {} })
    const release = receipts.hold(id)
    receipts.expect('1'.repeat(32), true)
    receipts.changed()
    await asked.promise
    release()
    const found = receipts.expect(id, false).all(2)
    answered.resolve()
    assert.deepEqual((await found).receipts.map(textOf).sort(), ['bob handled', 'carol handled'])
    receipts.end(new OspError('closed'))
  })
})

function receiptOf(messageId: string, recipient: string, seq: number): Decoded {
  const receipt = { messageId: bytesOfHex(messageId), recipient, state: receiptStates.handled, at: 0 }
  return {
    receipt: { seq, sender: '', id: '' },
    sentAt: 0,
    attributes: { receipt },
    content: new Uint8Array(),
  }
}

/** Resolves with the receipts that a new client of the user finds, without waiting for others. */
async function nowOf(rig: UploadRig, user: string): Promise<AsyncIterable<MessageReceipt>> {
  const client = clientOf(rig, user)
  const found: MessageReceipt[] = []
  const stopping = new AbortController()
  const { signal } = stopping
  const done = (async () => {
    for await (const receipt of client.receipts({ signal })) found.push(receipt)
  })().catch(() => {})
  await client.online()
  for (let round = 0; round < 200; round++) await new Promise(setImmediate)
  stopping.abort()
  await done
  return (async function* () {
    yield* found
  })()
}
