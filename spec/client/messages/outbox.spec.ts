import assert from 'node:assert/strict'
import type { Client } from '../../../lib/client/client.ts'
import { numberOf } from '../../../lib/errors.ts'
import { clientLimits, fixed, KiB } from '../../../lib/limits.ts'
import { decodeBody } from '../../../lib/wire/messageBody.ts'
import { type Asked, handled, type ScriptedLink, ScriptedServer } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

/** The texts of the messages of a request. */
const texts = ({ message }: Asked<'PostMsgReq'>) =>
  message.messages.map(({ body }) => new TextDecoder().decode(decodeBody(body).content))

/** The only message of a request. */
function only({ message: { messages } }: Asked<'PostMsgReq'>) {
  const [first] = messages
  assert.ok(first && messages.length === 1)
  return first
}

/** Registers a client that has sent nothing yet. */
async function beforeSending(client: Client, server: ScriptedServer): Promise<ScriptedLink> {
  assert.equal(client.presence.size, 0)
  return server.registered()
}

spec('a sent message', (it) => {
  it('is answered with a state for each recipient, in the order of the call', async () => {
    await using server = new ScriptedServer()
    const sending = server.client().send(['carol', 'bob'], 'hi')
    const link = await server.registered()
    const asked = await link.expect('PostMsgReq')
    assert.deepEqual(only(asked).recipients, ['carol', 'bob'])
    assert.deepEqual(texts(asked), ['hi'])
    assert.equal(only(asked).messageId.length, 16)
    assert.equal(asked.frame.instance, 7)
    link.reply(asked, { event: 'PostMsgAck', statuses: [[2, 1]], refused: [] })
    assert.deepEqual(await sending, [
      { recipient: 'carol', status: 'unseen' },
      { recipient: 'bob', status: 'stored' },
    ])
  })

  it('has the id of the call, and the bytes at the time of the call', async () => {
    await using server = new ScriptedServer()
    const id = '07'.repeat(16)
    const content = Uint8Array.of(1, 2)
    void handled(server.client().send(['bob'], content, { id }))
    content.fill(0)
    const message = only(await (await server.registered()).expect('PostMsgReq'))
    assert.deepEqual(
      [message.messageId, decodeBody(message.body).content],
      [new Uint8Array(16).fill(7), Uint8Array.of(1, 2)],
    )
  })

  it('has its time to live, and the id of the message that it answers', async () => {
    await using server = new ScriptedServer()
    void handled(server.client().send(['bob'], 'x', { timeToLiveMs: 0.5, inReplyTo: '0A'.repeat(16) }))
    const { attributes } = decodeBody(only(await (await server.registered()).expect('PostMsgReq')).body)
    assert.deepEqual(attributes, { timeToLive: 1, inReplyTo: new Uint8Array(16).fill(10) })
  })

  it('goes once to a recipient that is named twice', async () => {
    await using server = new ScriptedServer()
    const sending = server.client().send(['bob', 'carol', 'bob'], '')
    const link = await server.registered()
    const asked = await link.expect('PostMsgReq')
    assert.deepEqual(only(asked).recipients, ['bob', 'carol'])
    link.acknowledge(asked)
    assert.equal((await sending).length, 2)
  })

  it('follows the one before without waiting for its answer on a reliable link, up to 256', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const sendings = Array.from({ length: 300 }, (_, n) => client.send(['bob'], `${n}`))
    const link = await server.registered()
    const first = await link.expect('PostMsgReq')
    assert.equal(texts(first).length, 256)
    await link.quiet()
    link.acknowledge(first)
    const second = await link.expect('PostMsgReq')
    assert.deepEqual(
      [...texts(first), ...texts(second)],
      Array.from({ length: 300 }, (_, n) => `${n}`),
    )
    link.acknowledge(second)
    await Promise.all(sendings)
  })

  it('shares a request with the others of its turn, up to 64 KiB, and waits for no other message', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const link = await beforeSending(client, server)
    const half = new Uint8Array(32 * KiB)
    for (const content of ['1', half, half, new Uint8Array(64 * KiB), '2']) void handled(client.send(['bob'], content))
    const lengths: number[][] = []
    while (lengths.flat().length < 5) {
      const { message } = await link.expect('PostMsgReq')
      lengths.push(message.messages.map(({ body }) => decodeBody(body).content.length))
    }
    assert.deepEqual(lengths, [[1, 32 * KiB], [32 * KiB], [64 * KiB], [1]])
    void handled(client.send(['bob'], '3'))
    assert.deepEqual(texts(await link.expect('PostMsgReq')), ['3'])
  })

  it('waits for the answer to the request before on a link that reorders frames', async () => {
    await using server = new ScriptedServer({ reliable: false })
    const client = server.client()
    const link = await beforeSending(client, server)
    void handled(client.send(['bob'], '1'))
    const first = await link.expect('PostMsgReq')
    for (const n of ['2', '3']) void handled(client.send(['bob'], n))
    await link.quiet()
    link.acknowledge(first)
    assert.deepEqual(texts(await link.expect('PostMsgReq')), ['2', '3'])
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
    link.refuse(await link.expect('PostMsgReq'), 'mailbox-full', { recipients, retryAfter: 9 })
    await refused
  })

  it('that is refused does not concern the others of its request', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const sendings = ['1', '2', '3'].map((content) => handled(client.send(['bob'], content)))
    const link = await server.registered()
    const refusal = { message: 1, code: numberOf('unknown-user'), retryAfter: 0, text: '', recipients: ['bob'] }
    const asked = await link.expect('PostMsgReq')
    link.reply(asked, { event: 'PostMsgAck', statuses: [[0], [], [1]], refused: [refusal] })
    await assert.rejects(sendings[1] as Promise<unknown>, { code: 'unknown-user', recipients: ['bob'] })
    assert.deepEqual(await sendings[0], [{ recipient: 'bob', status: 'online' }])
    assert.deepEqual(await sendings[2], [{ recipient: 'bob', status: 'stored' }])
  })

  const refusal = { message: 0, code: 27, retryAfter: 0, text: '', recipients: [] }
  for (const [how, answer] of Object.entries({
    'one status too few': { statuses: [[0]], refused: [] },
    'one status too many': { statuses: [[0, 0, 0]], refused: [] },
    'an unknown status': { statuses: [[0, 3]], refused: [] },
    'one message too few': { statuses: [], refused: [] },
    'one message too many': {
      statuses: [
        [0, 0],
        [0, 0],
      ],
      refused: [],
    },
    'two refusals of it': { statuses: [[]], refused: [refusal, refusal] },
    'the refusal of another message': { statuses: [[0, 0]], refused: [{ ...refusal, message: 1 }] },
  })) {
    it(`that is acknowledged with ${how} rejects, and ends the link`, async () => {
      await using server = new ScriptedServer()
      const sending = server.client().send(['bob', 'carol'], 'hi')
      const refused = assert.rejects(sending, { code: 'malformed', message: /unknown/u })
      const link = await server.registered()
      link.reply(await link.expect('PostMsgReq'), { event: 'PostMsgAck', ...answer })
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
    ['an id that is too short', 'usage', ['bob'], 'hi', { id: '07'.repeat(15) }],
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
    assert.deepEqual(texts(await link.expect('PostMsgReq')), ['next'])
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
