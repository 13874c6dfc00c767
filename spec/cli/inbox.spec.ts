import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { commandEvents } from '../../bin/common/events.ts'
import { encodeBody } from '../../lib/wire/messageBody.ts'
import { start } from '../support/commands.ts'
import { hostileServer } from '../support/hostileServer.ts'
import { messagingBench } from '../support/messagingBench.ts'
import { published } from '../support/published.ts'
import { spec } from '../support/spec.ts'

const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d`

spec('osp inbox', (it) => {
  it('stops listing when the reader closes its output', async () => {
    const body = encodeBody({}, new Uint8Array(6_000))
    await using server = await hostileServer(({ message, reply }) => {
      if (message.event !== 'ListMsgReq') return true
      const { afterSeq } = message
      const messages = Array.from({ length: 16 }, (_, at) => ({
        ...{ mailboxSeq: afterSeq + at + 1, sender: 'alice', messageId: new Uint8Array(16), sentAt: 0, body },
      }))
      reply({ event: 'ListMsgAck', messages })
      return false
    })
    await using inbox = start('osp', ['inbox', '--server', `127.0.0.1:${server.port}`])
    await once(inbox.child.stdout as Readable, 'data')
    inbox.child.stdout?.destroy()
    assert.deepEqual([(await inbox.ended).code, inbox.stderr], [1, ''])
  })

  it('lists waiting messages without removing them, even while a program is listening', async () => {
    await using chat = await messagingBench()
    const alice = await chat.client('alice')
    await alice.send(['bob'], 'one\ntwo', { headers: { a: 'b' } })
    await alice.send(['bob'], Uint8Array.of(0xff))
    for (const args of [[], ['--json']]) {
      const { code, stdout, stderr } = await chat.osp('bob', ['inbox', ...args])
      assert.deepEqual([code, stderr], [0, ''])
      if (args.length === 0) {
        assert.match(stdout, new RegExp(`^1 ${time} alice one\\\\ntwo\n2 ${time} alice \uFFFD\n$`, 'u'))
        continue
      }
      const messages = published(stdout, commandEvents.inbox).filter(({ event }) => event === 'message')
      assert.deepEqual(
        messages.map(({ seq, from, text, content, headers, setAside }) => [
          seq,
          from,
          text,
          content,
          headers,
          setAside,
        ]),
        [
          [1, 'alice', 'one\ntwo', null, { a: 'b' }, false],
          [2, 'alice', null, '/w==', {}, false],
        ],
      )
    }
    const bob = await chat.client('bob')
    const messages = bob.messages({ ack: 'manual' })
    await messages.next()
    assert.equal((await chat.osp('bob', ['inbox'])).stdout.split('\n').length, 3)
    assert.ok(chat.server.server.status().online.some(({ user }) => user === 'bob'))
  })

  it('lists messages that were set aside, and returns them to the mailbox', async () => {
    await using chat = await messagingBench()
    const alice = await chat.client('alice')
    for (const text of ['one', 'two', 'three']) await alice.send(['bob'], text)
    const failing = ['listen', '--exec', 'false', '--tries', '1', '-q']
    await using listen = chat.begin('bob', failing)
    await listen.printed(/message 3 from alice/u)
    await listen.kill('SIGTERM')
    assert.equal((await chat.osp('bob', ['inbox'])).stdout, '')
    const aside = await chat.osp('bob', ['inbox', '--set-aside'])
    assert.match(aside.stdout, new RegExp(`^1 ${time} alice one\n2 ${time} alice two\n3 ${time} alice three\n$`, 'u'))
    assert.equal((await chat.osp('bob', ['inbox', '--return', '2'])).stdout, 'returned 2\n')
    assert.equal((await chat.osp('bob', ['inbox', '--remove', '1'])).stdout, 'removed 1\n')
    const all = published((await chat.osp('bob', ['inbox', '--return', '--all', '--json'])).stdout, commandEvents.inbox)
    assert.deepEqual(
      all.map(({ event, seq }) => [event, seq]),
      [
        ['online', undefined],
        ['returned', 3],
      ],
    )
    assert.equal((await chat.osp('bob', ['inbox', '--set-aside'])).stdout, '')
    const handled = await chat.osp('bob', ['listen', '-n2', '--json', '--exec', 'true'])
    assert.deepEqual(
      published(handled.stdout, commandEvents.listen).map(({ event, seq }) => [event, seq]),
      [
        ['online', undefined],
        ['handled', 4],
        ['handled', 5],
      ],
    )
  })

  it('removes only messages that were set aside with --set-aside or --all', async () => {
    await using chat = await messagingBench()
    const alice = await chat.client('alice')
    await alice.send(['bob'], 'one')
    await using listen = chat.begin('bob', ['listen', '--exec', 'false', '--tries', '1'])
    await listen.printed(/is set aside/u)
    await listen.kill('SIGTERM')
    await alice.send(['bob'], 'two')
    const waiting = await chat.osp('bob', ['inbox', '--set-aside', '--remove', '2'])
    assert.deepEqual([waiting.code, waiting.stderr], [1, 'osp: the mailbox has no message 2 that was set aside\n'])
    const all = await chat.osp('bob', ['inbox', '--set-aside', '--remove', '--all'])
    assert.deepEqual(all, { code: 0, stdout: 'removed 1\n', stderr: '' })
    const none = await chat.osp('bob', ['inbox', '--remove', '--all'])
    assert.deepEqual(none, { code: 0, stdout: '', stderr: 'osp: no messages were set aside\n' })
    assert.match((await chat.osp('bob', ['inbox'])).stdout, /^2 .* two\n$/u)
  })

  it('changes nothing if one of the messages does not exist', async () => {
    await using chat = await messagingBench()
    await (await chat.client('alice')).send(['bob'], 'hi')
    const returned = await chat.osp('bob', ['inbox', '--return', '1', '7'])
    assert.deepEqual(returned, {
      code: 1,
      stdout: '',
      stderr: 'osp: the mailbox has no messages 1, 7 that were set aside\n',
    })
    const removed = await chat.osp('bob', ['inbox', '--remove', '1', '7'])
    assert.deepEqual(removed, { code: 1, stdout: '', stderr: 'osp: the mailbox has no message 7\n' })
    assert.match((await chat.osp('bob', ['inbox'])).stdout, /^1 /u)
  })

  it('rejects invalid flags and operands', async () => {
    await using chat = await messagingBench()
    const wrong = [
      ['1'],
      ['--all'],
      ['--return'],
      ['--return', '--remove', '1'],
      ['--return', '--all', '1'],
      ['--remove', 'x'],
      ['--remove', '0'],
      ['--set-aside', '1'],
    ]
    for (const args of wrong) assert.equal((await chat.osp('bob', ['inbox', ...args])).code, 2, `${args}`)
  })
})
