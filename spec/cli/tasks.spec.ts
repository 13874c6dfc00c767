import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { Running } from '../support/processes.ts'
import { spec } from '../support/spec.ts'
import { type TaskBench, withTasks } from '../support/taskBench.ts'

const bigBytes = 3_000_000
/** Long enough for the commands of a test to run while the file is being sent. */
const bytesPerSecond = bigBytes / 20

const content = randomBytes(bigBytes)

/** Starts an osp send that sends a file, on a slow way. */
async function sendBig({ at, start, partly }: TaskBench): Promise<Running> {
  await at.write('big', content)
  const sender = start('send', 'big')
  await partly(1)
  return sender
}

const states = (tasks: readonly Record<string, unknown>[]) => tasks.map(({ name, state }) => `${name} ${state}`)

spec('an osp send that is running', (it) => {
  it(
    'is looked at, paused and continued by others',
    withTasks(async (bench) => {
      const { run, tasks, at, stored } = bench
      await using sender = await sendBig(bench)
      const [task] = await tasks('tasks', '--all')
      assert.deepEqual(
        { ...task, acknowledged: 0, durable: 0 },
        {
          v: 1,
          event: 'task',
          task: 1,
          file: `${at.path}/big`,
          name: 'big',
          state: 'sending',
          acknowledged: 0,
          durable: 0,
          size: bigBytes,
          text: null,
          code: null,
          retryMs: null,
        },
      )
      assert.deepEqual(states(await tasks('pause')), ['big paused'])
      const { stdout } = await run('tasks', '--why')
      assert.match(stdout, /^1 {2}paused {2} ?\d+% {2}[\d.]+ of 2\.86 MiB {2}big\n {3}it is paused; continue it\n$/u)
      // It opens the file first.
      assert.match(states(await tasks('continue', '1')).join(), /^big (?:waiting|sending)$/u)
      bench.hurry()
      assert.equal((await sender.ended).code, 0, sender.stderr)
      assert.match(sender.stdout, /^\w{64} {2}big\n$/u)
      assert.equal(stored('big'), content.toString('latin1'))
      assert.deepEqual(states(await tasks('tasks', '--all')), ['big done'])
    }, bytesPerSecond),
  )

  it(
    'sends what is added, before it ends',
    withTasks(async (bench) => {
      const { at, run, tasks, stored } = bench
      await using sender = await sendBig(bench)
      for (const name of ['small', 'folder/a', 'folder/b/c']) await at.write(name, name)
      const [added] = states(await tasks('add', 'small'))
      assert.match(String(added), /^small (?:waiting|sending|verifying|done)$/u)
      const { code, stderr } = await run('add', '-r', 'folder', 'missing')
      assert.equal(code, 1)
      assert.equal(stderr, 'osp: missing: it does not exist; check the path\n')
      bench.hurry()
      assert.equal((await sender.ended).code, 0, sender.stderr)
      for (const name of ['small', 'folder/a', 'folder/b/c']) {
        assert.equal(stored(name), name)
        assert.ok(sender.stdout.includes(`  ${at.path}/${name}\n`), sender.stdout)
      }
    }, bytesPerSecond),
  )

  it(
    'is made to cancel, which the server has done then',
    withTasks(async (bench) => {
      const { run, partials } = bench
      await using sender = await sendBig(bench)
      const { code, stdout, stderr } = await run('cancel', '1')
      assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
      assert.match(stdout, /^1 {2}cancelled {2}.* big\n$/u)
      assert.deepEqual(partials(), [])
      assert.equal((await sender.ended).code, 1)
      assert.match(sender.stderr, /^osp: big: the upload was cancelled$/mu)
      assert.equal((await run('tasks')).stdout, '')
    }, bytesPerSecond),
  )

  it(
    'says why a task does not go on',
    withTasks(async (bench) => {
      const { at, start, tasks, server } = bench
      for (const name of ['a', 'b']) await at.write(name, randomBytes(bigBytes))
      await using sender = start('send', 'a', 'b', '--jobs', '1', '--limit-rate', '400k')
      await bench.partly(1)
      const [, b] = await tasks('tasks', '--all')
      assert.deepEqual([b?.state, b?.text], ['waiting', 'it is waiting for other uploads'])
      await server.kill()
      await sender.printed(/waiting for/u)
      const [a] = await tasks('tasks', '--all')
      assert.equal(a?.state, 'waiting')
      assert.match(String(a?.code), /^(?:link-lost|unreachable)$/u)
      assert.match((await bench.run('tasks', '--why')).stdout, /^1 {2}waiting .* a\n {3}\S.*\n2 {2}waiting .* b\n/u)
    }),
  )

  it(
    'is told of numbers that no task has',
    withTasks(async (bench) => {
      await using sender = await sendBig(bench)
      await bench.tasks('pause')
      for (const verb of ['pause', 'continue', 'cancel']) {
        const { code, stderr } = await bench.run(verb, '1', '7', '8')
        assert.equal(code, 2)
        assert.match(stderr, /^osp: there are no tasks 7, 8; run "osp tasks" to list tasks$/mu)
      }
      assert.deepEqual(states(await bench.tasks('tasks', '--all')), ['big paused'])
      assert.equal(sender.child.exitCode, null)
    }, bytesPerSecond),
  )
})

spec('a second osp send', (it) => {
  it(
    'joins the first, and prints the results of its own files alone',
    withTasks(async (bench) => {
      const { at, run, stored } = bench
      await using sender = await sendBig(bench)
      await at.write('mine', 'mine')
      const { code, stdout, stderr } = await run('send', 'mine', 'missing')
      assert.equal(code, 1)
      assert.match(stdout, /^\w{64} {2}mine\n$/u)
      assert.match(stderr, /^osp: another osp send is running and is sending the files$/mu)
      assert.match(stderr, /^osp: missing: it does not exist/mu)
      assert.equal(stored('mine'), 'mine')
      assert.equal(sender.child.exitCode, null)
      bench.hurry()
      assert.equal((await sender.ended).code, 0)
      assert.match(sender.stdout, /^\w{64} {2}big\n$/u)
    }, bytesPerSecond),
  )

  it(
    'leaves its files to the first one when it is interrupted',
    withTasks(async (bench) => {
      const { at, start, tasks, stored } = bench
      await using sender = await sendBig(bench)
      await at.write('mine', 'mine')
      await tasks('pause')
      await using joined = start('send', 'mine', 'big')
      await joined.printed(/mine\n/u)
      await joined.kill('SIGINT')
      assert.equal((await joined.ended).code, 130)
      assert.match(joined.stderr, /^osp: 1 file left to the running osp send; see "osp tasks"$/mu)
      await tasks('continue')
      bench.hurry()
      assert.equal((await sender.ended).code, 0)
      assert.match(sender.stdout, /^\w{64} {2}big\n$/u)
      assert.equal(stored('mine'), 'mine')
    }, bytesPerSecond),
  )

  it(
    'without FILE awaits everything that is under way, whatever the --config file says about a FILE',
    withTasks(async (bench) => {
      await using sender = await sendBig(bench)
      await bench.at.write('config.json', '{"wait": "handled"}')
      await using joined = bench.start('send', '--config', 'config.json')
      await joined.printed(/another osp send is running/u)
      bench.hurry()
      assert.equal((await joined.ended).code, 0)
      assert.match(joined.stdout, new RegExp(`^\\w{64} {2}${bench.at.path}/big\n$`, 'u'))
      assert.equal((await sender.ended).code, 0)
    }, bytesPerSecond),
  )

  it(
    'whose files are unfinished when the first is killed leaves them as tasks',
    withTasks(async (bench) => {
      const { at, start, tasks, run, stored } = bench
      await using sender = await sendBig(bench)
      await at.write('mine', randomBytes(bigBytes))
      await using joined = start('send', 'mine')
      await joined.printed(/another osp send is running/u)
      while ((await tasks('tasks', '--all')).length < 2);
      await sender.kill()
      assert.equal((await joined.ended).code, 5)
      assert.match(joined.stderr, /^osp: the other osp send has ended; run "osp send" to continue:\nosp: {3}1 file$/mu)
      bench.hurry()
      const { code, stdout } = await run('send')
      assert.equal(code, 0)
      assert.equal(stdout.split('\n').length, 3)
      assert.equal(stored('mine').length, bigBytes)
    }, bytesPerSecond),
  )
})
