import assert from 'node:assert/strict'
import type { Message } from 'ospd'
import { loopbackOnly, rememberNames } from 'ospd/node'
import { commandEvents } from '../../bin/common/events.ts'
import { run } from '../support/commands.ts'
import { type MessagingBench, messagingBench } from '../support/messagingBench.ts'
import { published } from '../support/published.ts'
import { spec } from '../support/spec.ts'

/** Resolves with the next `count` messages of a user. */
async function received(chat: MessagingBench, user: string, count: number): Promise<readonly Message[]> {
  const messages: Message[] = []
  const client = await chat.client(user)
  const receiver = client.receive((message) => {
    messages.push(message)
    if (messages.length === count) void receiver[Symbol.asyncDispose]()
  })
  await receiver.done
  return messages
}

spec('osp msg', (it) => {
  it('prints for each recipient whether a program is listening or the message waits', async () => {
    await using chat = await messagingBench()
    const bob = await chat.client('bob')
    bob.receive(() => {})
    await chat.isOnline('bob')
    const outcome = await chat.osp('alice', ['msg', 'bob', 'carol', 'hi'])
    assert.deepEqual(outcome, { code: 0, stdout: 'bob online\ncarol stored\n', stderr: '' })
    const [message] = await received(chat, 'carol', 1)
    assert.deepEqual([message?.from, message?.text()], ['alice', 'hi'])
  })

  it('reports a name that has never logged in: the text may lack quotes', async () => {
    await using chat = await messagingBench({ authenticator: rememberNames(loopbackOnly()) })
    await chat.client('bob').then((bob) => bob.online())
    const { code, stdout, stderr } = await chat.osp('alice', ['msg', 'bob', 'lunch', 'today?'])
    assert.deepEqual([code, stdout], [0, 'bob stored\nlunch stored\n'])
    const yet = 'no user lunch has logged in to this server yet; the message waits for that user'
    assert.equal(stderr, `osp: ${yet}; enclose text of several words in quotes\n`)
    const sent = published((await chat.osp('alice', ['msg', 'lunch', 'hi', '--json'])).stdout, commandEvents.msg).at(-1)
    assert.deepEqual([sent?.recipient, sent?.status], ['lunch', 'unseen'])
    await using _ = chat.begin('bob', ['listen'])
    await chat.isOnline('bob')
    const { stderr: near } = await chat.osp('alice', ['msg', 'bobb', 'hi'])
    assert.equal(near, `osp: ${yet.replace('lunch', 'bobb')}; did you mean bob?\n`)
  })

  it('sends one message to a recipient that is named twice', async () => {
    await using chat = await messagingBench()
    assert.equal((await chat.osp('alice', ['msg', 'bob', 'carol', 'bob', 'hi'])).stdout, 'bob stored\ncarol stored\n')
  })

  it('adds headers and a time to live', async () => {
    await using chat = await messagingBench()
    const header = ['--header', 'a=b=c', '--header', 'contentType=text/plain']
    assert.equal((await chat.osp('alice', ['msg', ...header, '--ttl', '1ms', 'bob', 'late'])).code, 0)
    assert.equal((await chat.osp('alice', ['msg', ...header, '--ttl', '1h', 'bob', 'hi'])).code, 0)
    const [message] = await received(chat, 'bob', 1)
    assert.deepEqual([message?.text(), message?.headers], ['hi', { a: 'b=c', contentType: 'text/plain' }])
    const twice = await chat.osp('alice', ['msg', '--header', 'a=1', '--header', 'a=2', 'bob', 'hi'])
    assert.deepEqual(
      [twice.code, twice.stderr.split('\n')[0]],
      [2, 'osp: --header specifies the key a twice; specify it once'],
    )
  })

  it('sends a text unchanged', async () => {
    await using chat = await messagingBench()
    const texts = ['help', 'completion', 'send', '3.10', '"q"', ' a\n丁😀\t', '']
    for (const text of texts) assert.equal((await chat.osp('alice', ['msg', 'bob', text])).code, 0, text)
    assert.equal((await chat.osp('alice', ['msg', 'bob', '--', '--user'])).code, 0)
    const messages = await received(chat, 'bob', texts.length + 1)
    assert.deepEqual(
      messages.map((message) => message.text()),
      [...texts, '--user'],
    )
  })

  it('sends the content of stdin unchanged', async () => {
    await using chat = await messagingBench()
    const begun = chat.begin('alice', ['msg', 'bob', '-'])
    const content = Buffer.from(Array.from({ length: 65_536 }, (_, at) => at % 251))
    begun.child.stdin?.end(content)
    assert.equal((await begun.ended).code, 0)
    const [message] = await received(chat, 'bob', 1)
    assert.ok(message && content.equals(message.content))
  })

  it('rejects a message that is too long before it sends it', async () => {
    await using chat = await messagingBench()
    for (const [text, input] of [
      ['-', 'x'.repeat(65_537)],
      ['丁'.repeat(22_000), ''],
    ] as const) {
      const { code, stdout, stderr } = await chat.osp('alice', ['msg', 'bob', text], input)
      assert.deepEqual({ code, stdout }, { code: 1, stdout: '' })
      assert.equal(stderr, 'osp: the message was not sent: a message has at most 64 KiB; send a file with "osp send"\n')
    }
  })

  it('prints the result as JSON', async () => {
    await using chat = await messagingBench()
    const { stdout } = await chat.osp('alice', ['msg', 'bob', 'carol', 'hi', '--json'])
    const [online, ...sent] = published(stdout, commandEvents.msg)
    assert.equal(online?.event, 'online')
    assert.deepEqual(
      sent,
      ['bob', 'carol'].map((recipient) => ({ v: 1, event: 'sent', id: sent[0]?.id, recipient, status: 'stored' })),
    )
  })
})

spec('osp msg is used wrongly', (it) => {
  const usage = async (args: readonly string[], message: RegExp) => {
    const { code, stdout, stderr } = await run('osp', ['msg', ...args])
    assert.deepEqual({ code, stdout }, { code: 2, stdout: '' })
    assert.match(stderr, message)
  }

  it('without operands', () => usage([], /^osp: specify a RECIPIENT and a TEXT$/mu))

  it('without a text', () =>
    usage(['bob'], /^osp: specify a TEXT after the RECIPIENT, or - to read the text from stdin$/mu))

  it('with an invalid recipient', () =>
    usage(['bob', 'a/b', 'hi'], /^osp: RECIPIENT: the user name "a\/b" is not allowed/mu))

  it('with a flag that does not exist', () =>
    usage(['bob', 'hi', '--sevrer', 'x'], /^osp: unknown flag --sevrer; did you mean --server\?$/mu))
})
