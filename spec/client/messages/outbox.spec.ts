import assert from 'node:assert/strict'
import { clientLimits, fixed, KiB } from '../../../lib/limits.ts'
import { handled, nackOf, ScriptedServer } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const text = (content: Uint8Array) => new TextDecoder().decode(content)

spec('a sent message', (it) => {
  it('is answered with a state for each recipient, in the order of the call', async () => {
    await using server = new ScriptedServer()
    const sending = server.client().send(['carol', 'bob'], 'hi')
    const link = await server.registered()
    const asked = await link.expect('PostMsgReq')
    assert.deepEqual(asked.message.recipients, ['carol', 'bob'])
    assert.equal(text(asked.message.content), 'hi')
    assert.equal(asked.message.messageId.length, 16)
    assert.equal(asked.frame.instance, 7)
    const states = [
      { recipient: 'bob', status: 1 },
      { recipient: 'carol', status: 2 },
    ]
    link.reply(asked, { event: 'PostMsgAck', recipients: states })
    assert.deepEqual(await sending, [
      { recipient: 'carol', status: 'unseen' },
      { recipient: 'bob', status: 'stored' },
    ])
  })

  it('has the id of the call, and the bytes at the time of the call', async () => {
    await using server = new ScriptedServer()
    const id = new Uint8Array(16).fill(7)
    const content = Uint8Array.of(1, 2)
    void handled(server.client().send(['bob'], content, { id }))
    id.fill(0)
    content.fill(0)
    const { message } = await (await server.registered()).expect('PostMsgReq')
    assert.deepEqual([message.messageId, message.content], [new Uint8Array(16).fill(7), Uint8Array.of(1, 2)])
  })

  it('goes once to a recipient that is named twice', async () => {
    await using server = new ScriptedServer()
    const sending = server.client().send(['bob', 'carol', 'bob'], '')
    const link = await server.registered()
    const asked = await link.expect('PostMsgReq')
    assert.deepEqual(asked.message.recipients, ['bob', 'carol'])
    link.acknowledge(asked)
    assert.equal((await sending).length, 2)
  })

  it('follows the one before without waiting for its answer on a reliable link, up to 256', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const sendings = Array.from({ length: 300 }, (_, n) => client.send(['bob'], `${n}`))
    const link = await server.registered()
    const asked = []
    for (let n = 0; n < 256; n++) asked.push(await link.expect('PostMsgReq'))
    await link.quiet()
    for (const one of asked) link.acknowledge(one)
    for (let n = 256; n < 300; n++) asked.push(await link.expect('PostMsgReq'))
    assert.deepEqual(
      asked.map(({ message }) => text(message.content)),
      Array.from({ length: 300 }, (_, n) => `${n}`),
    )
    for (const one of asked.slice(256)) link.acknowledge(one)
    await Promise.all(sendings)
  })

  it('waits for the answer to the one before on a link that reorders frames', async () => {
    await using server = new ScriptedServer({ reliable: false })
    const client = server.client()
    for (const n of ['1', '2', '3']) void handled(client.send(['bob'], n))
    const link = await server.registered()
    for (const n of ['1', '2', '3']) {
      const asked = await link.expect('PostMsgReq')
      assert.equal(text(asked.message.content), n)
      await link.quiet()
      link.acknowledge(asked)
    }
  })

  it('that the server refuses rejects with its code, and names the recipients that it concerns', async () => {
    await using server = new ScriptedServer()
    const sending = server.client().send(['bob', 'carol'], 'hi')
    const refused = assert.rejects(sending, {
      code: 'mailbox-full',
      recipients: ['carol'],
      message: 'mailbox-full',
      retryAfterMs: 9,
    })
    const link = await server.registered()
    const recipients = ['carol', '\u001b[2J', 'dave']
    link.reply(await link.expect('PostMsgReq'), nackOf('PostMsgNack', 'mailbox-full', { recipients, retryAfter: 9 }))
    await refused
  })

  for (const [how, recipients] of Object.entries({
    'one recipient too few': [{ recipient: 'bob', status: 0 }],
    'another recipient': [
      { recipient: 'bob', status: 0 },
      { recipient: 'dave', status: 0 },
    ],
    'a recipient twice': [
      { recipient: 'bob', status: 0 },
      { recipient: 'bob', status: 0 },
    ],
    'a status that there is not': [
      { recipient: 'bob', status: 0 },
      { recipient: 'carol', status: 3 },
    ],
  })) {
    it(`that is acknowledged with ${how} rejects, and ends the link`, async () => {
      await using server = new ScriptedServer()
      const sending = server.client().send(['bob', 'carol'], 'hi')
      const refused = assert.rejects(sending, { code: 'malformed', message: /unknown/u })
      const link = await server.registered()
      link.reply(await link.expect('PostMsgReq'), { event: 'PostMsgAck', recipients })
      await refused
      await link.dismissed('malformed')
    })
  }
})

spec('a message that cannot be sent', (it) => {
  const wrong: readonly [what: string, code: string, to: unknown, content: unknown, options?: object][] = [
    ['no recipient', 'usage', [], 'hi'],
    ['a recipient in place of a list', 'usage', 'bob', 'hi'],
    ['a recipient that is no string', 'usage', [7], 'hi'],
    ['a content that is neither text nor bytes', 'usage', ['bob'], 7],
    ['an id that is too short', 'usage', ['bob'], 'hi', { id: new Uint8Array(15) }],
    ['a signal that is none', 'usage', ['bob'], 'hi', { signal: {} }],
    ['content over 64 KiB', 'too-large', ['bob'], new Uint8Array(64 * KiB + 1)],
    [
      'more recipients than there is room for',
      'too-many-recipients',
      Array.from({ length: 65_536 }, (_, n) => `u${n}`),
      '',
    ],
  ]
  for (const [what, code, to, content, options] of wrong) {
    it(`because of ${what} rejects, and needs no server`, async () => {
      await using server = new ScriptedServer()
      await assert.rejects(server.client().send(to as string[], content as string, options), { code })
      assert.deepEqual(server.links, [])
    })
  }

  it('because of a name reports the name', async () => {
    await using server = new ScriptedServer()
    const sending = server.client().send(['bob', 'b/ob'], 'hi')
    await assert.rejects(sending, { code: 'bad-name', message: /"b\/ob"/u })
  })

  it('because of too many recipients for the server is rejected when the limit is known', async () => {
    await using server = new ScriptedServer()
    server.welcome = { ...server.welcome, maxRecipients: 2 }
    const client = server.client()
    const tooMany = assert.rejects(client.send(['b', 'c', 'd'], 'hi'), {
      code: 'too-many-recipients',
      message: /2.*3/u,
    })
    void handled(client.send(['b', 'c'], 'next'))
    const link = await server.registered()
    await tooMany
    assert.equal(text((await link.expect('PostMsgReq')).message.content), 'next')
    await assert.rejects(client.send(['b', 'c', 'd'], 'hi'), { code: 'too-many-recipients' })
  })

  it('because it exceeds the server’s frames is rejected', async () => {
    await using server = new ScriptedServer()
    server.welcome = { ...server.welcome, maxFrame: fixed.helloFrameBytes }
    const sending = server.client().send(['bob'], new Uint8Array(fixed.helloFrameBytes))
    const refused = assert.rejects(sending, { code: 'too-large' })
    await server.registered()
    await refused
  })

  it('because too many messages or bytes wait is rejected', async () => {
    await using server = new ScriptedServer()
    const many = server.client()
    for (let n = 0; n < clientLimits.sends; n++) void handled(many.send(['bob'], ''))
    await assert.rejects(many.send(['bob'], ''), { code: 'rate-limited' })
    const large = server.client()
    const content = new Uint8Array(64 * KiB)
    for (let bytes = 0; bytes + 65 * KiB < clientLimits.sendBytes; bytes += 65 * KiB) {
      void handled(large.send(['bob'], content))
    }
    await turn()
    await assert.rejects(Promise.all(Array.from({ length: 20 }, () => large.send(['bob'], content))), {
      code: 'rate-limited',
    })
  })
})
