import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, constants, existsSync, openSync, readdirSync, readFileSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { askControl } from 'ospd/node'
import { ballast } from '../support/ballast.ts'
import { type Outcome, type Place, place, readsStdin, run, start } from '../support/commands.ts'
import { type MessagingBench, messagingBench } from '../support/messagingBench.ts'
import { startCommand } from '../support/processes.ts'
import { spec } from '../support/spec.ts'
import { commandLine, terminals } from '../support/terminal.ts'
import { turns } from '../support/turns.ts'
import { canMount, smallDisk } from '../testing/storage/places.ts'

/** Runs Node in a shell with these redirections. */
const redirected = (redirections: string) => ['sh', '-c', `exec "$@" ${redirections}`, 'sh']

/** Runs a command of a user of `chat` with these redirections. */
const osp = (chat: MessagingBench, user: string, redirections: string, args: readonly string[]): Promise<Outcome> => {
  const [command = '', ...more] = args
  const flags = ['--server', chat.server.address, '--state', chat.at.path, '--user', user]
  return run('osp', [command, ...flags, ...more], { under: redirected(redirections), cwd: chat.at.path })
}

const noStack = ({ stderr }: Pick<Outcome, 'stderr'>) => assert.ok(!/^ +at /mu.test(stderr), stderr)

/** A named pipe, and the files that keep its two ends open. */
function pipeAt(path: string): { readonly fd: number } {
  spawnSync('mkfifo', [path])
  return { fd: openSync(path, constants.O_RDWR | constants.O_NONBLOCK) }
}

/** Starts `osp` on a terminal; `pid` is its process id, 0 until it has started. */
function onTerminal(at: Place, args: readonly string[], redirections = '') {
  const line = `cd ${at.path}; echo $$ >pid; exec ${commandLine('osp', args)} ${redirections}`
  const running = startCommand('script', ['-qec', line, '/dev/null'])
  const file = join(at.path, 'pid')
  return Object.assign(running, { pid: () => (existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0) })
}

/** Writes to a pipe until it is full. */
function fill(fd: number): void {
  for (const bytes of [65_536, 1]) {
    const writeAll = () => {
      for (;;) writeSync(fd, Buffer.alloc(bytes, '.'))
    }
    assert.throws(writeAll, { code: 'EAGAIN' })
  }
}

spec('a daemon whose log', (it) => {
  const line = (data: string) => ['serve', '--port', '0', '--data', data]

  it('cannot be written still receives files, and ends cleanly', async () => {
    await using at = await place()
    await at.write('a', 'hello')
    await using daemon = start('ospd', line(join(at.path, 'data')), { under: redirected('2>/dev/full') })
    const [, server = ''] = await daemon.printed(/ready on (\S+),/u)
    const sent = await run('osp', ['send', 'a', '--server', server, '--user', 'alice'], { cwd: at.path })
    assert.deepEqual([sent.code, sent.stderr], [0, ''])
    daemon.child.kill('SIGTERM')
    assert.deepEqual(await daemon.ended, { code: 0, signal: null })
  })

  it('had no reader for a while reports how many lines are missing', async () => {
    await using at = await place()
    const path = join(at.path, 'log')
    const held = pipeAt(path)
    await using daemon = start('ospd', line(join(at.path, 'data')), { under: redirected('2>log'), cwd: at.path })
    await daemon.printed(/ready on/u)
    closeSync(held.fd)
    // This line has no reader. The daemon handles the signal before it answers a later request.
    daemon.child.kill('SIGHUP')
    for (const ask of ['status', 'status']) await askControl(join(at.path, 'data'), { ask })
    const again = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    daemon.child.kill('SIGTERM')
    assert.equal((await daemon.ended).code, 0)
    const bytes = Buffer.alloc(10_000)
    const text = bytes.toString('utf8', 0, readSync(again, bytes))
    closeSync(again)
    assert.match(text, /^\S+ warn {2}log-dropped lines=1\n\S+ info {2}stopping signal=SIGTERM\n\S+ info {2}stopped\n$/u)
  })

  it('is a pipe without a reader ends at SIGTERM', async () => {
    await using at = await place()
    const log = pipeAt(join(at.path, 'log'))
    fill(log.fd)
    await using daemon = start('ospd', line(join(at.path, 'data')), { under: redirected('2>log'), cwd: at.path })
    await daemon.printed(/ready on/u)
    daemon.child.kill('SIGTERM')
    assert.deepEqual(await daemon.ended, { code: 0, signal: null })
    closeSync(log.fd)
  })
})

spec('SIGHUP', (it) => {
  it('does not end a daemon, and is logged', async () => {
    await using at = await place()
    await using daemon = start('ospd', ['serve', '--port', '0', '--data', join(at.path, 'data')])
    await daemon.printed(/ready on/u)
    daemon.child.kill('SIGHUP')
    await daemon.printed(/^\S+ info {2}reloading signal=SIGHUP$/mu)
    daemon.child.kill('SIGTERM')
    assert.equal((await daemon.ended).code, 0)
  })

  it('does not end a command under nohup, and interrupts a command on a terminal', async () => {
    await using at = await place()
    await at.write('a', 'hello')
    const send = ['send', join(at.path, 'a'), '--server', '127.0.0.1:1', '--retry-for', '1h', '--state', at.path]
    await using outlives = start('osp', send, { under: ['nohup'] })
    await outlives.printed(/waiting for/u)
    outlives.child.kill('SIGHUP')
    outlives.child.kill('SIGTERM')
    assert.equal((await outlives.ended).code, 130)
    assert.match(outlives.stderr, /interrupted; run "osp send" to continue/u)
    if (!terminals) return
    await using ends = onTerminal(at, ['listen', '--server', '127.0.0.1:1', '--state', at.path])
    await ends.printed(/waiting for/u)
    process.kill(ends.pid(), 'SIGHUP')
    assert.equal((await ends.ended).code, 130)
  })
})

spec('a command whose stdout', (it) => {
  it('is closed acknowledges no message that it cannot print', async () => {
    await using chat = await messagingBench()
    await (await chat.client('alice')).send(['bob'], 'hi')
    const { code, stderr } = await osp(chat, 'bob', '>&-', ['listen', '--count', '1'])
    assert.equal(code, 2)
    assert.match(stderr, /^osp: stdout is closed, .*: messages cannot be printed; redirect it to a file or a pipe$/mu)
    const full = await osp(chat, 'bob', '>/dev/full', ['listen', '--count', '1'])
    assert.equal(full.code, 1)
    assert.match(full.stderr, /^osp: not all results could be printed: ENOSPC: no space left on device/mu)
    assert.match((await chat.osp('bob', ['listen', '--count', '1'])).stdout, / alice \(again\?\) hi\n$/u)
  })

  if (!canMount)
    it.skip('is on a full disk acknowledges no part of a message', 'this process may not mount a small disk')
  else {
    it('is on a disk that takes only the beginning of a message does not acknowledge it', async () => {
      await using chat = await messagingBench()
      await using disk = await smallDisk(4_000_000)
      const text = 'x'.repeat(30_000)
      for (let each = 0; each < 2; each++) await (await chat.client('alice')).send(['bob'], text)
      ballast(disk.path, 40_000)
      const { code } = await osp(chat, 'bob', `>${disk.path}/out`, ['listen', '--count', '2'])
      assert.equal(code, 1)
      const { stdout } = await chat.osp('bob', ['listen', '--count', '1'])
      assert.ok(stdout.endsWith(` alice (again?) ${text}\n`))
    })
  }

  it('accepts no writes reports that with exit code 1 and without a stack trace', async () => {
    await using chat = await messagingBench()
    await chat.at.write('a', 'hello')
    await chat.osp('carol', ['add', join(chat.at.path, 'a')])
    const lines = [
      ['alice', 'send', 'a'],
      ['bob', 'add', 'a'],
      ['carol', 'tasks'],
      ['alice', 'who', '--json'],
      ['alice', 'msg', 'bob', 'hi', '--json'],
      ['alice', 'msg', '--help'],
      ['alice', 'msg', '--version'],
    ]
    const outcomes = lines.map(async ([user = '', ...args]) => {
      const outcome = await osp(chat, user, '>/dev/full', args)
      assert.deepEqual([args[0], outcome.code, outcome.stdout], [args[0], 1, ''])
      assert.match(outcome.stderr, /^osp: not all results could be printed: ENOSPC/mu)
      noStack(outcome)
    })
    await Promise.all(outcomes)
    const gone = await osp(chat, 'carol', '| true', ['tasks', '--json'])
    assert.equal(gone.stderr, '')
  })
})

spec('a command whose stdin', (it) => {
  const lines = [
    ['send', '-', '--as', 'x'],
    ['add', '-', '--as', 'x'],
    ['msg', 'bob', '-'],
    ['send', '--files-from', '-'],
    ['login'],
  ]
  for (const [what, redirection, text] of [
    ['is closed', '<&-', /stdin cannot be read: it is closed/u],
    ['is a directory', '<.', /stdin cannot be read: EISDIR/u],
    ['is open only for writing', '0>out', /stdin cannot be read: EBADF/u],
  ] as const) {
    it(`${what} sends nothing, and says so`, async () => {
      await using chat = await messagingBench()
      // The first case runs each command; all read stdin in the same way.
      const each = (redirection === '<&-' ? lines : lines.slice(0, 1)).map(async (args) => {
        const outcome = await osp(chat, 'alice', redirection, args)
        assert.equal(outcome.code, 1, outcome.stderr)
        assert.match(outcome.stderr, text)
        noStack(outcome)
      })
      await Promise.all(each)
      assert.deepEqual(chat.server.server.status().uploads, [])
      const spool = join(chat.at.path, chat.server.address.replace(':', '_'), 'alice', 'spool')
      assert.deepEqual(existsSync(spool) ? readdirSync(spool) : [], [])
      const { stdout } = await osp(chat, 'alice', '</dev/null', ['tasks'])
      assert.equal(stdout, '')
    })
  }

  it('is /dev/null is empty', async () => {
    await using chat = await messagingBench()
    assert.equal((await osp(chat, 'alice', '</dev/null', ['msg', 'bob', '-'])).code, 0)
  })

  it('comes from a pipeline on a terminal that hangs up sends nothing', async () => {
    if (!terminals) return
    await using at = await place()
    const input = pipeAt(join(at.path, 'input'))
    writeSync(input.fd, 'the beginning')
    await using running = onTerminal(at, ['send', '-', '--as', 'x', '--state', at.path], '<input >output')
    await turns(() => readsStdin(running.pid()))
    process.kill(running.pid(), 'SIGHUP')
    await running.printed(/-: stdin cannot be read: the terminal hung up, and the end of the input may be missing/u)
    assert.equal((await running.ended).code, 1)
    closeSync(input.fd)
  })
})

spec('a bug in a command', (it) => {
  it('is reported in one sentence, with a stack trace if OSP_DEBUG is set', async () => {
    // Throws as soon as the command handles signals.
    const bug =
      'process.on("newListener",(name)=>{if(name==="SIGHUP")setImmediate(()=>{throw(new(TypeError)("boom"))})})'
    const failed = (env: NodeJS.ProcessEnv) =>
      run('osp', ['listen'], {
        env: { ...env, NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(bug)}` },
      })
    const { code, stdout, stderr } = await failed({})
    assert.deepEqual([code, stdout], [1, ''])
    assert.match(stderr, /^osp: this is a bug in osp \S+: boom \(OSP_DEBUG=1 prints the stack trace\)\n$/u)
    assert.match((await failed({ OSP_DEBUG: '1' })).stderr, /\nTypeError: boom\n +at /u)
  })
})
