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
  describe: 'Pause tasks, or all without TASK; what the server has of them it keeps.',
  settings: tasksSettings,
  examples: [
    ['osp pause', 'all, also those of an osp send that is running'],
    ['osp pause 3 4', 'two; "osp tasks" prints the numbers'],
  ],
  run: (values, operands) =>
    withTasks(values, async (at) => {
      const tasks = await steered(at, operands, (ids) => at.tasks.pause(ids))
      if (tasks.length === 0) at.hint('there is nothing to pause')
      return exitCodes.done
    }),
})

/** `osp continue`: lets paused tasks go on. */
export const continueCommand = command({
  name: 'continue',
  operands: '[TASK...]',
  describe: 'Let paused tasks go on, or all without TASK; a failed one is tried again if it is named.',
  settings: tasksSettings,
  examples: [
    ['osp continue', 'all that are paused'],
    ['osp continue 3', 'one'],
  ],
  run: (values, operands) =>
    withTasks(values, async (at) => {
      const tasks = await steered(at, operands, (ids) => at.tasks.resume(ids))
      if (tasks.length === 0) at.hint('there is nothing to continue')
      else if (!at.tasks.sending && tasks.some(({ state }) => state === 'waiting')) {
        at.hint('no osp send is running; "osp send" sends them')
      }
      return exitCodes.done
    }),
})

const cancelSettings = {
  all: switched({ alias: 'a', describe: 'all unfinished tasks' }),
  ...commonOptions,
} as const

/** `osp cancel`: cancels tasks. */
export const cancelCommand = command({
  name: 'cancel',
  operands: 'TASK...|--all',
  describe: 'Cancel tasks: what the server has of them is removed; never a file that it has stored.',
  settings: cancelSettings,
  examples: [
    ['osp cancel 3', 'one task; "osp tasks" prints its number'],
    ['osp cancel --all', 'everything that is unfinished'],
  ],
  run: (values, operands) =>
    withTasks(
      values,
      async ({ tasks, hint, print }) => {
        const numbers = numbersOf(operands)
        if (values.all === numbers.length > 0) throw new UsageError('name each TASK to cancel, or give --all alone')
        const chosen = await choose(listed(tasks), numbers)
        const wanted = chosen.filter(({ state }) => state !== 'done')
        const cancelled = await tasks.cancel(wanted.map(({ id }) => id)).catch(asUsage)
        print(cancelled)
        if (chosen.length === 0) hint('there is nothing to cancel')
        tellStored(chosen, hint)
        if (cancelled.some(({ state }) => state === 'cancelling')) {
          hint('the server could not be asked at once: it removes what it has at the next contact, by "osp send"')
        }
        return exitCodes.done
      },
      values,
    ),
})

/** Does something about the tasks of these numbers, or all; prints and returns them as they stand then. */
async function steered(
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
  tellStored(chosen, hint)
  return now
}

/** Names those to which nothing can be done any more. */
function tellStored(tasks: readonly CancelledTask[], hint: TaskContext['hint']): void {
  const stored = tasks.filter(({ state }) => state === 'done').map(({ id }) => id)
  if (stored.length > 0) hint(`stored already, and left as it is: ${stored.join(', ')}`)
}

/** The tasks of these numbers; without numbers those that are unfinished. */
async function choose(all: ReturnType<typeof listed>, numbers: readonly number[]) {
  return numbers.length > 0 ? tasksOf(await all, numbers) : (await all).filter(isUnfinished)
}
