import assert from 'node:assert/strict'
import type { Message } from '../../../lib/client/messages/message.ts'
import { fixed } from '../../../lib/limits.ts'
import { type Deferred, deferred } from '../../../lib/runtime/deferred.ts'
import { hex } from '../../../lib/runtime/hex.ts'
import { decodeBody, encodeBody } from '../../../lib/wire/messageBody.ts'
import { idOf } from '../../support/messageClient.ts'
import { delivery, deliveryOf, type ScriptedLink, ScriptedServer } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const seqsOf = (messages: readonly Message[]) => messages.map(({ seq }) => seq)

const acknowledged = async (link: ScriptedLink) => (await link.expect('DeliverMsgAck')).message

/** Receives with this concurrency. The handler of a message returns when its promise resolves. */
function receiving(server: ScriptedServer, concurrency: number) {
  const came: Message[] = []
  const handled = new Map<number, Deferred<void>>()
  const receiver = server.client().receive(
    (message) => {
      const own = deferred<void>()
      came.push(message)
      handled.set(message.seq, own)
      return own.promise
    },
    { concurrency },
  )
  return { came, receiver, handle: (seq: number) => handled.get(seq)?.resolve() }
}

spec('a received message', (it) => {
  it('has the headers that its sender has added, and its content as JSON', async () => {
    await using server = new ScriptedServer()
    const came: Message[] = []
    server.client().receive((message) => void came.push(message))
    const link = await server.listening()
    const headers = [{ key: 'contentType', value: 'application/json' }]
    const content = new TextEncoder().encode('{"n":1}')
    link.ask(delivery(1, { body: encodeBody({ headers, inReplyTo: idOf(9) }, content) }))
    link.ask(delivery(2, { content: 'no JSON' }))
    await acknowledged(link)
    await acknowledged(link)
    const [first, second] = came
    assert.deepEqual(first?.headers, { contentType: 'application/json' })
    assert.deepEqual([first.inReplyTo, second?.inReplyTo], [hex(idOf(9)), undefined])
    assert.deepEqual(first.json<{ n: number }>().n, 1)
    assert.throws(() => second?.json(), SyntaxError)
  })

  it('is answered by a message to its sender with its id', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const replies: Promise<unknown>[] = []
    client.receive(({ reply }) => void replies.push(reply('yes', { headers: { a: 'b' } })))
    const link = await server.listening()
    link.ask(delivery(5))
    await acknowledged(link)
    const asked = await link.expect('PostMsgReq')
    const [sent] = asked.message.messages
    const { attributes, content } = decodeBody(sent?.body ?? new Uint8Array())
    const parts = [sent?.recipients, attributes, new TextDecoder().decode(content)]
    assert.deepEqual(parts, [['bob'], { headers: [{ key: 'a', value: 'b' }], inReplyTo: idOf(5) }, 'yes'])
    link.acknowledge(asked)
    assert.deepEqual(await replies[0], [{ recipient: 'bob', status: 'online' }])
  })
})

spec('an answer of a handler', (it) => {
  it('ack acknowledges the message while the handler runs, and an error of the handler repeats nothing', async () => {
    await using server = new ScriptedServer()
    const ended = deferred<void>()
    const came: number[] = []
    server.client().receive(async ({ seq, ack }) => {
      came.push(seq)
      await ack()
      await ended.promise
      throw new Error('a handler has a bug')
    })
    const link = await server.listening()
    link.ask(delivery(1))
    assert.equal((await acknowledged(link)).mailboxSeq, 1)
    link.ask(delivery(2))
    await link.quiet()
    assert.deepEqual(came, [1])
    ended.resolve()
    assert.equal((await acknowledged(link)).mailboxSeq, 2)
    await server.pass(1_000)
    assert.deepEqual(came, [1, 2])
  })

  it('nak hands the message over again after its delay, before any later message', async () => {
    await using server = new ScriptedServer()
    const came: number[] = []
    server.client().receive(({ seq, nak }) => {
      came.push(seq)
      if (came.length === 1) nak({ delayMs: 5_000 })
    })
    const link = await server.listening()
    link.ask(delivery(1))
    link.ask(delivery(2))
    await server.pass(4_999)
    assert.deepEqual(came, [1])
    await server.pass(1)
    assert.deepEqual([(await acknowledged(link)).mailboxSeq, (await acknowledged(link)).mailboxSeq], [1, 2])
    assert.deepEqual([came, server.log], [[1, 1, 2], []])
  })

  it('nak counts as a try', async () => {
    await using server = new ScriptedServer()
    let tries = 0
    const again = ({ nak }: Message) => {
      tries++
      nak({ delayMs: 0 })
    }
    server.client().receive(again, { tries: 3 })
    const link = await server.listening()
    link.ask(delivery(1))
    for (let passed = 0; passed < 3; passed++) await server.pass(0)
    const rejected = [{ mailboxSeq: 1, text: 'it was returned 3 times' }]
    assert.deepEqual([(await acknowledged(link)).rejected, tries], [rejected, 3])
  })

  it('reject sets the message aside with the reason, which is truncated', async () => {
    await using server = new ScriptedServer()
    server.client().receive(({ reject }) => reject('x'.repeat(70_000)))
    const link = await server.listening()
    link.ask(delivery(1))
    const [rejected] = (await acknowledged(link)).rejected
    assert.deepEqual(rejected, { mailboxSeq: 1, text: 'x'.repeat(500) })
  })

  it('is refused if the message was already answered or its receiver has stopped', async () => {
    await using server = new ScriptedServer()
    const came: Message[] = []
    server.client().receive((message) => {
      if (came.push(message) === 1) message.nak({ delayMs: 1_000 })
      if (came.length === 1) assert.throws(() => message.reject('no'), { code: 'closed' })
    })
    const link = await server.listening()
    link.ask(delivery(1))
    await turn()
    await assert.rejects(async () => came[0]?.ack(), { code: 'closed' })
    await server.pass(1_000)
    await acknowledged(link)
    await came[0]?.ack()
    assert.throws(() => came[0]?.nak(), { code: 'closed' })
    for (const delayMs of [-1, Number.POSITIVE_INFINITY, 'x'])
      assert.throws(() => came[0]?.nak({ delayMs } as never), { code: 'usage' })
    assert.throws(() => came[0]?.reject(5 as never), { code: 'usage' })
  })
})

spec('a receiver with a concurrency', (it) => {
  it('limits the messages that are handled at once, in the order of the mailbox', async () => {
    await using server = new ScriptedServer()
    const { came, handle } = receiving(server, 2)
    const link = await server.listening()
    for (const seq of [1, 2, 3, 4]) link.ask(delivery(seq))
    await link.quiet()
    assert.deepEqual(seqsOf(came), [1, 2])
    handle(2)
    assert.equal((await acknowledged(link)).mailboxSeq, 2)
    await turn()
    assert.deepEqual(seqsOf(came), [1, 2, 3])
    handle(1)
    handle(3)
    assert.deepEqual([(await acknowledged(link)).mailboxSeq, (await acknowledged(link)).mailboxSeq], [1, 3])
  })

  it('reports the messages of each delivery before the first that is not handled', async () => {
    await using server = new ScriptedServer()
    const { handle } = receiving(server, 8)
    const link = await server.listening()
    link.ask(deliveryOf([1, 2, 3, 4]))
    link.ask(deliveryOf([5, 6]))
    await turn()
    for (const seq of [2, 4]) handle(seq)
    await server.pass(10)
    await link.quiet()
    for (const seq of [1, 5]) handle(seq)
    await server.pass(10)
    const reports = [await link.expect('DeliverMsgNtf'), await link.expect('DeliverMsgNtf')]
    assert.deepEqual(
      reports.map(({ message }) => message.mailboxSeq),
      [2, 5],
    )
    handle(3)
    assert.equal((await acknowledged(link)).mailboxSeq, 4)
    handle(6)
    assert.equal((await acknowledged(link)).mailboxSeq, 6)
  })

  it('reports no message after a rejected one', async () => {
    await using server = new ScriptedServer()
    const { came, handle } = receiving(server, 8)
    const link = await server.listening()
    link.ask(deliveryOf([1, 2, 3, 4]))
    await turn()
    came[1]?.reject('no')
    handle(2)
    for (const seq of [3, 1]) handle(seq)
    await server.pass(10)
    assert.equal((await link.expect('DeliverMsgNtf')).message.mailboxSeq, 1)
    handle(4)
    assert.deepEqual((await acknowledged(link)).rejected, [{ mailboxSeq: 2, text: 'no' }])
  })

  it('continues to handle its messages when the link is lost, and acknowledges them on the next one', async () => {
    await using server = new ScriptedServer()
    const { came, handle } = receiving(server, 2)
    const first = await server.listening()
    first.ask(deliveryOf([1, 2, 3]))
    await turn()
    first.break()
    const second = await server.listening()
    handle(2)
    second.ask(deliveryOf([1, 2, 3], 2))
    await turn()
    assert.deepEqual(seqsOf(came), [1, 2, 3])
    handle(1)
    handle(3)
    assert.equal((await acknowledged(second)).mailboxSeq, 3)
  })

  it('waits for all handlers when it is disposed, and takes no further message', async () => {
    await using server = new ScriptedServer()
    const { came, receiver, handle } = receiving(server, 2)
    const link = await server.listening()
    for (const seq of [1, 2, 3]) link.ask(delivery(seq))
    await turn()
    let isDisposed = false
    const disposed = receiver[Symbol.asyncDispose]().then(() => {
      isDisposed = true
    })
    handle(1)
    assert.equal((await acknowledged(link)).mailboxSeq, 1)
    assert.ok(!isDisposed)
    handle(2)
    assert.equal((await acknowledged(link)).mailboxSeq, 2)
    await disposed
    assert.deepEqual(seqsOf(came), [1, 2])
  })

  it('causes no warning, however many messages wait', async () => {
    await using server = new ScriptedServer()
    const warnings: Error[] = []
    const warned = (warning: Error) => warnings.push(warning)
    process.on('warning', warned)
    server.client().receive(({ nak }) => nak({ delayMs: 60_000 }), { concurrency: fixed.batchMessages })
    const link = await server.listening({ window: 256 })
    link.ask(deliveryOf(Array.from({ length: 256 }, (_, at) => at + 1)))
    await turn()
    await turn()
    process.off('warning', warned)
    assert.deepEqual(warnings, [])
  })
})

spec('a loop over messages that the program answers itself', (it) => {
  it('yields messages up to its concurrency, and acknowledges none by itself', async () => {
    await using server = new ScriptedServer()
    const messages = server.client().messages({ ack: 'manual', concurrency: 2 })
    const link = await server.listening()
    for (const seq of [1, 2, 3]) link.ask(delivery(seq))
    const first = (await messages.next()).value as Message
    const second = (await messages.next()).value as Message
    const third = messages.next()
    await link.quiet()
    assert.deepEqual(seqsOf([first, second]), [1, 2])
    await second.ack()
    assert.equal((await acknowledged(link)).mailboxSeq, 2)
    assert.equal((await third).value?.seq, 3)
    first.reject('no')
    assert.deepEqual((await acknowledged(link)).rejected, [{ mailboxSeq: 1, text: 'no' }])
  })

  it('yields a returned message again', async () => {
    await using server = new ScriptedServer()
    const messages = server.client().messages({ ack: 'manual' })
    const link = await server.listening()
    link.ask(delivery(1))
    link.ask(delivery(2))
    const first = (await messages.next()).value as Message
    first.nak({ delayMs: 10 })
    await server.pass(10)
    assert.equal((await messages.next()).value, first)
    await first.ack()
    assert.equal((await messages.next()).value?.seq, 2)
  })

  it('leaves the messages that were not answered to the next receiver, in their order', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const messages = client.messages({ ack: 'manual', concurrency: 3 })
    const link = await server.listening()
    for (const seq of [1, 2, 3, 4]) link.ask(delivery(seq))
    const first = (await messages.next()).value as Message
    await (await messages.next()).value?.ack()
    assert.equal((await acknowledged(link)).mailboxSeq, 2)
    await messages.return?.()
    await assert.rejects(first.ack(), { code: 'closed' })
    await link.register(0)
    const again = client.messages()
    const seqs = [await again.next(), await again.next(), await again.next()].map(({ value }) => value?.seq)
    assert.deepEqual(seqs, [1, 3, 4])
  })
})
