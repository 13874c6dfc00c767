import assert from 'node:assert/strict'
import { mkdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { commandEvents } from '../../bin/common/events.ts'
import { run } from '../support/commands.ts'
import { messagingBench } from '../support/messagingBench.ts'
import { published } from '../support/published.ts'
import { spec } from '../support/spec.ts'
import { escapeCode, terminals } from '../support/terminal.ts'

const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d`

/** Returns the text after each time. */
const withoutTimes = (stdout: string) => stdout.replace(new RegExp(`^${time} `, 'gmu'), '')

spec('osp listen', (it) => {
  it('prints each message once on every device that is known', async () => {
    await using chat = await messagingBench()
    const alice = await chat.client('alice')
    const printed = async (device: string) =>
      withoutTimes((await chat.osp('bob', ['listen', '--device', device, '-n', '1'])).stdout)
    await alice.send(['bob'], 'one')
    assert.equal(await printed('tablet'), 'alice one\n')
    await alice.send(['bob'], 'two')
    assert.equal(await printed('phone'), 'alice two\n')
    assert.equal(await printed('tablet'), 'alice two\n')
    await alice.send(['bob'], 'three')
    assert.equal(await printed('phone'), 'alice three\n')
    const { code, stderr } = await chat.osp('bob', ['listen', '--device', 'a/b'])
    assert.equal(code, 2)
    assert.match(stderr, /--device: .*it has a "\/"/u)
  })

  it('prints waiting messages, then new ones, and ends after --count', async () => {
    await using chat = await messagingBench()
    const alice = await chat.client('alice')
    await alice.send(['bob'], 'one')
    await alice.send(['bob'], 'two')
    await using listen = chat.begin('bob', ['listen', '--count', '3'])
    await listen.printed(/two\n/u)
    await (await chat.client('丁 二')).send(['bob'], 'three')
    assert.equal((await listen.ended).code, 0)
    assert.match(listen.stdout, new RegExp(`^${time} alice one\n${time} alice two\n${time} 丁 二 three\n$`, 'u'))
    assert.equal(listen.stderr, '')
  })

  it('acknowledges the printed messages, and none after --count', async () => {
    await using chat = await messagingBench()
    const alice = await chat.client('alice')
    for (const text of ['one', 'two', 'three', 'four']) await alice.send(['bob'], text)
    // A new state directory has no receipts: a message that is printed twice was not acknowledged.
    const printed = []
    for (const place of ['a', 'b']) {
      printed.push(await chat.osp('bob', ['listen', '--count', '2', '--state', `${chat.at.path}/${place}`]))
    }
    assert.deepEqual(
      printed.map(({ code, stdout }) => [code, withoutTimes(stdout).replace(/\(again\?\) /gu, '')]),
      [
        [0, 'alice one\nalice two\n'],
        [0, 'alice three\nalice four\n'],
      ],
    )
  })

  it('prints local times', async () => {
    await using chat = await messagingBench()
    await (await chat.client('alice')).send(['bob'], 'hi')
    await using listen = chat.begin('bob', ['listen', '--count', '1'], { TZ: 'Asia/Kolkata' })
    await listen.ended
    const [said = ''] = listen.stdout.split(' ')
    assert.match(said, /\+05:30$/u)
    assert.ok(Math.abs(Date.parse(said) - Date.now()) < 60_000, said)
  })

  it('escapes control characters', async () => {
    await using chat = await messagingBench()
    const nasty = `a${escapeCode}[2Jb\r\nc\u0007\u009B31md\u202Ee\u007F`
    const alice = await chat.client('alice')
    await alice.send(['bob'], nasty)
    await alice.send(['bob'], Uint8Array.of(0x41, 0xff, 0x9b, 0x42))
    const text = String.raw`a\u001b[2Jb\u000d\nc\u0007\u009b31md\u202ee\u007f`
    if (terminals) {
      await using listen = chat.beginOnTerminal('bob', ['listen', '--count', '2', '--state', `${chat.at.path}/other`])
      assert.equal((await listen.ended).code, 0)
      const shown = listen.stdout.replaceAll(new RegExp(`${escapeCode}\\[\\d+m`, 'gu'), '')
      assert.equal(withoutTimes(shown), `alice ${text}\r\nalice A\uFFFD\uFFFDB\r\n`)
      await alice.send(['bob'], nasty)
    }
    const { stdout } = await chat.osp('bob', ['listen', '--count', '1', '--json'])
    assert.ok(!/[\p{Cc}\u202E]/u.test(stdout.replaceAll('\n', '')), stdout)
    assert.equal(published(stdout, commandEvents.listen).at(-1)?.text, nasty)
  })

  it('prints all fields as JSON', async () => {
    await using chat = await messagingBench()
    const alice = await chat.client('alice')
    const id = '00102030405060708090a0b0c0d0e0f0'
    await alice.send(['bob'], 'hi\n丁', { id })
    await alice.send(['bob'], Uint8Array.of(0xff, 0))
    const { stdout } = await chat.osp('bob', ['listen', '--count', '2', '--json'])
    const [online, text, content, ...more] = published(stdout, commandEvents.listen)
    assert.equal(online?.event, 'online')
    const { sentAt, ...rest } = text ?? {}
    const named = { v: 1, event: 'message', seq: 1, id, from: 'alice' }
    assert.deepEqual(rest, {
      ...named,
      attempt: 1,
      headers: {},
      inReplyTo: null,
      file: null,
      saved: null,
      text: 'hi\n丁',
      content: null,
    })
    assert.ok(Math.abs(Date.parse(String(sentAt)) - Date.now()) < 60_000)
    assert.deepEqual([content?.seq, content?.text, content?.content], [2, null, '/wA='])
    assert.equal(more.length, 0)
  })

  it('reports a state directory that it cannot use, and receives no message', async () => {
    await using chat = await messagingBench()
    await chat.at.write('file', '')
    await (await chat.client('alice')).send(['bob'], 'hi')
    const { code, stdout, stderr } = await chat.osp('bob', ['listen', '--state', `${chat.at.path}/file`])
    assert.deepEqual({ code, stdout }, { code: 2, stdout: '' })
    assert.match(stderr, /^osp: --state .* is a file, not a directory; specify a directory$/mu)
  })

  it('acknowledges no message that it cannot record, and says so', async () => {
    await using chat = await messagingBench()
    const alice = await chat.client('alice')
    await alice.send(['bob'], 'one')
    await alice.send(['bob'], 'two')
    const blocked = join(chat.at.path, 'state', chat.server.address.replace(':', '_'), 'bob', 'receipts.new')
    await mkdir(blocked, { recursive: true })
    await using listen = chat.begin('bob', ['listen', '--count', '1', '--state', join(chat.at.path, 'state')])
    await listen.printed(/^osp: cannot record the handled message; retrying: /mu)
    assert.equal(withoutTimes(listen.stdout), 'alice one\n')
    await rmdir(blocked)
    assert.equal((await listen.ended).code, 0)
    assert.equal(withoutTimes(listen.stdout), 'alice one\n')
    const next = await chat.osp('bob', ['listen', '--count', '1', '--state', join(chat.at.path, 'state')])
    assert.equal(withoutTimes(next.stdout).replace('(again?) ', ''), 'alice two\n')
  })

  it('takes no operand, and no count of 0', async () => {
    const { code, stderr } = await run('osp', ['listen', 'bob'])
    assert.equal(code, 2)
    assert.match(stderr, /^osp: osp listen without --exec takes no operand bob$/mu)
    assert.match(
      (await run('osp', ['listen', '--count', '0'])).stderr,
      /--count cannot be "0": it takes a whole number/u,
    )
  })
})

spec('osp listen ends', (it) => {
  it('at Ctrl-C with exit code 130', async () => {
    await using chat = await messagingBench()
    await using listen = chat.begin('bob', ['listen'])
    await chat.isOnline('bob')
    listen.child.kill('SIGINT')
    assert.equal((await listen.ended).code, 130)
    assert.deepEqual([listen.stdout, listen.stderr], ['', ''])
    await chat.isOnline('bob', false)
  })

  it('when another program of the user listens, and says so', async () => {
    await using chat = await messagingBench()
    await using first = chat.begin('bob', ['listen'])
    await chat.isOnline('bob')
    await using second = chat.begin('bob', ['listen', '--state', `${chat.at.path}/second`])
    assert.equal((await first.ended).code, 1)
    assert.equal(first.stderr, 'osp: another program of the same user is now listening\n')
    await (await chat.client('alice')).send(['bob'], 'hi')
    await second.printed(/alice hi/u)
  })

  it('when its output has no reader, and leaves unprinted messages to the next one', async () => {
    await using chat = await messagingBench()
    const alice = await chat.client('alice')
    await using listen = chat.begin('bob', ['listen'])
    await alice.send(['bob'], 'one')
    await listen.printed(/one\n/u)
    listen.child.stdout?.destroy()
    await alice.send(['bob'], 'two')
    assert.equal((await listen.ended).code, 1)
    assert.equal(listen.stderr, 'osp: not all results could be printed: the reader closed the pipe\n')
    await alice.send(['bob'], 'three')
    const { stdout } = await chat.osp('bob', ['listen', '--count', '2'])
    assert.match(withoutTimes(stdout), /^alice \(again\?\) two\nalice (?:\(again\?\) )?three\n$/u)
  })

  it('when there is no server for too long, with exit code 3', async () => {
    await using chat = await messagingBench()
    await chat.server.server.close()
    const { code, stderr } = await chat.osp('bob', ['listen', '--retry-for', '300ms'])
    assert.equal(code, 3)
    assert.match(stderr, /^osp: waiting for .*\nosp: gave up on .*: nothing listens there.*\n$/u)
    const json = await chat.osp('bob', ['listen', '--retry-for', '0', '--json'])
    assert.equal(published(json.stdout, commandEvents.listen).at(-1)?.code, 'unreachable')
  })
})
