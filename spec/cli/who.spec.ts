import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { commandEvents } from '../../bin/common/events.ts'
import { daemon, place, run, start } from '../support/commands.ts'
import { messagingBench } from '../support/messagingBench.ts'
import { published } from '../support/published.ts'
import { spec } from '../support/spec.ts'
import { ctrlC, escapeCode, terminals } from '../support/terminal.ts'

/** Starts a server on which these users listen. */
async function chatWith(...users: readonly string[]) {
  const chat = await messagingBench()
  for (const user of users) {
    ;(await chat.client(user)).receive(() => {})
    await chat.isOnline(user)
  }
  return chat
}

spec('osp who', (it) => {
  it('prints the names of listening users, sorted, including its own user', async () => {
    await using chat = await chatWith('丁', 'Zoe', 'bob', 'al ice')
    await chat.client('eve')
    assert.deepEqual(await chat.osp('bob', ['who']), { code: 0, stdout: 'Zoe\nal ice\nbob\n丁\n', stderr: '' })
  })

  it('prints nothing if no user is listening', async () => {
    await using chat = await messagingBench()
    assert.deepEqual(await chat.osp('alice', ['who']), { code: 0, stdout: '', stderr: '' })
  })

  it('prints the list as JSON', async () => {
    await using chat = await chatWith('carol', 'bob')
    const [online, list, ...more] = published((await chat.osp('alice', ['who', '--json'])).stdout, commandEvents.who)
    assert.equal(online?.event, 'online')
    const members = list?.members as readonly { user: string; node: number }[]
    assert.deepEqual(
      members.map(({ user }) => user),
      ['bob', 'carol'],
    )
    assert.equal(more.length, 0)
  })

  it('takes no operand', async () => {
    const { code, stderr } = await run('osp', ['who', 'bob'])
    assert.equal(code, 2)
    assert.match(stderr, /^osp: who takes no operand bob$/mu)
  })

  it('gives up on a missing server, with exit code 3', async () => {
    await using chat = await messagingBench()
    await chat.server.server.close()
    const { code, stdout, stderr } = await chat.osp('alice', ['who', '--retry-for', '0'])
    assert.deepEqual({ code, stdout }, { code: 3, stdout: '' })
    assert.match(stderr, /^osp: gave up on .*: nothing listens there.*\n$/u)
    const json = published((await chat.osp('alice', ['who', '--retry-for', '0', '--json'])).stdout, commandEvents.who)
    assert.equal(json.at(-1)?.code, 'unreachable')
  })
})

spec('osp who without an answer', (it) => {
  it('says so while it waits', async () => {
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    await using who = start('osp', ['who', '--server', `127.0.0.1:${port}`])
    await who.printed(/^osp: waiting for 127\.0\.0\.1:\d+: no answer yet; giving up after 10 s \(--retry-for\)$/mu)
    await who.kill()
    silent.close()
  })
})

spec('osp who --watch', (it) => {
  it('prints the online users, then each change, until Ctrl-C', async () => {
    await using chat = await chatWith('bob')
    await using watch = chat.begin('alice', ['who', '--watch'])
    await watch.printed(/bob\n/u)
    const carol = await chat.client('carol')
    carol.receive(() => {})
    await watch.printed(/\+ carol\n/u)
    await carol.close()
    await watch.printed(/- carol\n/u)
    watch.child.kill('SIGINT')
    assert.equal((await watch.ended).code, 130)
    assert.deepEqual([watch.stdout, watch.stderr], ['bob\n+ carol\n- carol\n', ''])
  })

  it('prints changes as JSON', async () => {
    await using chat = await messagingBench()
    await using watch = chat.begin('alice', ['who', '--watch', '--json'])
    await watch.printed(/"list"/u)
    const bob = await chat.client('bob')
    bob.receive(() => {})
    await watch.printed(/"here"/u)
    await bob.close()
    await watch.printed(/"gone"/u)
    const changes = published(watch.stdout, commandEvents.who).slice(2)
    assert.deepEqual(
      changes.map(({ event, user }) => `${event} ${user}`),
      ['here bob', 'gone bob'],
    )
  })

  it('continues after a restart of the server, and prints the differences', async () => {
    await using at = await place()
    const state = ['--state', join(at.path, 'state')]
    await using first = await daemon(join(at.path, 'data'))
    const flags = ['--server', first.server, ...state]
    await using watch = start('osp', ['who', '--watch', ...flags])
    await using bob = start('osp', ['listen', '--user', 'bob', ...flags])
    // Either of the two can come first.
    await watch.printed(/bob\n/u)
    await first.kill()
    await watch.printed(/^osp: waiting for /mu)
    await bob.kill()
    await using _second = await daemon(join(at.path, 'data'), ['--port', `${first.port}`])
    await watch.printed(/- bob\n/u)
    assert.match(watch.stderr, /^osp: waiting for .*\nosp: connected to .*\n$/u)
    assert.match(watch.stdout, /^(?:\+ )?bob\n- bob\n$/u)
  })

  it('ends silently when its output has no reader', async () => {
    await using chat = await messagingBench()
    await using watch = chat.begin('alice', ['who', '--watch', '--json'])
    await watch.printed(/"list"/u)
    watch.child.stdout?.destroy()
    ;(await chat.client('bob')).receive(() => {})
    assert.equal((await watch.ended).code, 1)
    assert.equal(watch.stderr, '')
  })

  it('has colours on a terminal', async () => {
    if (!terminals) return
    await using chat = await messagingBench()
    await using bob = chat.begin('bob', ['listen'])
    await chat.isOnline('bob')
    await using shown = chat.beginOnTerminal('alice', ['who', '--watch'])
    await shown.printed(/^bob\r\n/u)
    await bob.kill()
    await shown.printed(/- bob/u)
    ;(await chat.client('bob')).receive(() => {})
    await shown.printed(/\+ bob/u)
    shown.child.stdin?.write(ctrlC)
    assert.equal((await shown.ended).code, 130)
    const [red, green, off] = ['[31m', '[32m', '[39m'].map((code) => `${escapeCode}${code}`)
    assert.ok(shown.stdout.startsWith(`bob\r\n${red}- bob${off}\r\n${green}+ bob${off}\r\n`), shown.stdout)
  })
})
