import assert from 'node:assert/strict'
import { disk } from '../../lib/adapters/disk/disk.ts'
import type { Message } from '../../lib/client/messages/message.ts'
import { connect, type ServeOptions, serve } from '../../lib/index.ts'
import { memory, memoryTransport } from '../../lib/memory.ts'
import { place } from '../support/commands.ts'
import { spec } from '../support/spec.ts'

/** A server in this process, and clients of it. */
async function rigWith(options: Partial<ServeOptions> = {}) {
  const listen = memoryTransport()
  const server = await serve({ listen, storage: memory(), ...options })
  return {
    server,
    connect: (user: string) => connect(listen, { user }),
    [Symbol.asyncDispose]: () => server.close(),
  }
}

type Rig = Awaited<ReturnType<typeof rigWith>>

/** Resolves with the next `count` messages of a user, who begins to listen. */
async function receivedBy(rig: Rig, user: string, count: number): Promise<Message[]> {
  await using client = await rig.connect(user)
  const received: Message[] = []
  for await (const message of client.messages()) if (received.push(message) === count) break
  return received
}

const textsOf = (messages: readonly Message[]) => messages.map((message) => message.text())

spec('a message that the embedding program sends', (it) => {
  it('has the sender, the parts and the content that the program has specified, and each recipient gets it', async () => {
    await using rig = await rigWith()
    const inReplyTo = 'ab'.repeat(16)
    const sent = rig.server.send('bot', ['alice', 'bob', 'bob'], 'hello', { headers: { topic: 'a' }, inReplyTo })
    assert.equal(await sent, undefined)
    for (const user of ['alice', 'bob']) {
      const [message] = await receivedBy(rig, user, 1)
      assert.deepEqual(
        [message?.from, message?.text(), message?.headers, message?.inReplyTo, message?.attempt],
        ['bot', 'hello', { topic: 'a' }, inReplyTo, 1],
      )
    }
  })

  it('is delivered at once to a recipient that listens, in the order of the calls', async () => {
    await using rig = await rigWith()
    const receiving = receivedBy(rig, 'alice', 100)
    const texts = Array.from({ length: 100 }, (_, number) => `${number}`)
    await Promise.all(texts.map((text) => rig.server.send('bot', ['alice'], text)))
    assert.deepEqual(textsOf(await receiving), texts)
  })

  it('is stored once for its id, and is refused with other content', async () => {
    await using rig = await rigWith()
    const id = '01'.repeat(16)
    for (let times = 0; times < 2; times++) await rig.server.send('bot', ['alice'], 'once', { id })
    await assert.rejects(rig.server.send('bot', ['alice'], 'other', { id }), { code: 'id-reused' })
    assert.deepEqual(await rig.server.mailboxes(), [{ user: 'alice', messages: 1, bytes: 5 }])
    assert.equal((await receivedBy(rig, 'alice', 1))[0]?.id, id)
  })

  it('expires as a message of a client does', async () => {
    await using rig = await rigWith()
    await rig.server.send('bot', ['alice'], 'old', { timeToLiveMs: 0 })
    await rig.server.send('bot', ['alice'], 'new')
    assert.deepEqual(textsOf(await receivedBy(rig, 'alice', 1)), ['new'])
  })

  it('is durable when it is acknowledged', async () => {
    await using at = await place()
    const data = `${at.path}/data`
    {
      await using rig = await rigWith({ storage: disk(data) })
      await rig.server.send('bot', ['alice'], 'kept')
    }
    await using rig = await rigWith({ storage: disk(data) })
    assert.deepEqual(textsOf(await receivedBy(rig, 'alice', 1)), ['kept'])
  })

  it('is subject to the limits of a message of a client', async () => {
    const known = {
      authenticate: async ({ user }: { user: string }) => ({ user }),
      knows: async (user: string) => user !== 'nobody',
    }
    await using rig = await rigWith({ authenticator: known, limits: { mailboxMessages: 2 } })
    const { server } = rig
    const users = Array.from({ length: 17 }, (_, number) => `user${number}`)
    await assert.rejects(server.send('bot', users, ''), { code: 'too-many-recipients' })
    await assert.rejects(server.send('bot', ['alice', 'nobody'], ''), { code: 'unknown-user', recipients: ['nobody'] })
    await assert.rejects(server.send('bot', ['a/b'], ''), { code: 'bad-name' })
    await assert.rejects(server.send('', ['alice'], ''), { code: 'bad-name' })
    await assert.rejects(server.send('bot', ['alice'], new Uint8Array(65_537)), { code: 'too-large' })
    await assert.rejects(server.send('bot', [], ''), { code: 'usage' })
    await assert.rejects(server.send('bot', ['alice'], '', { id: 'short' }), { code: 'usage' })
    await server.send('bot', ['alice'], '')
    await server.send('other', ['alice'], '')
    const full = server.send('bot', ['alice'], '')
    await assert.rejects(full, { code: 'mailbox-full', recipients: ['alice'] })
  })

  it('is refused after the server is closed', async () => {
    const rig = await rigWith()
    await rig.server.close()
    await assert.rejects(rig.server.send('bot', ['alice'], ''), { code: 'closed', message: 'the server was closed' })
  })
})
