import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { daemon } from '../support/commands.ts'
import { spec } from '../support/spec.ts'
import { withTasks } from '../support/taskBench.ts'

const slowly = ['--limit-rate', '100k'] as const
const bigBytes = 3_000_000

const states = (tasks: readonly Record<string, unknown>[]) => tasks.map(({ name, state }) => `${name} ${state}`)

spec('without a running osp send, tasks', (it) => {
  it(
    'are added, paused and continued in the list, which osp send takes up',
    withTasks(async ({ at, run, tasks, stored }) => {
      for (const name of ['a', 'b', 'c']) await at.write(name, name)
      assert.deepEqual(states(await tasks('tasks', '--all')), [])
      const { stdout, stderr } = await run('add', 'a', 'b')
      assert.match(stdout, /^1 {2}waiting {2}0% {4}a\n2 {2}waiting {2}0% {4}b\n$/u)
      assert.equal(stderr, 'osp: no osp send is running; run "osp send" to send them\n')
      assert.deepEqual(states(await tasks('add', 'c', '--as', 'd')), ['d waiting'])
      assert.deepEqual(states(await tasks('pause', '1', '3')), ['a paused', 'd paused'])
      const sent = await run('send')
      assert.equal(sent.code, 0)
      assert.match(sent.stdout, /^\w{64} {2}\/.*\/b\n$/u)
      assert.match(sent.stderr, /^osp: paused and not sent: .*\/a, .*\/c; run "osp continue" to send them$/mu)
      assert.deepEqual(states(await tasks('tasks', '--all')), ['a paused', 'b done', 'd paused'])
      assert.deepEqual(states(await tasks('tasks')), ['a paused', 'd paused'])
      assert.deepEqual(states(await tasks('continue')), ['a waiting', 'd waiting'])
      assert.equal((await run('send')).code, 0)
      assert.deepEqual([stored('a'), stored('b'), stored('d')], ['a', 'b', 'c'])
      const { code, stderr: said } = await run('send')
      assert.deepEqual({ code, said }, { code: 0, said: 'osp: there is nothing to send\n' })
      assert.deepEqual(await run('tasks'), { code: 0, stdout: '', stderr: '' })
    }),
  )

  it(
    'stay paused over the kill of their osp send',
    withTasks(async ({ at, start, partly, tasks, run, stored }) => {
      await at.write('big', randomBytes(bigBytes))
      await using sender = start('send', 'big', ...slowly)
      await partly(1)
      await tasks('pause')
      await sender.kill()
      const [task] = await tasks('tasks', '--all')
      assert.equal(task?.state, 'paused')
      assert.ok(Number(task?.durable) > 0)
      assert.equal((await run('send')).code, 0)
      assert.deepEqual(states(await tasks('tasks', '--all')), ['big paused'])
      // The operand names the file.
      assert.equal((await run('send', 'big')).code, 0)
      assert.equal(stored('big').length, bigBytes)
      assert.deepEqual(states(await tasks('tasks', '--all')), ['big done'])
    }),
  )

  it(
    'are all sent after a kill, also those that had not begun',
    withTasks(async ({ at, start, partly, run, stored }) => {
      const names = ['a', 'b', 'c', 'd']
      for (const name of names) await at.write(name, randomBytes(bigBytes / 3))
      await using sender = start('send', ...names, '--jobs', '1', ...slowly)
      await partly(1)
      await sender.kill()
      const { code, stdout, stderr } = await run('send')
      assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
      assert.equal(stdout.split('\n').length, 5)
      for (const name of names) assert.equal(stored(name).length, bigBytes / 3)
    }),
  )

  it(
    'are all sent after Ctrl-C',
    withTasks(async ({ at, start, partly, run, tasks }) => {
      for (const name of ['a', 'b']) await at.write(name, randomBytes(bigBytes))
      await using sender = start('send', 'a', 'b', '--jobs', '1', ...slowly)
      await partly(1)
      await sender.kill('SIGINT')
      assert.equal((await sender.ended).code, 130)
      assert.match(sender.stderr, /interrupted; run "osp send" to continue/u)
      assert.deepEqual(states(await tasks('tasks', '--all')), ['a waiting', 'b waiting'])
      assert.equal((await run('send')).stdout.split('\n').length, 3)
    }),
  )

  it(
    'that are given up for now are unfinished still',
    withTasks(async ({ at, run, tasks, server }) => {
      await at.write('a', 'a')
      await server.kill()
      assert.equal((await run('send', 'a', '--retry-for', '200ms')).code, 3)
      assert.deepEqual(states(await tasks('tasks', '--all')), ['a waiting'])
    }),
  )

  it(
    'are added by the hundred',
    withTasks(async ({ at, run, tasks }) => {
      for (let i = 0; i < 350; i++) await at.write(`many/${i}`, `${i}`)
      assert.equal((await tasks('add', '-r', 'many')).length, 350)
      const { code, stdout } = await run('send')
      assert.equal(code, 0)
      assert.equal(stdout.split('\n').length, 351)
    }),
  )
})

spec('cancelling without a running osp send', (it) => {
  it(
    'removes what the server has of a paused task',
    withTasks(async ({ at, start, partly, tasks, run, partials }) => {
      await at.write('big', randomBytes(bigBytes))
      await using sender = start('send', 'big', ...slowly)
      await partly(1)
      await tasks('pause')
      await sender.kill('SIGINT')
      assert.equal(partials().length, 1)
      const { code, stdout, stderr } = await run('cancel', '--all')
      assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
      assert.match(stdout, /^1 {2}cancelled .* big\n$/u)
      assert.deepEqual(partials(), [])
      assert.deepEqual(states(await tasks('tasks', '--all')), [])
      // The server starts without data.
      assert.equal((await run('send', 'big')).code, 0)
    }),
  )

  it(
    'is made up for at the next contact where there is no server',
    withTasks(async (bench) => {
      const { at, start, partly, tasks, run, partials, server } = bench
      await at.write('big', randomBytes(bigBytes))
      await using sender = start('send', 'big', ...slowly)
      await partly(1)
      await sender.kill()
      await server.kill()
      const { code, stdout, stderr } = await run('cancel', '1')
      assert.equal(code, 0)
      assert.match(stdout, /^1 {2}cancelling /u)
      assert.match(stderr, /the next "osp send" completes the cancellation/u)
      assert.deepEqual(states(await tasks('tasks', '--all')), ['big cancelling'])
      assert.equal(partials().length, 1)
      bench.server = await daemon(join(at.path, 'data'), ['--port', String(server.port)])
      const sent = await run('send')
      assert.deepEqual([sent.code, sent.stdout], [0, ''])
      assert.match(sent.stderr, /big: cancelled/u)
      assert.deepEqual(partials(), [])
    }),
  )

  it(
    'does not take back what is stored',
    withTasks(async ({ at, run, stored }) => {
      await at.write('a', 'a')
      await run('send', 'a')
      const { code, stdout, stderr } = await run('cancel', '1')
      assert.deepEqual([code, stdout], [0, ''])
      assert.equal(stderr, 'osp: already stored, not changed: 1\n')
      assert.equal(stored('a'), 'a')
    }),
  )

  it(
    'wants to know what',
    withTasks(async ({ run }) => {
      for (const args of [[], ['1', '--all']]) {
        const { code, stderr } = await run('cancel', ...args)
        assert.equal(code, 2)
        assert.match(stderr, /specify each TASK to cancel, or only --all/u)
      }
      const { code, stderr } = await run('pause', 'movie.mp4')
      assert.equal(code, 2)
      assert.match(stderr, /TASK must be a number printed by "osp tasks", not movie\.mp4/u)
    }),
  )
})
