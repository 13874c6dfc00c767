import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { startSource } from '../support/sources.ts'
import { spec } from '../support/spec.ts'
import { type TaskBench, withTasks } from '../support/taskBench.ts'

const bytes = randomBytes(600_000)
const ended = ['added', 'paused', 'cancelled', 'resumed', 'ended']

/** Runs the program; returns the steps that it has confirmed. */
async function stepsOf(bench: TaskBench, write: number, when: string): Promise<readonly string[]> {
  const { at, state, server } = bench
  const args = [String(server.port), state, at.path, String(write), when]
  await using program = startSource('spec/support/taskProgram.ts', args)
  const { signal, code } = await program.ended
  const isKilled = signal === 'SIGKILL'
  assert.ok(isKilled || code === 0, program.stderr)
  const steps = program.stdout.trim().split('\n').filter(Boolean)
  assert.equal(isKilled, steps.at(-1) !== 'ended', 'it ended, or was killed')
  return steps
}

/** Returns the lists that are right after this many confirmed steps. */
function assertListed(steps: readonly string[], states: ReadonlyMap<unknown, unknown>): void {
  const name = (file: string) => String(states.get(file))
  if (steps.includes('added'))
    assert.match(`${name('kept')} ${name('missing')}`, /^(?:waiting|paused|done) (?:waiting|failed)$/u)
  if (steps.includes('paused') && !steps.includes('cancelled'))
    assert.match(name('gone'), /^(?:paused|cancelling|undefined)$/u)
  if (steps.includes('cancelled')) assert.equal(states.get('gone'), undefined)
  if (steps.includes('resumed')) assert.match(name('kept'), /^(?:waiting|done)$/u)
}

const survives = (write: number, when: string) =>
  withTasks(async (bench) => {
    const { at, run, tasks, stored, partials } = bench
    for (const name of ['kept', 'gone']) await at.write(name, bytes)
    const steps = await stepsOf(bench, write, when)
    assert.deepEqual(steps, ended.slice(0, steps.length))
    const list = await tasks('tasks', '--all')
    assertListed(steps, new Map(list.map(({ name, state }) => [name, state])))
    // Its user continues with the list, and every task is completed.
    const isCancelled = list.every(({ name, state }) => name !== 'gone' || state === 'cancelling')
    await run('continue')
    await run('send')
    const left = await tasks('tasks', '--all')
    for (const { name, state } of left) assert.match(`${name} ${state}`, /^(?:kept done|gone done|missing failed)$/u)
    if (steps.includes('added')) assert.equal(stored('kept'), bytes.toString('latin1'))
    if (isCancelled) assert.throws(() => stored('gone'), { code: 'ENOENT' })
    assert.deepEqual(partials(), [])
  })

spec('the list of tasks is right after its program was killed', (it) => {
  // Three tasks are added, one fails, two are paused, one is cancelled and removed, one is resumed and done. Before a
  // write, the list is as after the previous write.
  it('before write 1', survives(1, 'before'))
  for (let write = 1; write <= 10; write++) it(`after write ${write}`, survives(write, 'after'))
  it('and if it was not killed', survives(0, 'before'))
})
