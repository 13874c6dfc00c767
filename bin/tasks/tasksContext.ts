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

/** The settings of every command about tasks: whose they are, at which server. Only who asks that server needs the way there. */
export const tasksSettings = { server, user, state, 'retry-for': retryFor, quiet, json } as const

export type TasksValues = Values<typeof tasksSettings>

/** What a command has that looks at tasks or steers them. */
export interface TaskContext {
  readonly tasks: TaskControl
  readonly directory: string
  readonly results: ResultOutput
  readonly say: StatusPrinter
  /** Says something that is no result, unless it is to be quiet. */
  readonly hint: (text: string) => void
  /** Prints tasks as results. */
  readonly print: (tasks: readonly CancelledTask[], why?: boolean) => void
}

/** Runs a command about the tasks of a user, and returns the exit code. `way` is how the server is asked by one that does so. */
export async function withTasks(
  values: TasksValues,
  work: (at: TaskContext) => Promise<number>,
  way?: CommonOptions,
): Promise<number> {
  const directory = await openStateDirectory(values)
  const say = statusPrinter(errorLine, stylesFor(process.stderr))
  let letIn = true
  const client = (way: CommonOptions) => () => {
    const token = new ConfiguredToken(way)
    const opened = openClient(way, token, { state: stateDirectory(directory) })
    return opened.on('status', (status, why) => {
      if (status !== 'refused' || why?.code !== 'unauthorized') return
      letIn = false
      new LinkTextReporter({ say, server: addressText(way.server), retryForMs: way['retry-for'], quiet: true }).gaveUp(
        why,
        token.advice(why),
      )
    })
  }
  const print = (tasks: readonly CancelledTask[], why = false) => {
    if (values.json) for (const task of tasks) results.event(taskEvent(task, directory))
    else for (const line of taskLines(tasks, why, stylesFor(process.stdout))) results.line(line)
  }
  const hint = (text: string) => {
    if (!values.quiet && !values.json) say(text, 'yellow')
  }
  const tasks = taskControl(directory, { client: way && client(way) })
  const done = await work({ tasks, directory, results, say, hint, print })
  return done || (letIn ? exitCodes.done : exitCodes.notLetIn)
}

/** The numbers that were given as operands. Throws UsageError where one is none. */
export function numbersOf(operands: readonly string[]): readonly number[] {
  const wrong = operands.filter((operand) => !/^[1-9]\d{0,14}$/u.test(operand))
  if (wrong.length > 0) {
    throw new UsageError(`TASK is a number that "osp tasks" prints, not ${wrong.map(shown).join(', ')}`)
  }
  return [...new Set(operands.map(Number))]
}

/** The tasks of these numbers. Throws UsageError that names those which no task has. */
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

/** What is still to be done about: neither done nor failed nor cancelled. */
export function isUnfinished({ state }: Pick<CancelledTask, 'state'>): boolean {
  return state !== 'done' && state !== 'failed' && state !== 'cancelled'
}

/** Those that are listed; what was cancelled is gone. */
export async function listed(tasks: TaskControl): Promise<readonly CancelledTask[]> {
  const all: readonly CancelledTask[] = await tasks.list()
  return all.filter(({ state }) => state !== 'cancelled')
}

/** Throws UsageError for numbers of tasks that are over meanwhile. */
export function asUsage(error: unknown): never {
  if (error instanceof OspError && error.code === 'usage') throw new UsageError(error.message)
  throw error
}
