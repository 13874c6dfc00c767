import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Client, connect, type Storage } from 'ospd'
import { memory } from 'ospd/memory'
import { tcp } from 'ospd/node'
import { type Daemon, daemon, events, place, start } from '../support/commands.ts'
import { type MessagingBench, messagingBench } from '../support/messagingBench.ts'
import { spec } from '../support/spec.ts'

/** Returns the texts of the printed lines, each with its `(again?)`. */
const said = (stdout: string) =>
  stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => line.replace(/^\S+ alice /u, ''))

async function sendAll(alice: Client, texts: readonly string[]): Promise<void> {
  await Promise.all(texts.map((text) => alice.send(['bob'], text)))
}

/** More bytes than a pipe can hold. */
const manyTexts = Array.from({ length: 300 }, (_, at) => `${at} ${'x'.repeat(4_000)}`)

/** Resolves when some, but not all, messages are acknowledged, and no more for a while. */
async function stuck({ mailboxes }: Storage): Promise<void> {
  for (let before = manyTexts.length; ; await pause(1_000)) {
    const [{ messages = 0 } = {}] = await mailboxes.levels()
    if (messages === before && messages < manyTexts.length) return
    before = messages
  }
}

/** Prints the remaining messages of bob, whose state may record all of them as printed: `last` ends it. */
async function printRest(chat: MessagingBench, last: string): Promise<readonly string[]> {
  await using listen = chat.begin('bob', ['listen'])
  await listen.printed(new RegExp(`alice (?:\\(again\\?\\) )?${last}\n`, 'u'))
  await listen.kill('SIGINT')
  return said(listen.stdout)
}

spec('osp listen that is killed', (it) => {
  it('prints every message, and marks messages that it may print twice', async () => {
    await using chat = await messagingBench()
    const alice = await chat.client('alice')
    const texts = Array.from({ length: 400 }, (_, at) => `message ${at}`)
    const printed: string[] = []
    await sendAll(alice, texts.slice(0, 100))
    for (let round = 1; round <= 4; round++) {
      await using listen = chat.begin('bob', ['listen'])
      const sent = sendAll(alice, texts.slice(round * 100, round * 100 + 100))
      await listen.printed(new RegExp(`message ${round * 100 - 1 - randomInt(90)}\n`, 'u'))
      await listen.kill()
      printed.push(...said(listen.stdout))
      await sent
    }
    await alice.send(['bob'], 'last')
    printed.push(...(await printRest(chat, 'last')))
    const fresh = printed.filter((text) => !text.startsWith('(again?) '))
    assert.equal(new Set(fresh).size, fresh.length, 'a message was printed twice without a mark')
    const all = printed.map((text) => text.replace('(again?) ', ''))
    assert.deepEqual(new Set(all), new Set([...texts, 'last']))
    // For each listener at most the one message that it was about to record.
    assert.ok(all.length <= texts.length + 1 + 4, `${all.length} lines for ${texts.length + 1} messages`)
  })
})

spec('osp listen whose output is not read', (it) => {
  it('waits, receives only the messages that it can print, and loses none', async () => {
    const storage = memory()
    await using chat = await messagingBench({ storage })
    const alice = await chat.client('alice')
    await using listen = chat.begin('bob', ['listen', '--count', '300'])
    listen.child.stdout?.pause()
    await chat.isOnline('bob')
    await sendAll(alice, manyTexts)
    const [level] = await storage.mailboxes.levels()
    assert.ok(level && level.messages > 0, 'it has acknowledged what was not printed')
    listen.child.stdout?.resume()
    assert.equal((await listen.ended).code, 0)
    assert.deepEqual(said(listen.stdout), manyTexts)
  })
})

spec('osp listen that is interrupted', (it) => {
  it('ends also if its output has no reader', async () => {
    const storage = memory()
    await using chat = await messagingBench({ storage })
    const alice = await chat.client('alice')
    await using listen = chat.begin('bob', ['listen'])
    listen.child.stdout?.pause()
    await chat.isOnline('bob')
    await sendAll(alice, manyTexts)
    await stuck(storage)
    listen.child.kill('SIGINT')
    const [code] = await once(listen.child, 'exit')
    assert.equal(code, 130)
  })
})

spec('osp listen whose server goes away', (it) => {
  const aliceAt = ({ port }: Daemon) => connect(tcp({ port }), { user: 'alice' })

  it('reports that once, reconnects, and continues to print', async () => {
    await using at = await place()
    const data = join(at.path, 'data')
    await using first = await daemon(data)
    const flags = ['--server', first.server, '--user', 'bob', '--state', join(at.path, 'state')]
    await using listen = start('osp', ['listen', ...flags])
    {
      await using alice = await aliceAt(first)
      await alice.send(['bob'], 'one')
    }
    await listen.printed(/alice one\n/u)
    await first.kill()
    await listen.printed(/^osp: waiting for /mu)
    await using second = await daemon(data, ['--port', `${first.port}`])
    await listen.printed(/^osp: connected to /mu)
    await using alice = await aliceAt(second)
    await alice.send(['bob'], 'two')
    await listen.printed(/alice two\n/u)
    assert.deepEqual(said(listen.stdout), ['one', 'two'])
    assert.equal(listen.stderr.split('\n').length, 3)
  })

  it('marks messages that waited during a restart of the server, which no longer knows how often it sent them', async () => {
    await using at = await place()
    const data = join(at.path, 'data')
    await using first = await daemon(data)
    {
      await using alice = await aliceAt(first)
      await alice.send(['bob'], 'hi')
    }
    await first.kill()
    await using second = await daemon(data)
    const flags = ['--server', second.server, '--user', 'bob', '--count', '1']
    await using text = start('osp', ['listen', ...flags, '--state', join(at.path, 'a')])
    await text.ended
    assert.deepEqual(said(text.stdout), ['(again?) hi'])
    {
      await using alice = await aliceAt(second)
      await alice.send(['bob'], 'new')
    }
    await using json = start('osp', ['listen', ...flags, '--state', join(at.path, 'b'), '--json'])
    await json.ended
    assert.deepEqual(
      events(json.stdout)
        .slice(1)
        .map(({ text, attempt }) => [text, attempt]),
      [['new', 1]],
    )
  })
})
