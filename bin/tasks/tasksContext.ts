import { type CancelledTask, isSpooled, stateDirectory, type TaskControl, taskControl } from 'ospd/node'
import { openClient } from '../common/client.ts'
import { type CommonOptions, commonOptions } from '../common/commonOptions.ts'
import type { PrintedEvent } from '../common/events.ts'
import { LinkTextReporter } from '../common/link.ts'
import { results, say } from '../common/output.ts'
import type { Values } from '../common/settings.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { fit, printable, type Styles, stylesFor, widthOf } from '../common/text.ts'
import { ConfiguredToken } from '../common/token.ts'
import { formatPart, formatTime, percentOf } from '../common/units.ts'
import { exitCodes } from '../common/usage.ts'

const { server, user, state, 'retry-for': retryFor, quiet, json } = commonOptions

/** The settings of every command for tasks: the user and the server of the tasks. */
export const tasksSettings = { server, user, state, 'retry-for': retryFor, quiet, json } as const

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
  const directory = await openStateDirectory(values)
  let isAuthorized = true
  const client = (options: CommonOptions) => () => {
    const token = new ConfiguredToken(options)
    const reporter = new LinkTextReporter(options)
    return openClient(options, token, { state: stateDirectory(directory) }).on('status', (status, error) => {
      if (status !== 'refused' || error?.code !== 'unauthorized') return
      isAuthorized = false
      reporter.gaveUp(error, token.advice(error))
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
    if (!withReasons || !task.why) return [line]
    const { text, retryMs } = task.why
    const reason = retryMs === undefined ? text : `${text}; next try in ${formatTime(retryMs)}`
    return [line, `${' '.repeat(number.length + 2)}${styles.yellow(printable(reason))}`]
  })
}

function taskEvent(task: CancelledTask, directory: string): PrintedEvent {
  const { id, ref, name, acknowledged, durable, size, why } = task
  const file = ref === undefined ? name : refText(directory, ref)
  const reason = { why: why?.text ?? null, code: why?.code ?? null, retryMs: why?.retryMs ?? null }
  return { event: 'task', task: id, file, name, state: stateOf(task), acknowledged, durable, size, ...reason }
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
