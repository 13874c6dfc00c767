import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import type { NotifyRule } from 'ospd'
import { loopbackOnly, rememberNames } from 'ospd/node'
import { commandEvents } from '../../bin/common/events.ts'
import { deferred } from '../../lib/runtime/deferred.ts'
import { type Outcome, ownState, place, run, start } from '../support/commands.ts'
import { messagingBench } from '../support/messagingBench.ts'
import { published } from '../support/published.ts'
import { served } from '../support/served.ts'
import { spec } from '../support/spec.ts'

/** A server, and a folder in which `osp` runs. */
async function bench(notify: readonly NotifyRule[] = []) {
  const its = await served({ notify })
  const at = await place()
  return {
    at,
    port: its.port,
    osp: (user: string, ...[name = '', ...args]: readonly string[]): Promise<Outcome> =>
      run('osp', [name, '--server', its.address, '--user', user, ...args], { cwd: at.path }),
    read: (name: string) => readFileSync(join(at.path, name), 'utf8'),
    async [Symbol.asyncDispose]() {
      await at[Symbol.asyncDispose]()
      await its[Symbol.asyncDispose]()
    },
  }
}

const messagesIn = ({ stdout }: Outcome) =>
  published(stdout, commandEvents.listen).flatMap((event) => (event.event === 'message' ? [event] : []))

spec('osp send --to', (it) => {
  it('sends a file to other users, and osp listen --save downloads it', async () => {
    await using at = await bench()
    await at.at.write('plan.txt', 'one')
    const sent = await at.osp('alice', 'send', 'plan.txt', '--to', 'bob', '--to', 'carol')
    assert.equal(sent.code, 0, sent.stderr)
    const [message] = messagesIn(await at.osp('bob', 'listen', '-n', '1', '--save', 'inbox', '--json'))
    const { from, file, saved } = message as { from: string; file: Record<string, unknown>; saved: string }
    const { owner, name, size } = file
    assert.deepEqual([from, owner, name, size], ['alice', 'alice', 'plan.txt', 3])
    assert.deepEqual([saved, at.read('inbox/plan.txt')], [join('inbox', 'plan.txt'), 'one'])
    const { stdout } = await at.osp('carol', 'listen', '-n', '1', '--quiet')
    assert.match(stdout, / alice file plan\.txt, 3 bytes, [\da-f]{64}\n$/u)
  })

  it('can be downloaded after osp listen has printed the message, with the command that it prints', async () => {
    await using at = await bench()
    await at.at.write("it's new.txt", 'one')
    await at.osp('alice', 'send', "it's new.txt", '--to', 'bob')
    const { stderr } = await at.osp('bob', 'listen', '-n', '1')
    const [, line = ''] = /^osp: to download it, run osp (get .*)$/mu.exec(stderr) ?? []
    assert.equal(
      line,
      `get --server 127.0.0.1:${at.port} --user bob --state ${ownState} --from alice 'it'\\''s new.txt'`,
    )
    const words = ['get', '--server', `127.0.0.1:${at.port}`, '--user', 'bob', '--from', 'alice', "it's new.txt"]
    assert.equal((await run('osp', [...words, '--to', 'got'], { cwd: at.at.path })).code, 0)
    assert.equal(at.read("got/it's new.txt"), 'one')
    assert.deepEqual((await run('osp', [...words, '-'], { cwd: at.at.path })).stdout, 'one')
  })

  it('can be downloaded while the message waits; of several files with one name, the latest', async () => {
    await using at = await bench()
    await at.at.write('plan.txt', 'one')
    await at.osp('alice', 'send', 'plan.txt', '--to', 'dora')
    await at.osp('dora', 'listen', '-n', '1')
    await at.at.write('plan.txt', 'second')
    await at.osp('alice', 'send', 'plan.txt', '--to', 'dora')
    assert.equal((await at.osp('dora', 'get', '--from', 'alice', 'plan.txt', '-')).stdout, 'second')
    const inbox = await at.osp('dora', 'inbox')
    assert.equal(inbox.stdout.split('\n').length, 2)
    assert.match(inbox.stderr, /^osp: to download the file, run osp get .* --user dora .* --from alice plan\.txt\n$/u)
    assert.equal((await at.osp('dora', 'inbox', '--quiet')).stderr, '')
    await at.osp('alice', 'send', 'plan.txt', '--to', 'dora')
    assert.match(
      (await at.osp('dora', 'inbox')).stderr,
      /^osp: to download a file, run osp get .* --from USER NAME\n$/u,
    )
    const none = await at.osp('dora', 'get', '--from', 'bob', 'plan.txt')
    assert.equal(none.code, 1)
    assert.match(
      none.stderr,
      /^osp: plan\.txt: no message from bob refers to it; "osp inbox" lists waiting messages$/mu,
    )
    await at.osp('alice', 'rm', 'plan.txt')
    const gone = await at.osp('dora', 'get', '--from', 'alice', 'plan.txt', '--to', 'late')
    assert.match(gone.stderr, /^osp: plan\.txt: the file is no longer available$/mu)
    assert.equal((await at.osp('dora', 'get', '-r', '--from', 'alice')).code, 2)
    assert.equal((await at.osp('dora', 'get', '--from', 'a/b', 'plan.txt')).code, 2)
  })

  it('can be downloaded after an earlier message about a file of this name was set aside', async () => {
    await using at = await bench()
    for (const content of ['one', 'second']) {
      await at.at.write('plan.txt', content)
      await at.osp('alice', 'send', 'plan.txt', '--to', 'erin')
    }
    await at.osp('erin', 'listen', '-n', '1', '--exec', '/bin/sh', '--', '-c', 'test $OSP_SIZE = 6 || exit 65')
    assert.match((await at.osp('erin', 'inbox', '--set-aside')).stdout, /plan\.txt, 3 bytes/u)
    const { stdout, stderr } = await at.osp('erin', 'get', '--from', 'alice', 'plan.txt', '-')
    assert.equal(stdout, 'second', stderr)
  })

  it('reports a name that has never logged in, once for all files, and with --json for each', async () => {
    await using chat = await messagingBench({ authenticator: rememberNames(loopbackOnly()) })
    await chat.client('bob').then((bob) => bob.online())
    const paths = await Promise.all(['a', 'b'].map(async (name) => join(chat.at.path, await chat.at.write(name, name))))
    const { code, stderr } = await chat.osp('alice', ['send', ...paths, '--to', 'bob', '--to', 'bobb'])
    const text = 'osp: no user bobb has logged in to this server yet; the message waits for that user\n'
    assert.deepEqual([code, stderr], [0, text])
    const unseenIn = (output: string) =>
      published(output, commandEvents.send).flatMap((event) => (event.event === 'stored' ? event.unseen : []))
    const flags = ['--to', 'bobb', '--json']
    assert.deepEqual(unseenIn((await chat.osp('alice', ['send', ...paths, ...flags])).stdout), ['bobb', 'bobb'])
    await chat.at.write('a', 'new')
    await using waiting = chat.begin('alice', ['send', ...paths, ...flags, '--wait', 'handled'])
    for (const path of paths) {
      const [line] = await waiting.printed(new RegExp(`^.*"event":"stored".*"file":"${path}".*$`, 'mu'))
      assert.deepEqual(unseenIn(`${line}\n`), ['bobb'])
    }
  })

  it('sends another message if it is repeated, but not if it continues a command that was killed', async () => {
    await using chat = await messagingBench()
    const messages = async () =>
      (await chat.server.server.mailboxes()).find(({ user }) => user === 'bob')?.messages ?? 0
    const isStored = deferred<void>()
    let isHeld = true
    // Does not forward the reply that reports that the file is stored.
    const relay = createServer((client) => {
      const server = connect(chat.server.port, '127.0.0.1')
      client.on('error', () => {}).on('close', () => server.destroy())
      server.on('error', () => {}).on('close', () => client.destroy())
      client.pipe(server)
      server.on('data', async (chunk) => {
        server.pause()
        if (isHeld && (await messages()) > 0) return isStored.resolve()
        client.write(chunk)
        server.resume()
      })
    })
    await once(relay.listen(0, '127.0.0.1'), 'listening')
    const { port } = relay.address() as AddressInfo
    const flags = [
      '--server',
      `127.0.0.1:${port}`,
      '--user',
      'alice',
      '--state',
      join(chat.at.path, 'state'),
      '--to',
      'bob',
    ]
    await chat.at.write('plan.txt', 'one')
    const args = ['send', 'plan.txt', ...flags]
    await using killed = start('osp', args, { cwd: chat.at.path })
    await isStored.promise
    await killed.kill()
    isHeld = false
    assert.equal((await run('osp', args, { cwd: chat.at.path })).code, 0)
    assert.equal(await messages(), 1)
    const { stderr } = await run('osp', args, { cwd: chat.at.path })
    assert.equal(stderr, 'osp: plan.txt: the server already had the file; sent bob a message about it\n')
    assert.equal(await messages(), 2)
    relay.close()
  })

  it('keeps local files of the same name, and reports if a file is no longer available', async () => {
    await using at = await bench()
    await at.at.write('plan.txt', 'one')
    await at.osp('alice', 'send', 'plan.txt', '--to', 'bob')
    await at.osp('carol', 'send', 'plan.txt', '--to', 'bob', '--as', 'other.txt')
    await at.osp('carol', 'rm', 'other.txt')
    await at.at.write('inbox/plan.txt', 'of bob')
    const { stdout } = await at.osp('bob', 'listen', '-n', '2', '--save', 'inbox')
    assert.match(stdout, / alice file plan\.txt saved as inbox.plan \(1\)\.txt\n/u)
    assert.match(stdout, / carol file other\.txt: the file is no longer available\n$/u)
    assert.deepEqual([at.read('inbox/plan.txt'), at.read('inbox/plan (1).txt')], ['of bob', 'one'])
  })

  it('is interrupted while osp listen --exec waits for the file', async () => {
    await using at = await bench()
    await at.at.write('plan.txt', 'one')
    await at.osp('alice', 'send', 'plan.txt', '--to', 'bob')
    let connections = 0
    const isWaiting = deferred<void>()
    // Relays the messages only: the second connection is for the file.
    const relay = createServer((client) => {
      client.on('error', () => {})
      if (++connections > 1) return isWaiting.resolve()
      const server = connect(at.port, '127.0.0.1')
      server.on('error', () => {}).on('close', () => client.destroy())
      client.pipe(server).pipe(client)
    })
    await once(relay.listen(0, '127.0.0.1'), 'listening')
    const { port } = relay.address() as AddressInfo
    const args = ['--server', `127.0.0.1:${port}`, '--user', 'bob', '--save', 'inbox', '--exec', 'true']
    await using listen = start('osp', ['listen', ...args], { cwd: at.at.path })
    await isWaiting.promise
    listen.child.kill('SIGTERM')
    assert.deepEqual([(await listen.ended).code, listen.stderr], [130, ''])
    relay.close()
  })

  it('reports an unknown recipient before anything is sent', async () => {
    await using at = await bench()
    await at.at.write('plan.txt', 'one')
    for (const name of ['a/b', '']) {
      const { code, stderr } = await at.osp('alice', 'send', 'plan.txt', '--to', 'bob', '--to', name)
      assert.equal(code, 2)
      assert.match(stderr, RegExp(`--to cannot be "${name}": it takes a user name`, 'u'))
    }
  })
})

spec('ospd serve --notify', (it) => {
  it('takes the name of a user who exists, and a pattern', async () => {
    const { code, stderr } = await run('ospd', ['serve', '--notify', 'a/b'])
    assert.deepEqual([code, /--notify cannot be "a\/b": it takes a user name/u.test(stderr)], [2, true])
    await using at = await place()
    await run('ospd', ['user', 'add', 'alice', '--data', at.path])
    const unknown = await run('ospd', ['serve', '--port', '0', '--data', at.path, '--notify', 'ingest:*.csv'])
    assert.equal(unknown.code, 2)
    assert.match(unknown.stderr, /--notify ingest: there is no such user/u)
  })

  it('sends a message for each stored file, for which osp listen --exec runs a program', async () => {
    await using at = await bench([{ user: 'ingest', pattern: '*.csv' }])
    await at.at.write('a.csv', 'one')
    await at.at.write('b.txt', 'two')
    await at.at.write('c.csv', 'three')
    assert.equal((await at.osp('alice', 'send', 'a.csv', 'b.txt', 'c.csv')).code, 0)
    const script = 'echo "$OSP_OWNER $OSP_FILE $OSP_SIZE $(cat "$OSP_SAVED")"'
    const listen = ['listen', '-n', '2', '--save', 'inbox', '--exec', 'sh', '--', '-c', script]
    const { code, stdout, stderr } = await at.osp('ingest', ...listen)
    assert.equal(code, 0, stderr)
    const results = stdout.split('\n').map((line) => line.split(' ').slice(1).join(' '))
    assert.deepEqual(results.sort(), ['', 'alice alice a.csv 3 one', 'alice alice c.csv 5 three'])
  })
})
