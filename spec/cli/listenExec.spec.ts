import assert from 'node:assert/strict'
import { chmodSync, existsSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LogEntry } from 'ospd'
import { commandEvents } from '../../bin/common/events.ts'
import { place, run } from '../support/commands.ts'
import { freePort } from '../support/freePort.ts'
import { type MessagingBench, messagingBench } from '../support/messagingBench.ts'
import { published } from '../support/published.ts'
import { spec } from '../support/spec.ts'
import { turns } from '../support/turns.ts'

/** Writes a shell script. Resolves with its path. */
async function script(chat: MessagingBench, ...lines: string[]): Promise<string> {
  await chat.at.write('program', ['#!/bin/sh', ...lines, ''].join('\n'))
  const path = `${chat.at.path}/program`
  chmodSync(path, 0o755)
  return path
}

const read = (chat: MessagingBench, name: string) =>
  existsSync(`${chat.at.path}/${name}`) ? readFileSync(`${chat.at.path}/${name}`, 'utf8') : ''

/** Resolves with the number of messages in the mailbox of bob. */
async function waiting({ server }: MessagingBench): Promise<number> {
  const [level] = await server.server.mailboxes()
  return level?.messages ?? 0
}

const eventsOf = (stdout: string, event: string) =>
  published(stdout, commandEvents.listen).filter((line) => line.event === event)

spec('osp listen --exec', (it) => {
  it('runs the program once for each message, with the message as JSON on stdin and in variables', async () => {
    await using chat = await messagingBench()
    const alice = await chat.client('alice')
    await alice.send(['bob'], 'hi\n丁', { headers: { a: 'b' } })
    await alice.send(['bob'], '2')
    const program = await script(
      chat,
      `cat >> '${chat.at.path}/input'`,
      'echo "$OSP_FROM $OSP_SEQ $OSP_ATTEMPT $1"',
      `echo "$OSP_ID $OSP_SENT_AT" >> '${chat.at.path}/variables'`,
    )
    const { code, stdout, stderr } = await chat.osp('bob', ['listen', '--json', '-n2', '--exec', program, '--', '-x'])
    assert.deepEqual([code, stderr], [0, ''])
    const handled = eventsOf(stdout, 'handled')
    assert.deepEqual(
      handled.map(({ result }) => result),
      ['alice 1 1 -x', 'alice 2 1 -x'],
    )
    const given = published(read(chat, 'input'), commandEvents.listen)
    assert.deepEqual(
      given.map(({ event, seq, from, attempt, text, headers }) => [event, seq, from, attempt, text, headers]),
      [
        ['message', 1, 'alice', 1, 'hi\n丁', { a: 'b' }],
        ['message', 2, 'alice', 1, '2', {}],
      ],
    )
    const variables = given.map(({ id, sentAt }) => `${id} ${sentAt}\n`).join('')
    assert.equal(read(chat, 'variables'), variables)
    // Both are acknowledged.
    assert.deepEqual(await waiting(chat), 0)
  })

  it('prints time, sender and result, which is cut at 4 KiB, and passes stderr on', async () => {
    await using chat = await messagingBench()
    await (await chat.client('alice')).send(['bob'], 'hi')
    const program = await script(chat, 'echo note >&2', 'head -c 100000 /dev/zero | tr "\\0" x')
    const { code, stdout, stderr } = await chat.osp('bob', ['listen', '-n1', '--exec', program])
    assert.deepEqual([code, stderr], [0, 'note\n'])
    assert.match(stdout, /^\S+ alice x{4096}\n$/u)
  })

  it('runs the program again after a failure, before later messages, and sets the message aside after --tries', async () => {
    const log: LogEntry[] = []
    await using chat = await messagingBench({ log: (entry) => log.push(entry) })
    const alice = await chat.client('alice')
    for (const text of ['bad', 'good']) await alice.send(['bob'], text)
    const program = await script(chat, 'case $OSP_SEQ$OSP_ATTEMPT in 11) exit 3;; 1*) kill -9 $$;; esac')
    const line = ['listen', '--json', '-n1', '--tries', '2', '--exec', program]
    const { code, stdout } = await chat.osp('bob', line)
    const lines = published(stdout, commandEvents.listen).map(({ event, seq, attempt, exitCode, signal }) => [
      ...[event, seq, attempt, exitCode, signal],
    ])
    assert.deepEqual(lines, [
      ['online', undefined, undefined, undefined, undefined],
      ['retried', 1, 1, 3, null],
      ['set-aside', 1, 2, null, 'SIGKILL'],
      ['handled', 2, 1, undefined, undefined],
    ])
    assert.equal(code, 0)
    const refused = log.filter(({ event }) => event === 'message-set-aside')
    assert.deepEqual(
      refused.map(({ seq, text }) => [seq, text]),
      [[1, `${program} was ended by SIGKILL`]],
    )
  })

  it('runs up to --concurrency programs at once', async () => {
    await using chat = await messagingBench()
    const alice = await chat.client('alice')
    for (const text of ['1', '2']) await alice.send(['bob'], text)
    // Each waits for the other.
    const [own, other] = [`${chat.at.path}/m$OSP_SEQ`, `${chat.at.path}/m$((3 - OSP_SEQ))`]
    const program = await script(chat, `touch "${own}"`, `until [ -e "${other}" ]; do sleep 0.01; done`)
    assert.equal((await chat.osp('bob', ['listen', '-n2', '--concurrency', '2', '--exec', program])).code, 0)
  })

  it('handles no more than --count messages besides those that are set aside, whatever --concurrency is', async () => {
    await using chat = await messagingBench()
    const alice = await chat.client('alice')
    for (let sent = 0; sent < 8; sent++) await alice.send(['bob'], `${sent}`)
    const program = await script(chat, `echo $OSP_SEQ >> '${chat.at.path}/runs'`, 'sleep 0.1', '[ $OSP_SEQ != 1 ]')
    const listen = ['listen', '-n4', '--concurrency', '3', '--tries', '1', '--exec', program]
    assert.equal((await chat.osp('bob', listen)).code, 0)
    assert.deepEqual(read(chat, 'runs').trim().split('\n').sort(), ['1', '2', '3', '4', '5'])
  })

  it('sets a message aside at once if the program exits with 65, and tells the sender why', async () => {
    await using chat = await messagingBench()
    const sending = chat.osp('alice', ['msg', '--receipt', 'bob', 'x'])
    const program = await script(chat, `echo >> '${chat.at.path}/runs'`, 'echo no such account', 'exit 65')
    await using listen = chat.begin('bob', ['listen', '--exec', program])
    assert.match((await sending).stdout, /^bob rejected no such account$/mu)
    await listen.printed(/exited with 65 for message 1 from alice; the message is set aside$/mu)
    assert.equal(read(chat, 'runs'), '\n')
  })

  for (const times of [1, 2]) {
    it(`${times === 1 ? 'ends after the running program at' : 'kills the running program at a second'} SIGTERM`, async () => {
      await using chat = await messagingBench()
      const alice = await chat.client('alice')
      for (const text of ['1', '2']) await alice.send(['bob'], text)
      const at = (name: string) => `${chat.at.path}/${name}`
      const program = await script(
        chat,
        `echo $OSP_SEQ >> '${at('runs')}'`,
        `until [ -e '${at('go')}' ]; do sleep 0.01; done`,
        `echo $OSP_SEQ >> '${at('ends')}'`,
      )
      const listen = chat.begin('bob', ['listen', '--exec', program])
      await turns(() => read(chat, 'runs') !== '')
      for (let time = 0; time < times; time++) {
        listen.child.kill('SIGTERM')
        await sleep(100)
      }
      if (times === 2) assert.equal((await listen.ended).code, 130)
      await chat.at.write('go', '')
      assert.equal((await listen.ended).code, 130)
      await sleep(100)
      assert.deepEqual([read(chat, 'runs'), read(chat, 'ends')], ['1\n', times === 1 ? '1\n' : ''])
      assert.equal(await waiting(chat), times === 1 ? 1 : 2)
    })
  }

  it('exits with 2 if the program cannot be started, and leaves the message on the server', async () => {
    await using chat = await messagingBench()
    await (await chat.client('alice')).send(['bob'], 'hi')
    const { code, stdout, stderr } = await chat.osp('bob', ['listen', '--exec', `${chat.at.path}/missing`])
    assert.deepEqual([code, stdout], [2, ''])
    assert.match(stderr, /^osp: --exec cannot run \S+missing: it does not exist; check the path$/mu)
    assert.equal(await waiting(chat), 1)
  })

  it('exits with 2 before the first message if spawn would not find the program', async () => {
    await using at = await place()
    await at.write('plain', '')
    await at.write('bin/run', '#!/bin/sh\n')
    chmodSync(`${at.path}/bin/run`, 0o755)
    const env = { PATH: `${process.env.PATH}:${at.path}:${at.path}/bin`, OSP_SERVER: `127.0.0.1:${await freePort()}` }
    const listen = (program: string) =>
      run('osp', ['listen', '--retry-for', '0', '--exec', program], { env, cwd: at.path })
    const wrong: readonly (readonly [program: string, reason: RegExp])[] = [
      ['./missing', /^osp: --exec cannot run \.\/missing: it does not exist; check the path$/mu],
      ['missing', /^osp: --exec cannot run missing: it is not in PATH; .*, specify \.\/missing$/mu],
      ['plain', /^osp: --exec cannot run plain: permission denied; /mu],
      ['./bin', /^osp: --exec cannot run \.\/bin: it is a directory; /mu],
    ]
    for (const [program, reason] of wrong) {
      const { code, stderr } = await listen(program)
      assert.equal(code, 2)
      assert.match(stderr, reason)
    }
    for (const program of ['run', './bin/run']) assert.equal((await listen(program)).code, 3)
  })

  it('takes operands and options only with a program', async () => {
    await using chat = await messagingBench()
    for (const args of [['x'], ['--tries', '2'], ['--concurrency', '2'], ['--exec', 'true', '--concurrency', '257']])
      assert.equal((await chat.osp('bob', ['listen', ...args])).code, 2)
  })
})
