import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { spec } from '../support/spec.ts'
import { withTasks } from '../support/taskBench.ts'
import { turns } from '../support/turns.ts'

const slowly = ['--limit-rate', '100k'] as const
const bigBytes = 3_000_000

spec('osp send of stdin', (it) => {
  const spooled = (state: string) => readdirSync(join(state, 'spool'))

  it(
    'stores what it reads, and leaves nothing behind',
    withTasks(async ({ runWith, stored, state, tasks }) => {
      const { code, stdout } = await runWith('some text', 'send', '-', '--as', 'text')
      assert.equal(code, 0)
      assert.match(stdout, /^\w{64} {2}-\n$/u)
      assert.equal(stored('text'), 'some text')
      assert.deepEqual(spooled(state), [])
      assert.equal((await tasks('tasks', '--all'))[0]?.file, '-')
    }),
  )

  it(
    'continues what was read when it is killed',
    withTasks(async ({ start, partly, run, stored, state }) => {
      const content = randomBytes(bigBytes)
      await using sender = start('send', '-', '--as', 'stream', ...slowly)
      sender.child.stdin?.end(content)
      await partly(1)
      await sender.kill()
      assert.equal(spooled(state).length, 1)
      assert.equal((await run('send')).code, 0)
      assert.equal(stored('stream'), content.toString('latin1'))
      assert.deepEqual(spooled(state), [])
    }),
  )

  it(
    'that is cancelled leaves nothing behind either',
    withTasks(async ({ runWith, run, state }) => {
      await runWith('text', 'add', '-', '--as', 'text')
      assert.equal(spooled(state).length, 1)
      assert.match((await run('cancel', '--all')).stdout, /cancelled/u)
      assert.deepEqual(spooled(state), [])
    }),
  )

  it(
    'that is killed while it reads has left a file, which the next one removes',
    withTasks(async ({ start, run, state }) => {
      await using sender = start('send', '-', '--as', 'stream')
      sender.child.stdin?.write('the beginning')
      await turns(() => existsSync(join(state, 'spool')) && spooled(state).length > 0)
      await sender.kill()
      assert.equal(spooled(state).length, 1)
      assert.equal((await run('send')).code, 0)
      assert.deepEqual(spooled(state), [])
    }),
  )

  it(
    'that is interrupted while it reads leaves nothing',
    withTasks(async ({ start, state, tasks }) => {
      await using sender = start('send', '-', '--as', 'stream')
      sender.child.stdin?.write('the beginning')
      await turns(() => existsSync(join(state, 'spool')) && spooled(state).length > 0)
      await sender.kill('SIGINT')
      assert.equal((await sender.ended).code, 130)
      assert.deepEqual(spooled(state), [])
      assert.deepEqual(await tasks('tasks', '--all'), [])
    }),
  )
})
