import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { Client } from '../../../lib/client/client.ts'
import { OspError } from '../../../lib/errors.ts'
import { decodeBody } from '../../../lib/wire/messageBody.ts'
import { type Asked, handled, nackOf, type ScriptedLink, ScriptedServer } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'

/** The texts and ids of the messages of requests. */
const textsOf = (...asked: readonly Asked<'PostMsgReq'>[]) =>
  asked.flatMap(({ message }) => message.messages.map(({ body }) => new TextDecoder().decode(decodeBody(body).content)))
const idsOf = (...asked: readonly Asked<'PostMsgReq'>[]) =>
  asked.flatMap(({ message }) => message.messages.map(({ messageId }) => messageId))

/** Sends each text in a request of its own. */
async function sendEach(client: Client, link: ScriptedLink, texts: readonly string[]) {
  const sendings: Promise<unknown>[] = []
  const asked: Asked<'PostMsgReq'>[] = []
  for (const text of texts) {
    sendings.push(handled(client.send(['bob'], text)))
    asked.push(await link.expect('PostMsgReq'))
  }
  return { sendings, asked }
}

/** Registers a client that has sent nothing yet. */
function beforeSending(client: Client, server: ScriptedServer): Promise<ScriptedLink> {
  assert.equal(client.presence.size, 0)
  return server.registered()
}

spec('a message that a lost link leaves unanswered', (it) => {
  it('is sent again on the next link after REGIST, in order, with the same id, before messages that were not sent', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const first = await beforeSending(client, server)
    const { sendings, asked: before } = await sendEach(client, first, ['a', 'b', 'c'])
    first.acknowledge(before[1] as Asked<'PostMsgReq'>)
    await sendings[1]
    first.break()
    sendings.push(handled(client.send(['bob'], 'd')))
    const second = await server.registered(0, { instance: 9 })
    const after = await second.expect('PostMsgReq')
    assert.deepEqual(textsOf(after), ['a', 'c', 'd'])
    assert.equal(after.frame.instance, 9)
    const [a, , c] = idsOf(...before)
    assert.deepEqual(idsOf(after).slice(0, 2), [a, c])
    second.acknowledge(after)
    await Promise.all(sendings)
  })

  it('counts as acknowledged if the ACK arrived just before', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const sending = handled(client.send(['bob'], 'a'))
    const first = await server.registered()
    first.acknowledge(await first.expect('PostMsgReq'))
    first.break()
    await sending
    await (await server.registered()).quiet()
  })

  it('is not sent again after the server may have forgotten its id; its outcome is unknown', async () => {
    await using server = new ScriptedServer()
    server.welcome = { ...server.welcome, messageIdFor: 10 }
    const client = server.client()
    const sending = handled(client.send(['bob'], 'a'))
    const unknown = assert.rejects(sending, { code: 'timed-out', message: /unknown/u })
    const first = await server.registered()
    await first.expect('PostMsgReq')
    await server.pass(6_000)
    first.break()
    const second = await server.link()
    const next = handled(client.send(['bob'], 'b'))
    await server.pass(4_000)
    await unknown
    await second.register(0)
    const asked = await second.expect('PostMsgReq')
    assert.deepEqual(textsOf(asked), ['b'])
    second.acknowledge(asked)
    await next
  })

  it('has an unknown outcome if it waits for a link until that time', async () => {
    await using server = new ScriptedServer()
    server.welcome = { ...server.welcome, messageIdFor: 10 }
    const client = server.client()
    const unknown = assert.rejects(client.send(['bob'], 'a'), { code: 'timed-out', message: /unknown/u })
    const first = await server.registered()
    await first.expect('PostMsgReq')
    await server.pass(1_000)
    server.transport.dial = () => Promise.reject(new OspError('unreachable'))
    first.break()
    void handled(client.send(['bob'], 'was not sent'))
    await server.pass(8_999)
    assert.equal(await Promise.race([unknown.then(() => 'rejected'), server.pass(0)]), undefined)
    await server.pass(1)
    await unknown
  })
})

spec('a message that its sender has given up', (it) => {
  it('is not sent if it was not sent before, and frees its place', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const giving = new AbortController()
    const given = assert.rejects(client.send(['bob'], 'a', { signal: giving.signal }), {
      code: 'closed',
      message: /before it was sent/u,
    })
    void handled(client.send(['bob'], 'b'))
    giving.abort()
    await given
    const link = await server.registered()
    assert.deepEqual(textsOf(await link.expect('PostMsgReq')), ['b'])
    const early = client.send(['bob'], 'c', { signal: AbortSignal.abort() })
    await assert.rejects(early, { code: 'closed', message: /before it was sent/u })
    await link.quiet()
  })

  it('has an unknown outcome if it was sent, and is not sent again', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const giving = new AbortController()
    const given = assert.rejects(client.send(['bob'], 'a', { signal: giving.signal }), {
      code: 'closed',
      message: /unknown/u,
    })
    void handled(client.send(['bob'], 'b'))
    const first = await server.registered()
    assert.deepEqual(textsOf(await first.expect('PostMsgReq')), ['a', 'b'])
    giving.abort()
    await given
    first.break()
    assert.deepEqual(textsOf(await (await server.registered()).expect('PostMsgReq')), ['b'])
  })

  it('is not overtaken by the next one on a link that reorders frames', async () => {
    await using server = new ScriptedServer({ reliable: false })
    const client = server.client()
    const giving = new AbortController()
    const link = await beforeSending(client, server)
    void handled(client.send(['bob'], 'a', { signal: giving.signal }))
    const asked = await link.expect('PostMsgReq')
    void handled(client.send(['bob'], 'b'))
    giving.abort()
    await link.quiet()
    link.acknowledge(asked)
    assert.deepEqual(textsOf(await link.expect('PostMsgReq')), ['b'])
  })
})

spec('a lost instance', (it) => {
  it('is registered again after every answer, and the refused messages are sent again in order', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const link = await beforeSending(client, server)
    const { sendings, asked } = await sendEach(client, link, ['a', 'b', 'c', 'd'])
    const [a, b, c, d] = asked
    if (!a || !b || !c || !d) throw new Error('four were posted')
    link.acknowledge(a)
    link.reply(b, nackOf('PostMsgNack', 'not-registered'))
    await link.quiet()
    sendings.push(handled(client.send(['bob'], 'e')))
    await link.quiet()
    link.reply(d, nackOf('PostMsgNack', 'wrong-node'))
    await link.quiet()
    link.reply(c, nackOf('PostMsgNack', 'not-registered'))
    await link.register(0, { instance: 8 })
    const again = await link.expect('PostMsgReq')
    assert.deepEqual(textsOf(again), ['b', 'c', 'd', 'e'])
    assert.deepEqual(idsOf(again).slice(0, 3), idsOf(b, c, d))
    assert.equal(again.frame.instance, 8)
    link.acknowledge(again)
    await Promise.all(sendings)
  })

  it('is registered again after longer and longer waits, until the time is up', async () => {
    await using server = new ScriptedServer()
    const { random, ...platform } = nodePlatform()
    const halves = { ...platform, clock: server.clock, random: { ...random, fraction: () => 0.5 } }
    const client = server.client({ platform: halves, retryForMs: 2_000 })
    const failed = assert.rejects(client.send(['bob'], 'a'), { code: 'not-registered' })
    const link = await server.registered()
    let waits = 0
    for (const waitMs of [0, 500, 1_000, 500]) {
      link.reply(await link.expect('PostMsgReq'), nackOf('PostMsgNack', 'not-registered'))
      if (waitMs > 0) {
        await server.pass(waitMs - 1)
        await link.quiet()
        await server.pass(1)
        waits++
      }
      await link.register(0)
    }
    assert.equal(waits, 3)
    link.reply(await link.expect('PostMsgReq'), nackOf('PostMsgNack', 'not-registered'))
    await failed
    assert.equal(client.status, 'refused')
  })
})

spec('a closed client', (it) => {
  it('rejects waiting and unanswered messages', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const sent = client.send(['bob'], 'a')
    const link = await server.registered()
    await link.expect('PostMsgReq')
    const unsent = server.client().send(['bob'], 'b')
    const rejected = [
      assert.rejects(sent, { code: 'closed', message: /unknown/u }),
      assert.rejects(unsent, { code: 'closed', message: 'the client was closed' }),
    ]
    await server[Symbol.asyncDispose]()
    await Promise.all(rejected)
    await assert.rejects(client.send(['bob'], 'c'), { code: 'closed' })
    assert.throws(() => client.receive(() => {}), { code: 'closed' })
    assert.throws(() => client.messages(), { code: 'closed' })
  })

  it('that was never used for messages has no presence list', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    await client.close()
    await assert.rejects(client.presence.ready(), { code: 'closed' })
    assert.deepEqual([[...client.presence], server.links], [[], []])
  })
})
