import { fstatSync } from 'node:fs'
import type { Client, LogEntry } from 'ospd'
import { openTasks, type ServedTasks, stateDirectory, taskControl } from 'ospd/node'
import { openClient } from '../common/client.ts'
import { commonOptions } from '../common/commonOptions.ts'
import { watchLink } from '../common/link.ts'
import { errorLine, type ResultOutput, results, type StatusPrinter, statusPrinter } from '../common/output.ts'
import { command } from '../common/program.ts'
import {
  addressText,
  count,
  oneOf,
  optional,
  path,
  setting,
  size,
  switched,
  text,
  type Values,
} from '../common/settings.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { onInterrupt } from '../common/terminal.ts'
import { isTerminal, stylesFor } from '../common/text.ts'
import { ConfiguredToken } from '../common/token.ts'
import { shownRef } from '../tasks/taskLines.ts'
import { Bars, ProgressLines } from './bars.ts'
import { candidatesOf, type Found } from './candidates.ts'
import { FileSender } from './fileSender.ts'
import { JsonReporter } from './jsonReporter.ts'
import { takeKeys } from './keys.ts'
import { Overview } from './overview.ts'
import type { SendReporter } from './reporter.ts'
import { SendSummary } from './sendSummary.ts'
import { TextReporter } from './textReporter.ts'

/** The settings of `osp send`. */
export const sendSettings = {
  recursive: switched({ alias: 'r', describe: 'send the contents of folders' }),
  jobs: setting(count, '5', { alias: 'j', describe: 'send up to N files at once' }),
  as: optional({ ...text, placeholder: 'NAME' }, { describe: 'name on the server, for a single FILE' }),
  'files-from': optional(path, { describe: 'read paths to send, one per line, from this file; - is stdin' }),
  from0: switched({ alias: '0', describe: 'paths in --files-from end with NUL, as written by find -print0' }),
  digest: setting(oneOf('sha256', 'md5', 'xxh128'), 'sha256', { describe: 'digest algorithm for verifying files' }),
  'limit-rate': optional(size, { describe: 'send up to SIZE bytes per second in total', unset: 'no limit' }),
  ...commonOptions,
} as const

export type SendValues = Values<typeof sendSettings>

/** `osp send`: uploads files. */
export const sendCommand = command({
  name: 'send',
  operands: '[FILE...]',
  takesPaths: true,
  describe:
    'Upload files. An interrupted upload continues where the server stopped receiving. Without FILE, continue all ' +
    'unfinished tasks. Keys on a terminal: p pauses or continues, c cancels, q quits and keeps the tasks.',
  settings: sendSettings,
  examples: [
    ['osp send movie.mp4', 'send one file'],
    ['osp send', 'continue all unfinished tasks'],
    ['osp send -r photos --limit-rate 2M', 'send a folder, at up to 2 MiB per second'],
    ['find . -name "*.log" | osp send --files-from -', 'send files as they are found'],
    ['pg_dump shop | osp send - --as shop.sql', 'send the content of stdin'],
    ['osp send *.iso | sha256sum -c', 'check the local files against the sent digests'],
  ],
  run,
})

async function run(values: SendValues, operands: readonly string[]): Promise<number> {
  const directory = await openStateDirectory(values)
  const candidates = await candidatesOf(values, operands, directory)
  const began = performance.now()
  const summary = new SendSummary()
  const stop = new AbortController()
  stop.signal.addEventListener('abort', () => candidates.input?.destroy(), { once: true })
  const { jobs, 'limit-rate': limitRate, digest } = values
  const state = stateDirectory(directory)
  const token = new ConfiguredToken(values)
  const client = openClient(values, token, { uploadsAtOnce: jobs, limitRate, state, log: warnIfNotStored() })
  await using tasks = await openTasks(client.uploads, directory)
  const report = openReporter(values, results)
  const { reporter } = report
  const sending = new FileSender({
    uploads: tasks.joined ? tasks : client.uploads,
    reporter,
    summary: summary,
    digest,
    stop: stop.signal,
    refusal: () => summary.refusal,
    isAwaited: (id) => !tasks.joined && tasks.isAwaited(id),
    shown: (ref) => shownRef(directory, ref),
  })
  watchLink(client, token, reporter)
  client.on('status', (status, why) => {
    if (status !== 'refused' || !why) return
    summary.gaveUp(why)
    sending.gaveUp()
  })
  const interrupts = onInterrupt(() => {
    summary.interrupted([...client.uploads].filter(({ phase }) => phase === 'paused').length)
    stop.abort()
    void client.close()
    if (tasks.joined) void tasks.close()
  })
  const reads = values['files-from'] === '-' || operands.includes('-')
  using _ = tasks.joined || reads ? undefined : takeKeys(client.uploads, report.say)
  const all = operands.length === 0 && values['files-from'] === undefined
  if (tasks.joined) {
    reporter.joined(all ? `${joinedText}, except paused ones` : joinedText)
    await sending.send(all ? unfinishedOf(directory) : candidates)
  } else await serve({ client, tasks, sending, reporter, all, candidates, isOver: () => exitsEarly(stop, summary) })
  await client.close()
  if (tasks.joined) await tasks.close()
  await sending.settled()
  interrupts[Symbol.dispose]()
  reporter.end(summary, (performance.now() - began) / 1_000, sending.unfinished)
  report[Symbol.dispose]()
  return summary.exitCode
}

const exitsEarly = ({ signal }: AbortController, { refusal }: SendSummary) => signal.aborted || refusal !== undefined

/** Warns once that the list of tasks cannot be written. */
function warnIfNotStored(): (entry: LogEntry) => void {
  let isSaid = false
  return ({ event, text }) => {
    if (event !== 'task-not-kept' || isSaid) return
    isSaid = true
    statusPrinter(errorLine, stylesFor(process.stderr))(`the list of tasks is no longer up to date: ${text}`, 'yellow')
  }
}

const joinedText = 'another osp send is running and sends the files'

/** Yields the open tasks of the program that was joined. */
async function* unfinishedOf(directory: string): AsyncGenerator<Found> {
  for (const { ref, name, size, state } of await taskControl(directory).list()) {
    const isOpen = state === 'waiting' || state === 'sending' || state === 'verifying'
    if (isOpen && ref !== undefined) yield { path: ref, name, size }
  }
}

interface Serving {
  readonly client: Client
  readonly tasks: ServedTasks
  readonly sending: FileSender
  readonly reporter: SendReporter
  /** Whether to continue every unfinished task, and not only those that are being cancelled. */
  readonly all: boolean
  readonly candidates: AsyncIterable<Found>
  readonly isOver: () => boolean
}

/** Sends the candidates, and tasks that other programs add meanwhile. */
async function serve({ client, tasks, sending, reporter, all, candidates, isOver }: Serving): Promise<void> {
  const { uploads } = client
  uploads.on('change', (upload) => sending.adopt(upload))
  // Other programs may already have added some.
  for (const upload of uploads) sending.adopt(upload)
  const kept = all ? [] : await uploads.tasks()
  const restored = await uploads.restore(all ? undefined : cancelling(kept))
  const paused = sending.park(restored)
  if (paused.length > 0) reporter.paused(paused)
  if (all && restored.length === 0) reporter.nothing()
  await sending.send(candidates)
  while (!isOver() && !tasks.end()) {
    await tasks.idle()
    await sending.rest()
  }
}

const cancelling = (tasks: Awaited<ReturnType<Client['uploads']['tasks']>>) =>
  tasks.filter(({ state }) => state === 'cancelling').map(({ id }) => id)

/** Interval of the `progress` events in JSON. */
const progressMs = 1_000

/** A reporter that must be disposed of after it has reported the end. */
export interface OpenReporter extends Disposable {
  readonly reporter: SendReporter
  /** Prints a sentence above the bars. */
  readonly say: StatusPrinter
}

/** Returns whether the program that reads stdout may also write to the terminal. */
function sharesTerminal(): boolean {
  try {
    const stdout = fstatSync(process.stdout.fd)
    return stdout.isFIFO() || stdout.isSocket()
  } catch {
    return false
  }
}

/**
 * Returns the requested reporter. It draws bars if stderr is a terminal that no other program of the command line
 * writes to.
 */
function openReporter(values: SendValues, results: ResultOutput): OpenReporter {
  const { server, json, quiet, 'retry-for': retryForMs } = values
  const place = addressText(server)
  if (json) {
    const reporter = new JsonReporter(place, (event) => results.event(event))
    const timer = setInterval(() => {
      if (!results.pending) reporter.progress(performance.now())
    }, progressMs)
    const say = statusPrinter(errorLine, stylesFor(process.stderr))
    return { reporter, say, [Symbol.dispose]: () => clearInterval(timer) }
  }
  const terminal = { results: isTerminal(process.stdout), notes: isTerminal(process.stderr) }
  const options = { styles: stylesFor(process.stderr), server: place, retryForMs, quiet, terminal }
  if (!terminal.notes || quiet) {
    const lines = { result: (line: string) => results.line(line), note: errorLine }
    const say = statusPrinter(errorLine, options.styles)
    return { reporter: new TextReporter({ ...options, lines }), say, [Symbol.dispose]() {} }
  }
  const overview = new Overview()
  const bars = new (sharesTerminal() ? ProgressLines : Bars)(overview, results)
  return {
    reporter: new TextReporter({ ...options, lines: bars, overview }),
    say: statusPrinter((line) => bars.note(line), options.styles),
    [Symbol.dispose]: () => bars[Symbol.dispose](),
  }
}
