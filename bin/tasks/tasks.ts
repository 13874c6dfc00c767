import { type CancelledTask, isSpooled, stateDirectory, type TaskControl, taskControl } from 'ospd/node'
import { openClient } from '../common/client.ts'
import { type CommonOptions, commonOptions } from '../common/commonOptions.ts'
import type { PrintedEvent } from '../common/events.ts'
import { adviceAbout, LinkReporter } from '../common/link.ts'
import { results, say, sayEmpty } from '../common/output.ts'
import { command } from '../common/program.ts'
import { resetUnused, switched, type Values } from '../common/settings.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { fit, printable, type Styles, stylesFor, widthOf } from '../common/text.ts'
import { ConfiguredToken } from '../common/token.ts'
import { formatPart, formatTime, percentOf } from '../common/units.ts'
import { displayed, exitCodes, UsageError } from '../common/usage.ts'

const { server, user, state, quiet, json } = commonOptions

/** The settings of every command for tasks: the user and the server of the tasks. */
export const tasksSettings = { server, user, state, quiet, json } as const

const settings = {
  all: switched('also list stored files: the latest 1,000 of the last 24 hours', 'a'),
  why: switched('print the reason below each task that does not proceed', 'w'),
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

async function list({ tasks, print }: TaskContext, values: Values<typeof settings>): Promise<number> {
  const all = await listed(tasks)
  const shown = values.all ? all : all.filter(({ state }) => state !== 'done')
  print(shown, values.why)
  if (all.length === 0) sayEmpty('there are no tasks', values)
  else if (shown.length === 0) sayEmpty('all files are stored; run "osp tasks --all" to list them', values)
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

const chooseTasks = 'specify each TASK to cancel, or only --all'

const { 'retry-for': _, ...connectionOptions } = commonOptions
const cancelSettings = { all: switched('cancel all unfinished tasks', 'a'), ...connectionOptions } as const

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
  run(values, operands, flags) {
    const { all } = resetUnused(cancelSettings, operands.length > 0 ? ['all'] : [], values, flags, chooseTasks)
    // Has no effect: the only attempt to reach the server ends earlier.
    return withTasks(values, (at) => cancel(at, all, operands), { ...values, 'retry-for': 10_000 })
  },
})

async function cancel(at: TaskContext, all: boolean, operands: readonly string[]): Promise<number> {
  const { tasks, hint, print } = at
  if (!all && operands.length === 0) throw new UsageError(chooseTasks)
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

/** The tasks and the output of a command. */
export interface TaskContext {
  readonly tasks: TaskControl
  readonly directory: string
  /** Prints a remark, unless `--quiet` or `--json` is set. */
  readonly hint: (text: string) => void
  readonly print: (tasks: readonly CancelledTask[], withReasons?: boolean) => void
}

/** Runs a command for the tasks of a user. Resolves with the exit code. `connection` allows it to contact the server. */
export async function withTasks(
  values: Values<typeof tasksSettings>,
  work: (at: TaskContext) => Promise<number>,
  connection?: CommonOptions,
): Promise<number> {
  const directory = openStateDirectory(values)
  let isAuthorized = true
  const client = (options: CommonOptions) => () => {
    const token = new ConfiguredToken(options)
    const reporter = new LinkReporter({ ...options, json: false })
    return openClient(options, token, { state: stateDirectory(directory) }).on('status', (status, error) => {
      if (status !== 'refused' || error?.code !== 'unauthorized') return
      isAuthorized = false
      reporter.gaveUp(error, adviceAbout(error, token))
    })
  }
  const tasks = taskControl(directory, { client: connection && client(connection) })
  const done = await work({
    tasks,
    directory,
    hint(text) {
      if (!values.quiet && !values.json) say(text, 'yellow')
    },
    print(tasks, withReasons = false) {
      if (values.json) for (const task of tasks) results.event(taskEvent(task, directory))
      else for (const line of taskLines(tasks, withReasons, stylesFor(process.stdout))) results.line(line)
    },
  })
  return done || (isAuthorized ? exitCodes.done : exitCodes.unauthorized)
}

/** Prints a remark if no program sends the tasks. */
export function hintNoSender({ tasks, hint }: TaskContext): void {
  if (!tasks.sending) hint('no osp send is running; run "osp send" to send them')
}

/** Resolves with the tasks, without cancelled ones. */
export async function listed(tasks: TaskControl): Promise<readonly CancelledTask[]> {
  const all: readonly CancelledTask[] = await tasks.list()
  return all.filter(({ state }) => state !== 'cancelled')
}

/** Formats tasks: number, state, percent, bytes, name. With reasons, a line below each task that does not proceed. */
function taskLines(tasks: readonly CancelledTask[], withReasons: boolean, styles: Styles): readonly string[] {
  const rows = tasks.map((task) => ({ task, cells: cellsOf(task) }))
  const widths = [0, 1, 2, 3].map((at) => rows.reduce((most, { cells }) => Math.max(most, widthOf(cells[at] ?? '')), 0))
  return rows.flatMap(({ task, cells }) => {
    const [number = '', state = '', part = '', sizes = ''] = cells.map((cell, at) =>
      at === 1 ? fit(cell, widths[at] ?? 0) : cell.padStart(widths[at] ?? 0),
    )
    const line = [number, styleOf(task, styles)(state), part, styles.dim(sizes), printable(task.name)].join('  ')
    if (!withReasons || !task.reason) return [line]
    const { text, retryMs } = task.reason
    const reason = retryMs === undefined ? text : `${text}; next try in ${formatTime(retryMs)}`
    return [line, `${' '.repeat(number.length + 2)}${styles.yellow(printable(reason))}`]
  })
}

function taskEvent(task: CancelledTask, directory: string): PrintedEvent {
  const { id, ref, name, acknowledged, durable, size, reason } = task
  const file = ref === undefined ? name : refText(directory, ref)
  const failure = { code: reason?.code ?? null, text: reason?.text ?? null, retryMs: reason?.retryMs ?? null }
  return { event: 'task', task: id, file, name, state: stateOf(task), acknowledged, durable, size, ...failure }
}

function cellsOf(task: CancelledTask): readonly string[] {
  const { id, acknowledged, size, state } = task
  const part = state === 'done' ? 100 : percentOf(acknowledged, size)
  return [String(id), stateOf(task), `${part}%`, size > 0 || state === 'done' ? formatPart(acknowledged, size) : '']
}

/** Reports a file that is being verified as being sent. */
const stateOf = ({ state }: CancelledTask) => (state === 'verifying' ? 'sending' : state)

function styleOf({ state }: CancelledTask, { green, red, yellow, cyan }: Styles): (text: string) => string {
  if (state === 'done') return green
  if (state === 'failed') return red
  return state === 'sending' || state === 'verifying' ? cyan : yellow
}

/** Returns the path of the content of a task, or `-` if it was read from stdin. */
export const refText = (directory: string, ref: string): string => (isSpooled(directory, ref) ? '-' : ref)
