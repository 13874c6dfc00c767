import type { CancelledTask } from 'ospd/node'
import { commonOptions } from '../common/commonOptions.ts'
import { exitCodes } from '../common/exitCodes.ts'
import { command } from '../common/program.ts'
import { switched } from '../common/settings.ts'
import { UsageError } from '../common/usage.ts'
import {
  asUsage,
  isUnfinished,
  listed,
  numbersOf,
  type TaskContext,
  tasksOf,
  tasksSettings,
  withTasks,
} from './tasksContext.ts'

/** `osp pause`: pauses tasks. */
export const pauseCommand = command({
  name: 'pause',
  operands: '[TASK...]',
  describe: 'Pause tasks, or all tasks without TASK. The server keeps the content that it has received.',
  settings: tasksSettings,
  examples: [
    ['osp pause', 'pause all tasks, including those of a running osp send'],
    ['osp pause 3 4', 'pause two tasks; "osp tasks" prints the numbers'],
  ],
  run: (values, operands) =>
    withTasks(values, async (at) => {
      const tasks = await change(at, operands, (ids) => at.tasks.pause(ids))
      if (tasks.length === 0) at.hint('there is nothing to pause')
      return exitCodes.done
    }),
})

/** `osp continue`: continues paused tasks. */
export const continueCommand = command({
  name: 'continue',
  operands: '[TASK...]',
  describe: 'Continue paused tasks, or all of them without TASK. Retry failed tasks that are specified.',
  settings: tasksSettings,
  examples: [
    ['osp continue', 'continue all paused tasks'],
    ['osp continue 3', 'continue or retry one task'],
  ],
  run: (values, operands) =>
    withTasks(values, async (at) => {
      const tasks = await change(at, operands, (ids) => at.tasks.resume(ids))
      if (tasks.length === 0) at.hint('there is nothing to continue')
      else if (!at.tasks.sending && tasks.some(({ state }) => state === 'waiting')) {
        at.hint('no osp send is running; run "osp send" to send them')
      }
      return exitCodes.done
    }),
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
  run: (values, operands) =>
    withTasks(
      values,
      async ({ tasks, hint, print }) => {
        const numbers = numbersOf(operands)
        if (values.all === numbers.length > 0) throw new UsageError('specify each TASK to cancel, or only --all')
        const chosen = await choose(listed(tasks), numbers)
        const wanted = chosen.filter(({ state }) => state !== 'done')
        const cancelled = await tasks.cancel(wanted.map(({ id }) => id)).catch(asUsage)
        print(cancelled)
        if (chosen.length === 0) hint('there is nothing to cancel')
        reportStored(chosen, hint)
        if (cancelled.some(({ state }) => state === 'cancelling')) {
          hint('the server cannot be reached now; the next "osp send" completes the cancellation')
        }
        return exitCodes.done
      },
      values,
    ),
})

/** Applies `act` to the tasks with these numbers, or to all unfinished tasks. Prints and returns their new state. */
async function change(
  { tasks, hint, print }: TaskContext,
  operands: readonly string[],
  act: (ids: readonly number[] | undefined) => Promise<void>,
): Promise<readonly CancelledTask[]> {
  const numbers = numbersOf(operands)
  const chosen = await choose(listed(tasks), numbers)
  await act(numbers.length > 0 ? numbers : undefined).catch(asUsage)
  const ids = new Set(chosen.map(({ id }) => id))
  const now = (await listed(tasks)).filter(({ id }) => ids.has(id))
  print(now)
  reportStored(chosen, hint)
  return now
}

/** Reports the tasks that are already done. */
function reportStored(tasks: readonly CancelledTask[], hint: TaskContext['hint']): void {
  const stored = tasks.filter(({ state }) => state === 'done').map(({ id }) => id)
  if (stored.length > 0) hint(`already stored, not changed: ${stored.join(', ')}`)
}

/** Returns the tasks with these numbers, or all unfinished tasks if there are no numbers. */
async function choose(all: ReturnType<typeof listed>, numbers: readonly number[]) {
  return numbers.length > 0 ? tasksOf(await all, numbers) : (await all).filter(isUnfinished)
}
