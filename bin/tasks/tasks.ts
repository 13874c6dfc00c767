import type { CancelledTask } from 'ospd/node'
import { commonOptions } from '../common/commonOptions.ts'
import { command } from '../common/program.ts'
import { switched, type Values } from '../common/settings.ts'
import { displayed, exitCodes, UsageError } from '../common/usage.ts'
import { hintNoSender, listed, type TaskContext, tasksSettings, withTasks } from './tasksContext.ts'

const settings = {
  all: switched({ alias: 'a', describe: 'also list stored files: the latest 1,000 of the last 24 hours' }),
  why: switched({ alias: 'w', describe: 'print the reason below each task that does not proceed' }),
  ...tasksSettings,
} as const

/** `osp tasks`: lists the tasks of a user. */
export const tasksCommand = command({
  name: 'tasks',
  describe: 'List the tasks that are being sent or are waiting, and those that failed in the last 24 hours.',
  settings,
  examples: [
    ['osp tasks', 'print number, state, progress and name of each task'],
    ['osp tasks --why', 'also print why tasks do not proceed'],
    ['osp tasks --all', 'also list stored files'],
    ['osp tasks --json | jq -r .file', 'print the paths only'],
  ],
  onlyLists: () => true,
  run: (values) => withTasks(values, (at) => list(at, values)),
})

async function list({ tasks, hint, print }: TaskContext, values: Values<typeof settings>): Promise<number> {
  const all = await listed(tasks)
  const shown = values.all ? all : all.filter(({ state }) => state !== 'done')
  print(shown, values.why)
  if (all.length === 0) hint('there are no tasks')
  else if (shown.length === 0) hint('all files are stored; run "osp tasks --all" to list them')
  return exitCodes.done
}

/** `osp pause`: pauses tasks. */
export const pauseCommand = command({
  name: 'pause',
  operands: '[TASK...]',
  describe: 'Pause tasks. Without TASK, pause all tasks. The server keeps the content that it has received.',
  settings: tasksSettings,
  examples: [
    ['osp pause', 'pause all tasks, including those of a running osp send'],
    ['osp pause 3 4', 'pause two tasks; "osp tasks" prints the numbers'],
  ],
  run: (values, operands) => withTasks(values, (at) => change(at, 'pause', operands)),
})

/** `osp continue`: continues paused tasks. */
export const continueCommand = command({
  name: 'continue',
  operands: '[TASK...]',
  describe: 'Continue paused tasks, and retry failed ones. Without TASK, continue all paused tasks.',
  settings: tasksSettings,
  examples: [
    ['osp continue', 'continue all paused tasks'],
    ['osp continue 3', 'continue or retry one task'],
  ],
  run: (values, operands) => withTasks(values, (at) => change(at, 'continue', operands)),
})

const cancelSettings = {
  all: switched({ alias: 'a', describe: 'cancel all unfinished tasks' }),
  ...commonOptions,
} as const

/** `osp cancel`: cancels tasks. */
export const cancelCommand = command({
  name: 'cancel',
  operands: 'TASK...|--all',
  describe: 'Cancel tasks. The server removes the content of unfinished files; stored files are never removed.',
  settings: cancelSettings,
  examples: [
    ['osp cancel 3', 'cancel one task; "osp tasks" prints the numbers'],
    ['osp cancel --all', 'cancel all unfinished tasks'],
  ],
  run: (values, operands) => withTasks(values, (at) => cancel(at, values.all, operands), values),
})

async function cancel(at: TaskContext, all: boolean, operands: readonly string[]): Promise<number> {
  const { tasks, hint, print } = at
  if (all === operands.length > 0) throw new UsageError('specify each TASK to cancel, or only --all')
  const chosen = await choose(at, operands)
  const wanted = chosen.filter(({ state }) => state !== 'done')
  const cancelled = await tasks.cancel(wanted.map(({ id }) => id))
  print(cancelled)
  if (chosen.length === 0) hint('there is nothing to cancel')
  reportStored(at, chosen)
  if (cancelled.some(({ state }) => state === 'cancelling')) {
    hint('the server cannot be reached now; the next "osp send" completes the cancellation')
  }
  return exitCodes.done
}

/** Changes the tasks that the operands name, or all unfinished tasks. Prints their new state. */
async function change(at: TaskContext, verb: 'pause' | 'continue', operands: readonly string[]): Promise<number> {
  const chosen = await choose(at, operands)
  const ids = new Set(chosen.map(({ id }) => id))
  const named = operands.length > 0 ? [...ids] : undefined
  await (verb === 'pause' ? at.tasks.pause(named) : at.tasks.resume(named))
  const now = (await listed(at.tasks)).filter(({ id }) => ids.has(id))
  at.print(now)
  reportStored(at, chosen)
  if (now.length === 0) at.hint(`there is nothing to ${verb}`)
  else if (verb === 'continue' && now.some(({ state }) => state === 'waiting')) hintNoSender(at)
  return exitCodes.done
}

function reportStored({ hint }: TaskContext, tasks: readonly CancelledTask[]): void {
  const stored = tasks.filter(({ state }) => state === 'done').map(({ id }) => id)
  if (stored.length > 0) hint(`already stored, not changed: ${stored.join(', ')}`)
}

/** Resolves with the tasks that the operands name, or with all unfinished ones. Rejects with UsageError. */
async function choose({ tasks }: TaskContext, operands: readonly string[]): Promise<readonly CancelledTask[]> {
  const invalid = operands.filter((operand) => !/^[1-9]\d{0,14}$/u.test(operand))
  if (invalid.length > 0) {
    const all = invalid.map(displayed).join(', ')
    throw new UsageError(`TASK must be a number printed by "osp tasks", not ${all}`)
  }
  const all = await listed(tasks)
  if (operands.length === 0) return all.filter(isPending)
  const byNumber = new Map(all.map((task) => [task.id, task]))
  const numbers = [...new Set(operands.map(Number))]
  const unknown = numbers.filter((number) => !byNumber.has(number))
  if (unknown.length > 0) {
    const what = unknown.length === 1 ? 'there is no task' : 'there are no tasks'
    throw new UsageError(`${what} ${unknown.join(', ')}; run "osp tasks" to list tasks`)
  }
  return numbers.flatMap((number) => byNumber.get(number) ?? [])
}

/** Returns whether a task is neither done nor failed nor cancelled. */
export function isPending({ state }: Pick<CancelledTask, 'state'>): boolean {
  return state !== 'done' && state !== 'failed' && state !== 'cancelled'
}
