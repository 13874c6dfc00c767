import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { handled, nackOf, ScriptedServer } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const nothing = () => {}

spec('a client registers', (it) => {
  it('on a separate link with a separate session, when it sends, receives or needs the presence list', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    void handled(client.online())
    const uploads = await server.link()
    void client.presence
    const messages = await server.registered(0)
    assert.notDeepEqual(uploads.socket.messages[0], messages.socket.messages[0])
    await uploads.quiet()
    void handled(client.send(['bob'], 'hi'))
    client.receive(nothing)
    await messages.expect('PostMsgReq')
    await messages.expect('RegistReq')
    assert.equal(server.links.length, 2)
  })

  it('as a listener only while there is a receiver, on the present link and on later ones', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    void client.presence
    const first = await server.registered(0)
    const receiver = client.receive(nothing)
    await first.register(1)
    await receiver[Symbol.asyncDispose]()
    await first.register(0)
    client.receive(nothing)
    await first.register(1)
    first.break()
    await (await server.registered(1)).quiet()
  })

  it('with one REGIST at a time', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    void client.presence
    const link = await server.link()
    const first = await link.expect('RegistReq')
    const receiver = client.receive(nothing)
    await link.quiet()
    await receiver[Symbol.asyncDispose]()
    client.receive(nothing)
    link.reply(first, { event: 'RegistAck', instance: 1, listVersion: 1, deliveryWindow: 1 })
    await link.register(1)
    await link.quiet()
  })

  it('again after a refusal that is not final, at the time that the server names and a random time later, and then sends', async () => {
    await using server = new ScriptedServer()
    const { random, ...platform } = nodePlatform()
    const halves = { ...platform, clock: server.clock, random: { ...random, fraction: () => 0.5 } }
    const client = server.client({ platform: halves })
    void handled(client.send(['bob'], 'hi'))
    const link = await server.link()
    link.reply(await link.expect('RegistReq'), nackOf('RegistNack', 'clients-full', { retryAfter: 1_000 }))
    await server.pass(1_249)
    await link.quiet()
    await server.pass(1)
    link.reply(await link.expect('RegistReq'), nackOf('RegistNack', 'rate-limited'))
    await server.pass(499)
    await link.quiet()
    await server.pass(1)
    await link.register(0)
    await link.expect('PostMsgReq')
  })

  it('for the time of `retryForMs` only; then all waiting calls reject', async () => {
    await using server = new ScriptedServer()
    const client = server.client({ retryForMs: 1_000 })
    const receiver = client.receive(nothing)
    const code = 'clients-full'
    const waiting: readonly Promise<unknown>[] = [client.send(['bob'], 'hi'), client.presence.ready(), receiver.done]
    const rejected = waiting.map((promise) => assert.rejects(promise, { code }))
    const link = await server.link()
    link.reply(await link.expect('RegistReq'), nackOf('RegistNack', code, { retryAfter: 5_000 }))
    await server.pass(1_000)
    link.reply(await link.expect('RegistReq'), nackOf('RegistNack', code))
    await Promise.all(rejected)
    assert.equal(client.status, 'refused')
    await assert.rejects(client.send(['bob'], 'hi'), { code })
    await assert.rejects(client.online(), { code })
    assert.throws(() => client.receive(nothing), { code })
  })

  it('not again after a final refusal', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const rejected = assert.rejects(client.send(['bob'], 'hi'), { code: 'unauthorized' })
    const link = await server.link()
    link.reply(await link.expect('RegistReq'), nackOf('RegistNack', 'unauthorized'))
    await rejected
    await link.dismissed('shutting-down')
    assert.equal(server.links.length, 1)
  })

  for (const [what, granted] of Object.entries({
    'no instance': { instance: 0, deliveryWindow: 1 },
    'a window of nothing': { instance: 1, deliveryWindow: 0 },
  })) {
    it(`again on another link if it is granted ${what}`, async () => {
      await using server = new ScriptedServer()
      void server.client().presence
      const link = await server.link()
      link.reply(await link.expect('RegistReq'), { event: 'RegistAck', listVersion: 1, ...granted })
      await link.dismissed('malformed')
      await server.registered(0)
    })
  }
})

spec('a registration that is granted just before its link ends', (it) => {
  it('does not count on the next one', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const sending = handled(client.send(['bob'], 'hi'))
    const first = await server.link()
    first.reply(await first.expect('RegistReq'), { event: 'RegistAck', instance: 7, listVersion: 1, deliveryWindow: 1 })
    first.break()
    const second = await server.registered(0, { instance: 8 })
    const asked = await second.expect('PostMsgReq')
    assert.equal(asked.frame.instance, 8)
    second.acknowledge(asked)
    await sending
  })
})

spec('a listener that another program of the user supersedes', (it) => {
  it('by a GOODBYE ends with that error, with all messages, but not the uploads', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    void handled(client.online())
    const uploads = await server.link()
    const receiver = client.receive(nothing)
    const link = await server.listening()
    const code = 'superseded'
    const rejected = [
      assert.rejects(client.send(['bob'], 'hi'), { code, message: /unknown/u }),
      assert.rejects(receiver.done, { code }),
    ]
    await link.expect('PostMsgReq')
    link.goodbye(code)
    await Promise.all(rejected)
    await server.pass(60_000)
    assert.equal(server.links.length, 2)
    assert.equal(client.status, 'online')
    await client.online()
    await assert.rejects(client.send(['bob'], 'hi'), { code })
    assert.throws(() => client.receive(nothing), { code })
    await uploads.quiet()
  })

  it('by a refusal ends with that error, and the client continues to send without listening', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const receiver = client.receive(nothing)
    const ended = assert.rejects(receiver.done, { code: 'superseded' })
    const sending = client.send(['bob'], 'hi')
    const link = await server.link()
    link.reply(await link.expect('RegistReq'), nackOf('RegistNack', 'superseded'))
    await ended
    await link.register(0)
    link.acknowledge(await link.expect('PostMsgReq'))
    await sending
    await receiver[Symbol.asyncDispose]()
    await link.quiet()
  })
})

spec('the status of a client with two links', (it) => {
  it('is the status of the link that is not online, with its error', async () => {
    await using server = new ScriptedServer()
    const client = server.client({ retryForMs: 10_000 })
    const statuses: unknown[] = []
    client.on('status', (status, error, retryMs) => statuses.push([status, error?.code, retryMs]))
    const online = client.online()
    await server.link()
    await online
    void client.presence
    const messages = await server.registered(0)
    await client.online()
    messages.break()
    await turn()
    assert.equal(client.status, 'waiting')
    await server.registered(0)
    await client.close()
    assert.deepEqual(statuses, [
      ['connecting', undefined, undefined],
      ['online', undefined, undefined],
      ['connecting', undefined, undefined],
      ['online', undefined, undefined],
      ['waiting', 'link-lost', 0],
      ['connecting', undefined, undefined],
      ['online', undefined, undefined],
      ['closed', 'closed', undefined],
    ])
  })

  it('of which only the link for messages has begun is the status of that link', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    void client.presence
    const online = client.online()
    await server.link()
    await online
    assert.deepEqual([client.status, server.links.length], ['online', 1])
  })
})
