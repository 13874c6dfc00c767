import { exitCodes } from '../common/exitCodes.ts'
import { command } from '../common/program.ts'
import { switched, type Values } from '../common/settings.ts'
import { unexpectedOperand } from '../common/usage.ts'
import { listed, tasksSettings, withTasks } from './tasksContext.ts'

const settings = {
  all: switched({ alias: 'a', describe: 'also list stored files: the latest 1,000 of the last 24 hours' }),
  why: switched({ alias: 'w', describe: 'print the reason below each task that does not proceed' }),
  ...tasksSettings,
} as const

/** `osp tasks`: lists the tasks of a user. */
export const tasksCommand = command({
  name: 'tasks',
  operands: '',
  describe: 'List the tasks that are being sent or waiting, and those that failed in the last 24 hours.',
  settings,
  examples: [
    ['osp tasks', 'print number, state, progress and name of each task'],
    ['osp tasks --why', 'also print why tasks do not proceed'],
    ['osp tasks --all', 'also list stored files'],
    ['osp tasks --json | jq -r .file', 'print the paths only'],
  ],
  onlyLists: () => true,
  run,
})

async function run(values: Values<typeof settings>, operands: readonly string[]): Promise<number> {
  const [operand] = operands
  if (operand !== undefined) throw unexpectedOperand('tasks', operand)
  return await withTasks(values, async ({ tasks, hint, print }) => {
    const all = await listed(tasks)
    const shown = values.all ? all : all.filter(({ state }) => state !== 'done')
    print(shown, values.why)
    if (shown.length > 0) return exitCodes.done
    hint(all.length === 0 ? 'there are no tasks' : 'all files are stored; run "osp tasks --all" to list them')
    return exitCodes.done
  })
}
