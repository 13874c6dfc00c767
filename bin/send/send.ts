import { isatty } from 'node:tty'
import { type Client, type FileSource, isUserName, OspError, type Upload, type UploadOptions, type Uploads } from 'ospd'
import {
  type JoinedTasks,
  type OutboxControl,
  openTasks,
  outboxControl,
  type ServedTasks,
  stateDirectory,
  taskControl,
} from 'ospd/node'
import { openClient, reportMessage, reportRefusedMessages } from '../common/client.ts'
import { commonOptions } from '../common/commonOptions.ts'
import { watchLink } from '../common/link.ts'
import { type StatusPrinter, sayOnce } from '../common/output.ts'
import { pairs, pairsOf } from '../common/pairs.ts'
import { command } from '../common/program.ts'
import {
  choice,
  kind,
  optionalSetting,
  repeatable,
  resetUnused,
  setting,
  switched,
  type Values,
} from '../common/settings.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { controlKeys, onInterrupt, readKeys, signalAll } from '../common/terminal.ts'
import { ConfiguredToken } from '../common/token.ts'
import { isPending } from '../tasks/tasks.ts'
import { candidatesOf, type FoundPaths } from './candidates.ts'
import { FileSender } from './fileSender.ts'
import { HandledFiles } from './handledFiles.ts'
import { openLines } from './lines.ts'
import { Overview } from './overview.ts'
import { type ReportedFile, SendReporter, SendSummary } from './reporter.ts'

/** The settings of `osp send`. */
export const sendSettings = {
  recursive: switched('send the contents of folders', 'r'),
  jobs: setting(kind.count, '5', 'send up to N files at once', 'j'),
  as: optionalSetting({ ...kind.text, placeholder: 'NAME' }, 'name on the server, for a single FILE'),
  'files-from': optionalSetting(kind.path, 'read paths to send, one per line, from this file; - is stdin'),
  from0: switched('paths in --files-from end with NUL, as written by find -print0', '0'),
  digest: setting(choice('sha256', 'md5', 'xxh128'), 'sha256', 'digest algorithm for verifying files'),
  meta: pairs('store this metadata with each file, such as contentType=image/png'),
  to: repeatable(
    'USER',
    'a user name',
    (name) => (isUserName(name) ? name : undefined),
    'send this user a message about each file, with a reference for downloading it, even if the file is already stored',
  ),
  wait: setting(
    choice('stored', 'handled'),
    'stored',
    'when a file is complete: after the server has stored it, or after each user who is notified of it has handled the message',
  ),
  'limit-rate': optionalSetting(kind.size, 'send up to SIZE bytes per second in total', 'no limit'),
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
    'unfinished tasks and send the messages of the outbox. Keys on a terminal: p pauses or continues, c cancels, q quits and ' +
    'keeps the tasks.',
  settings: sendSettings,
  examples: [
    ['osp send movie.mp4', 'send one file'],
    ['osp send', 'continue all unfinished tasks and send queued messages'],
    ['osp send -r photos --limit-rate 2M', 'send a folder, at up to 2 MiB per second'],
    ['find . -name "*.log" | osp send --files-from -', 'send files as they are found'],
    ['pg_dump shop | osp send - --as shop.sql', 'send the content of stdin'],
    ['osp send --meta contentType=image/png a.png', 'store a media type with a file'],
    ['osp send plan.pdf --to bob --to carol', 'send a file to other users'],
    ['osp send data.csv --wait handled', 'wait until the programs that the server notifies have handled the file'],
    ['osp send *.iso | sha256sum -c', 'check the local files against the sent digests'],
  ],
  run(values, operands, flags) {
    const hasList = values['files-from'] !== undefined
    const listed = resetUnused(
      sendSettings,
      hasList ? [] : ['from0'],
      values,
      flags,
      'FLAG requires --files-from; specify both',
    )
    const unused = hasList || operands.length > 0 ? [] : fileSettings
    return run(resetUnused(sendSettings, unused, listed, flags, 'FLAG requires a FILE; specify one'), operands)
  },
})

/** The settings that concern only files that the command is given. */
const fileSettings = ['recursive', 'as', 'digest', 'meta', 'to', 'wait'] as const

async function run(values: SendValues, operands: readonly string[]): Promise<number> {
  const metadata = pairsOf('--meta', values.meta)
  const directory = openStateDirectory(values)
  const stop = new AbortController()
  const candidates = await candidatesOf(values, operands, directory, stop.signal)
  const began = performance.now()
  const summary = new SendSummary()
  const overview = new Overview<ReportedFile>()
  const { jobs: uploadsAtOnce, 'limit-rate': limitRate, 'files-from': from } = values
  const token = new ConfiguredToken(values)
  const log = sayOnce('task-not-kept', 'the list of tasks is no longer up to date', 'yellow')
  const client = openClient(values, token, { uploadsAtOnce, limitRate, state: stateDirectory(directory), log })
  await using tasks = await openTasks(client, directory)
  const reporter = await openReporter(values, overview)
  const handled = new HandledFiles(values.wait === 'handled', tasks.joined, reporter, summary)
  let connects = tasks.joined
  const sender = new FileSender({
    upload: (sources, options) =>
      tasks.joined
        ? addAll(tasks, sources, options, (upload) => sender.changed(upload))
        : client.uploadAll(sources, options),
    connect() {
      if (connects) return
      connects = true
      // The status lines report a failure.
      client.online().catch(() => {})
    },
    reporter,
    overview,
    summary,
    uploadOptions: { digest: values.digest, metadata, to: values.to, ...(handled.isOn && { receipt: true }) },
    stored: (file, sent) => handled.add(file, sent),
    stop: stop.signal,
    directory,
    isAwaited: (id) => !tasks.joined && tasks.isAwaited(id),
  })
  watchLink(client, token, reporter)
  const outbox = operands.length === 0 && from === undefined && outboxControl(directory)
  followOutbox(client, outbox && summary, reporter.say)
  followStatus(client, overview, summary, sender)
  const close = () => Promise.all([client.close(), tasks.joined && tasks.close()])
  const interrupts = onInterrupt(() => {
    summary.interrupted([...client.uploads].filter(({ phase }) => phase === 'paused').length)
    stop.abort()
    void close()
  })
  const readsStdin = from === '-' || operands.includes('-')
  using _ = tasks.joined || readsStdin ? undefined : takeKeys(client.uploads, reporter.say)
  if (tasks.joined) {
    reporter.joined(`another osp send is running and is sending the files${outbox ? ', except paused ones' : ''}`)
    await sender.send(outbox ? filesOfOpenTasks(directory) : candidates)
  } else {
    await restore(client.uploads, sender, reporter, outbox)
    await sender.send(candidates)
    await finish(client, tasks, sender, () => stop.signal.aborted || summary.refusal !== undefined)
    if (outbox) await reportDeferred(outbox, summary, reporter.say)
    await handled.ended(stop.signal)
  }
  await close()
  await sender.settled()
  interrupts[Symbol.dispose]()
  reporter.end(summary, (performance.now() - began) / 1_000, sender.unfinished)
  reporter[Symbol.dispose]()
  return summary.exitCode
}

/** Shows the time of the next attempt to connect. Gives up if the server permanently rejects the client. */
function followStatus(
  client: Client,
  overview: Overview<ReportedFile>,
  summary: SendSummary,
  sender: Pick<FileSender, 'gaveUp'>,
): void {
  client.on('status', (status, error, retryMs = 0) => {
    if (status === 'waiting') overview.nextTryMs = performance.now() + retryMs
    if (status === 'online') overview.nextTryMs = undefined
    if (status !== 'refused' || !error) return
    summary.refusal = error
    sender.gaveUp()
  })
}

/** Adds files to the uploads of the program that this one has joined. Calls `ended` for each upload that ends. */
function addAll(
  tasks: JoinedTasks,
  sources: readonly FileSource[],
  options: UploadOptions,
  ended: (upload: Upload) => void,
): Promise<readonly (Upload | OspError)[]> {
  const add = async (source: FileSource) => {
    const upload = await tasks.add(source, options)
    const end = () => ended(upload)
    upload.done.then(end, end)
    return upload
  }
  return Promise.all(sources.map((source) => add(source).catch(OspError.from)))
}

/** Resolves when no other program adds a task, and the messages of the outbox are sent; or when the command must end. */
async function finish(client: Client, tasks: ServedTasks, sender: FileSender, isEnding: () => boolean): Promise<void> {
  while (!isEnding() && !tasks.end()) {
    await tasks.idle()
    await sender.rest()
  }
  // The status lines report a failure.
  if (!isEnding()) await client.flush().catch(() => {})
}

/** Reports the messages of the outbox that the server permanently refuses. They set the exit code if there is a `summary`. */
function followOutbox(client: Client, summary: SendSummary | false, print: StatusPrinter): void {
  reportRefusedMessages(client, { print })
  client.on('messageRefused', ({ isQueued }, error) => {
    if (summary && !isQueued) summary.addRefused(error)
  })
}

/** Reports the messages that stay in the outbox, because the server has temporarily refused them. */
async function reportDeferred(outbox: OutboxControl, summary: SendSummary, print: StatusPrinter): Promise<void> {
  for (const message of await outbox.list()) {
    if (!message.refusal) continue
    summary.addRefused(message.refusal)
    reportMessage('message-deferred', message, message.refusal, print)
  }
}

async function* filesOfOpenTasks(directory: string): FoundPaths {
  for (const { ref, name, size, state } of await taskControl(directory).list()) {
    const isOpen = state === 'waiting' || state === 'sending' || state === 'verifying'
    if (isOpen && ref !== undefined) yield [{ path: ref, name, size }]
  }
}

/**
 * Follows added tasks. Continues the tasks of earlier programs that are being cancelled or, with `outbox`, all unfinished ones, and
 * reports the messages of the outbox.
 */
async function restore(
  uploads: Uploads,
  sender: FileSender,
  reporter: SendReporter,
  outbox: OutboxControl | false,
): Promise<void> {
  uploads.on('change', (upload) => sender.changed(upload))
  // Other programs may already have added some.
  for (const upload of uploads) sender.changed(upload)
  const kept = outbox ? [] : await uploads.tasks()
  const cancelling = kept.filter(({ state }) => state === 'cancelling').map(({ id }) => id)
  const restored = await uploads.restore(outbox ? undefined : cancelling)
  const paused = sender.park(restored)
  if (paused.length > 0) reporter.paused(paused)
  if (outbox) reporter.queued(restored.length > 0, (await outbox.list()).length)
}

async function openReporter(values: SendValues, overview: Overview<ReportedFile>): Promise<SendReporter> {
  return new SendReporter(values, overview, await openLines(values, overview))
}

/** Handles keys if stdin is a terminal: p pauses or resumes uploads, c cancels them after a confirmation, q quits. */
function takeKeys(uploads: Uploads, say: StatusPrinter): Disposable | undefined {
  // Checked without `process.stdin`, since creating that stream takes longer.
  if (!isatty(0)) return undefined
  let isAsking = false
  const press = (key: string) => {
    if (key === controlKeys.ctrlC) signalAll('SIGINT')
    else if (key === controlKeys.ctrlZ) signalAll('SIGTSTP')
    else if (isAsking) {
      isAsking = false
      if (key === 'y') void reporting(uploads.cancel(unfinishedOf(uploads).map(({ id }) => id)), say)
      else say('nothing is cancelled', 'yellow')
    } else if (key === 'p') void reporting(togglePause(uploads, say), say)
    else if (key === 'c') isAsking = askToCancel(uploads, say)
    else if (key === 'q') process.kill(process.pid, 'SIGINT')
  }
  return readKeys(process.stdin, (text) => {
    for (const key of text) press(key.toLowerCase())
  })
}

const unfinishedOf = (uploads: Uploads): Upload[] => [...uploads].filter(({ phase: state }) => isPending({ state }))

async function togglePause(uploads: Uploads, say: StatusPrinter): Promise<void> {
  const going = unfinishedOf(uploads).filter(({ phase }) => phase !== 'paused' && phase !== 'cancelling')
  if (going.length === 0) return await uploads.resume()
  say('paused; press p to continue', 'yellow')
  await uploads.pause(going.map(({ id }) => id))
}

/** Asks for a confirmation. Returns false if there is nothing to cancel. */
function askToCancel(uploads: Uploads, say: StatusPrinter): boolean {
  const { length } = unfinishedOf(uploads)
  const files = length === 1 ? 'the unfinished file' : `the ${length} unfinished files`
  if (length > 0) say(`cancel ${files} and remove the received content from the server? y or n`, 'yellow')
  return length > 0
}

async function reporting(action: Promise<void>, say: StatusPrinter): Promise<void> {
  try {
    await action
  } catch (error) {
    const { code, message } = OspError.from(error)
    if (code !== 'closed') say(message, 'red')
  }
}
