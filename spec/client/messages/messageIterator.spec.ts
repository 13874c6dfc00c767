import assert from 'node:assert/strict'
import { delivery, ScriptedServer } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

spec('a loop over messages', (it) => {
  it('acknowledges each message when the next one is requested', async () => {
    await using server = new ScriptedServer()
    const messages = server.client().messages()
    const link = await server.listening()
    link.ask(delivery(1))
    link.ask(delivery(2))
    assert.equal((await messages.next()).value?.seq, 1)
    await link.quiet()
    assert.equal((await messages.next()).value?.seq, 2)
    assert.equal((await link.expect('DeliverMsgAck')).message.mailboxSeq, 1)
    await link.quiet()
    void messages.next()
    assert.equal((await link.expect('DeliverMsgAck')).message.mailboxSeq, 2)
  })

  it('that is left does not acknowledge the last message, and stops listening', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const looping = (async () => {
      for await (const { seq } of client.messages()) if (seq === 2) return
    })()
    const link = await server.listening()
    for (const seq of [1, 2, 3]) link.ask(delivery(seq))
    assert.equal((await link.expect('DeliverMsgAck')).message.mailboxSeq, 1)
    await looping
    await link.register(0)
    await link.quiet()
    const again = client.messages()
    assert.equal((await again.next()).value?.seq, 2)
  })

  it('gives each of several waiting callers its own message, and acknowledges all but the last', async () => {
    await using server = new ScriptedServer()
    const messages = server.client().messages()
    const asked = [messages.next(), messages.next(), messages.next()]
    const link = await server.listening()
    for (const seq of [1, 2, 3]) link.ask(delivery(seq))
    const seqs = (await Promise.all(asked)).map(({ value }) => value?.seq)
    assert.deepEqual(seqs, [1, 2, 3])
    for (const seq of [1, 2]) assert.equal((await link.expect('DeliverMsgAck')).message.mailboxSeq, seq)
    await link.quiet()
  })

  it('ends when it was left, also for waiting callers', async () => {
    await using server = new ScriptedServer()
    const messages = server.client().messages()
    const waiting = messages.next()
    assert.deepEqual(await messages.return?.(), { done: true, value: undefined })
    assert.deepEqual(await waiting, { done: true, value: undefined })
    assert.deepEqual(await messages.next(), { done: true, value: undefined })
    assert.equal(messages[Symbol.asyncIterator](), messages)
  })

  it('ends at once when the client is closed in it, and the message is not acknowledged', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const looping = (async () => {
      for await (const _ of client.messages()) await client.close()
    })()
    const link = await server.listening()
    link.ask(delivery(1))
    await looping
    await link.quiet()
  })

  it('left before a call for an arrived message leaves the message to the next receiver', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const messages = client.messages()
    const link = await server.listening()
    link.ask(delivery(1))
    await turn()
    await messages.return?.()
    await link.register(0)
    assert.equal((await client.messages().next()).value?.seq, 1)
  })

  for (const waits of [true, false]) {
    it(`rejects once if it cannot continue, ${waits ? 'while a call waits' : 'without a waiting call'}`, async () => {
      await using server = new ScriptedServer()
      const messages = server.client().messages()
      const waiting = waits ? messages.next() : undefined
      waiting?.catch(() => {})
      const link = await server.listening()
      link.goodbye('superseded')
      await turn()
      await assert.rejects(waiting ?? messages.next(), { code: 'superseded' })
      assert.deepEqual(await messages.next(), { done: true, value: undefined })
    })
  }
})
