import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { outboxController } from '../../../lib/client/messages/outboxController.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { MemoryOutbox } from '../../support/memoryOutbox.ts'
import { beforeSending, idsOf, start, textsOf, turns } from '../../support/outboxClient.ts'
import { handled, ScriptedServer } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'

spec('programs that share an outbox', (it) => {
  it('send through the first one, in the order of their messages, and each gets its results', async () => {
    const outbox = new MemoryOutbox(true)
    await using server = new ScriptedServer()
    await using other = new ScriptedServer()
    const one = start(server, outbox).client
    const two = start(other, outbox).client
    const a = one.send(['bob'], 'a')
    await a.queued
    const b = two.send(['bob', 'carol'], 'b')
    await b.queued
    const c = one.send(['bob'], 'c')
    await c.queued
    const link = await server.registered()
    const asked = await link.expect('PostMsgReq')
    assert.deepEqual(
      [textsOf(asked), idsOf(asked)],
      [
        ['a', 'b', 'c'],
        [a.id, b.id, c.id],
      ],
    )
    await (await other.registered()).quiet()
    link.acknowledge(asked, 1)
    assert.deepEqual(await b, [
      { recipient: 'bob', status: 'stored' },
      { recipient: 'carol', status: 'stored' },
    ])
    await Promise.all([a, c])
  })

  it('send the messages of the others, even if they have sent none themselves', async () => {
    const outbox = new MemoryOutbox(true)
    await using server = new ScriptedServer()
    await using other = new ScriptedServer()
    const one = start(server, outbox).client
    await one.flush()
    const sent = start(other, outbox).client.send(['bob'], 'a')
    const link = await server.registered()
    const asked = await link.expect('PostMsgReq')
    assert.deepEqual(idsOf(asked), [sent.id])
    const flushed = one.flush()
    link.acknowledge(asked)
    await Promise.all([sent, flushed])
  })

  it('receive the reason if their message is refused, temporarily or permanently', async () => {
    const outbox = new MemoryOutbox(true)
    await using server = new ScriptedServer()
    await using other = new ScriptedServer()
    const link = await beforeSending(start(server, outbox).client, server)
    await turns()
    const two = start(other, outbox).client
    const refused: unknown[] = []
    two.on('messageRefused', ({ id, isQueued }, { code }) => refused.push([id, isQueued, code]))
    const sent = two.send(['bob'], 'a')
    link.refuse(await link.expect('PostMsgReq'), 'mailbox-full')
    await turns()
    await server.pass(1_000)
    link.refuse(await link.expect('PostMsgReq'), 'unknown-user', { recipients: ['bob'] })
    await assert.rejects(sent.stored, { code: 'unknown-user', recipients: ['bob'] })
    assert.deepEqual(refused, [
      [sent.id, true, 'mailbox-full'],
      [sent.id, false, 'unknown-user'],
    ])
  })

  it('continue when the first one is killed: nothing is lost, and ids stay the same', async () => {
    const outbox = new MemoryOutbox(true)
    await using server = new ScriptedServer()
    await using other = new ScriptedServer()
    const one = start(server, outbox)
    const link = await beforeSending(one.client, server)
    const a = one.client.send(['bob'], 'a')
    void handled(a)
    await link.expect('PostMsgReq')
    const two = start(other, outbox).client
    const b = two.send(['bob'], 'b')
    await b.queued
    one.program.kill()
    const next = await other.registered()
    const ids: string[] = []
    // The second program adds its message again, under its id.
    while (ids.length < 3) {
      const asked = await next.expect('PostMsgReq')
      ids.push(...idsOf(asked))
      next.acknowledge(asked)
    }
    await b
    await turns()
    assert.deepEqual(ids, [a.id, b.id, b.id])
    assert.deepEqual(outbox.texts, [])
  })

  it('take turns: one that has sent its messages lets the next one send', async () => {
    const outbox = new MemoryOutbox(true)
    await using server = new ScriptedServer()
    await using other = new ScriptedServer()
    const one = start(server, outbox).client
    const link = await beforeSending(one, server)
    const a = one.send(['bob'], 'a')
    link.acknowledge(await link.expect('PostMsgReq'))
    await a
    await turns()
    await server.pass(1_000)
    await turns()
    const two = start(other, outbox).client
    const b = two.send(['bob'], 'b')
    const next = await other.registered()
    next.acknowledge(await next.expect('PostMsgReq'))
    await b
  })
})

spec('the control of an outbox', (it) => {
  const { clock } = nodePlatform()

  it('lists a message only after the store has it', async () => {
    const outbox = new MemoryOutbox()
    await using server = new ScriptedServer()
    const { client, program } = start(server, outbox)
    const flushed = deferred<void>()
    program.before = () => flushed.promise
    const sent = client.send(['bob'], 'a')
    await turns()
    const { outbox: store } = outbox.program().state
    assert.ok(store)
    const control = outboxController(store, clock)
    assert.deepEqual(await control.list(), [])
    flushed.resolve()
    await sent.queued
    assert.deepEqual(
      (await control.list()).map(({ id }) => id),
      [sent.id],
    )
  })

  it('lists and removes messages without a client', async () => {
    const outbox = new MemoryOutbox(true)
    await using server = new ScriptedServer()
    const { client, program } = start(server, outbox)
    const sent = ['a', 'bc'].map((text) => client.send(['bob'], text))
    await Promise.all(sent.map(({ queued }) => queued))
    program.kill()
    const { outbox: store } = outbox.program().state
    assert.ok(store)
    const control = outboxController(store, clock)
    const listed = await control.list()
    assert.deepEqual(
      listed.map(({ number, id, recipients, bytes }) => [number, id, recipients, bytes]),
      [
        [1, sent[0]?.id, ['bob'], 2],
        [2, sent[1]?.id, ['bob'], 3],
      ],
    )
    assert.deepEqual(await control.remove([2, 7]), [2])
    assert.deepEqual(outbox.texts, ['a'])
  })

  it('lists and removes messages of a program that is sending them', async () => {
    const outbox = new MemoryOutbox(true)
    await using server = new ScriptedServer()
    const { client } = start(server, outbox)
    const events: unknown[] = []
    client.on('messageRefused', ({ id, isQueued }, { code }) => events.push([id, isQueued, code]))
    const link = await beforeSending(client, server)
    const sent = client.send(['bob'], 'a')
    link.refuse(await link.expect('PostMsgReq'), 'mailbox-full')
    await turns()
    const { outbox: store } = outbox.program().state
    assert.ok(store)
    const control = outboxController(store, clock)
    const [message] = await control.list()
    assert.deepEqual([message?.number, message?.id, message?.refusal?.code], [1, sent.id, 'mailbox-full'])
    assert.deepEqual(await control.remove([1]), [1])
    await assert.rejects(sent.stored, { code: 'cancelled' })
    await turns()
    assert.deepEqual(events, [
      [sent.id, true, 'mailbox-full'],
      [sent.id, false, 'cancelled'],
    ])
    assert.deepEqual(outbox.texts, [])
  })

  it('removes a message of another program, which waits for an earlier one', async () => {
    const outbox = new MemoryOutbox()
    await using server = new ScriptedServer()
    await using other = new ScriptedServer()
    const one = start(server, outbox).client
    const link = await beforeSending(one, server)
    void handled(one.send(['bob'], 'a'))
    link.refuse(await link.expect('PostMsgReq'), 'mailbox-full')
    await turns()
    const two = start(other, outbox).client
    const [own, others]: unknown[][] = [[], []]
    one.on('messageRefused', ({ id }) => others?.push(id))
    two.on('messageRefused', ({ id, isQueued }, { code }) => own?.push([id, isQueued, code]))
    const sent = two.send(['bob'], 'b')
    await other.registered()
    await sent.queued
    const { outbox: store } = outbox.program().state
    assert.ok(store)
    assert.deepEqual(await outboxController(store, clock).remove([2]), [2])
    const message = 'the message was removed from the outbox before it was sent'
    await assert.rejects(sent.stored, { code: 'cancelled', message })
    assert.deepEqual([own, others], [[[sent.id, false, 'cancelled']], []])
  })

  it('removes a message that was sent, whose outcome is then unknown', async () => {
    const outbox = new MemoryOutbox()
    await using server = new ScriptedServer()
    const { client } = start(server, outbox)
    const link = await beforeSending(client, server)
    const sent = client.send(['bob'], 'a')
    await link.expect('PostMsgReq')
    const { outbox: store } = outbox.program().state
    assert.ok(store)
    assert.deepEqual(await outboxController(store, clock).remove([1]), [1])
    await assert.rejects(sent.stored, { code: 'closed', message: /it is unknown whether the message was stored/u })
  })
})
