import { OspError } from 'ospd'
import { type CancelledTask, stateDirectory, type TaskControl, taskControl } from 'ospd/node'
import { openClient } from '../common/client.ts'
import { type CommonOptions, commonOptions } from '../common/commonOptions.ts'
import { exitCodes } from '../common/exitCodes.ts'
import { LinkTextReporter } from '../common/link.ts'
import { errorLine, type ResultOutput, results, type StatusPrinter, statusPrinter } from '../common/output.ts'
import { addressText, type Values } from '../common/settings.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { stylesFor } from '../common/text.ts'
import { ConfiguredToken } from '../common/token.ts'
import { shown, UsageError } from '../common/usage.ts'
import { taskEvent, taskLines } from './taskLines.ts'

const { server, user, state, 'retry-for': retryFor, quiet, json } = commonOptions

/** The settings of every command for tasks: the user and the server of the tasks. */
export const tasksSettings = { server, user, state, 'retry-for': retryFor, quiet, json } as const

export type TasksValues = Values<typeof tasksSettings>

/** The tasks and the output of a command. */
export interface TaskContext {
  readonly tasks: TaskControl
  readonly directory: string
  readonly results: ResultOutput
  readonly say: StatusPrinter
  /** Prints a remark, unless `--quiet` or `--json` is set. */
  readonly hint: (text: string) => void
  /** Prints tasks as results. */
  readonly print: (tasks: readonly CancelledTask[], why?: boolean) => void
}

/** Runs a command for the tasks of a user. Resolves with the exit code. `connection` allows it to contact the server. */
export async function withTasks(
  values: TasksValues,
  work: (at: TaskContext) => Promise<number>,
  connection?: CommonOptions,
): Promise<number> {
  const directory = await openStateDirectory(values)
  const say = statusPrinter(errorLine, stylesFor(process.stderr))
  let isAuthorized = true
  const client = (options: CommonOptions) => () => {
    const token = new ConfiguredToken(options)
    const { server, 'retry-for': retryForMs } = options
    const reporter = new LinkTextReporter({ say, server: addressText(server), retryForMs, quiet: true })
    return openClient(options, token, { state: stateDirectory(directory) }).on('status', (status, error) => {
      if (status !== 'refused' || error?.code !== 'unauthorized') return
      isAuthorized = false
      reporter.gaveUp(error, token.advice(error))
    })
  }
  const print = (tasks: readonly CancelledTask[], why = false) => {
    if (values.json) for (const task of tasks) results.event(taskEvent(task, directory))
    else for (const line of taskLines(tasks, why, stylesFor(process.stdout))) results.line(line)
  }
  const hint = (text: string) => {
    if (!values.quiet && !values.json) say(text, 'yellow')
  }
  const tasks = taskControl(directory, { client: connection && client(connection) })
  const done = await work({ tasks, directory, results, say, hint, print })
  return done || (isAuthorized ? exitCodes.done : exitCodes.notLetIn)
}

/** Returns the task numbers that were given as operands. Throws UsageError if an operand is not a number. */
export function numbersOf(operands: readonly string[]): readonly number[] {
  const wrong = operands.filter((operand) => !/^[1-9]\d{0,14}$/u.test(operand))
  if (wrong.length > 0) {
    throw new UsageError(`TASK must be a number printed by "osp tasks", not ${wrong.map(shown).join(', ')}`)
  }
  return [...new Set(operands.map(Number))]
}

/** Returns the tasks with these numbers. Throws UsageError that lists the unknown numbers. */
export function tasksOf<T extends { readonly id: number }>(
  all: readonly T[],
  numbers: readonly number[],
): readonly T[] {
  const byNumber = new Map(all.map((task) => [task.id, task]))
  const wrong = numbers.filter((number) => !byNumber.has(number))
  if (wrong.length > 0) {
    const what = wrong.length === 1 ? 'there is no task' : 'there are no tasks'
    throw new UsageError(`${what} ${wrong.join(', ')}; run "osp tasks" to list tasks`)
  }
  return numbers.flatMap((number) => byNumber.get(number) ?? [])
}

/** Returns whether a task is neither done nor failed nor cancelled. */
export function isUnfinished({ state }: Pick<CancelledTask, 'state'>): boolean {
  return state !== 'done' && state !== 'failed' && state !== 'cancelled'
}

/** Resolves with the tasks, without cancelled ones. */
export async function listed(tasks: TaskControl): Promise<readonly CancelledTask[]> {
  const all: readonly CancelledTask[] = await tasks.list()
  return all.filter(({ state }) => state !== 'cancelled')
}

/** Throws UsageError for the numbers of tasks that have ended meanwhile. */
export function asUsage(error: unknown): never {
  if (error instanceof OspError && error.code === 'usage') throw new UsageError(error.message)
  throw error
}
