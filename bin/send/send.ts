import type { Client, LogEntry } from 'ospd'
import { openTasks, type ServedTasks, stateDirectory, steerTasks } from 'ospd/node'
import { onInterrupt } from '../common/interrupts.ts'
import { watchLink } from '../common/link.ts'
import { openClient } from '../common/openClient.ts'
import { errorLine, results, sayer } from '../common/output.ts'
import { command } from '../common/program.ts'
import { openStateDirectory } from '../common/stateDirectory.ts'
import { stylesFor } from '../common/style.ts'
import { SetToken } from '../common/token.ts'
import { shownRef } from '../tasks/shownRef.ts'
import { candidatesOf } from './candidates.ts'
import { takeKeys } from './keys.ts'
import { openReporter } from './openReporter.ts'
import type { Reporter } from './reporter.ts'
import { Sending } from './sending.ts'
import { type SendValues, sendSettings } from './settings.ts'
import { Tally } from './tally.ts'
import type { Found } from './walk.ts'

/** `osp send`: uploads files. */
export const sendCommand = command({
  name: 'send',
  operands: '[FILE...]',
  takesPaths: true,
  describe:
    'Upload files; of what was interrupted, only what the server lacks. Without FILE: all unfinished tasks. On a ' +
    'terminal it takes keys: p pauses or continues, c cancels, q leaves the rest for later.',
  settings: sendSettings,
  examples: [
    ['osp send movie.mp4', 'one file'],
    ['osp send', 'go on with everything that is unfinished'],
    ['osp send -r photos --limit-rate 2M', 'a folder, at 2 MiB a second'],
    ['find . -name "*.log" | osp send --files-from -', 'files as they are found'],
    ['pg_dump shop | osp send - --as shop.sql', 'what stands on stdin'],
    ['osp send *.iso | sha256sum -c', 'check what was sent once more'],
  ],
  run,
})

async function run(values: SendValues, operands: readonly string[]): Promise<number> {
  const directory = await openStateDirectory(values)
  const candidates = await candidatesOf(values, operands, directory)
  const began = performance.now()
  const tally = new Tally()
  const stop = new AbortController()
  stop.signal.addEventListener('abort', () => candidates.input?.destroy(), { once: true })
  const { jobs, 'limit-rate': limitRate, digest } = values
  const state = stateDirectory(directory)
  const token = new SetToken(values)
  const client = openClient(values, token, { uploadsAtOnce: jobs, limitRate, state, log: onceNotKept() })
  await using tasks = await openTasks(client.uploads, directory)
  const report = openReporter(values, results)
  const { reporter } = report
  const sending = new Sending({
    uploads: tasks.joined ? tasks : client.uploads,
    reporter,
    tally,
    digest,
    stop: stop.signal,
    refusal: () => tally.refusal,
    isAwaited: (id) => !tasks.joined && tasks.isAwaited(id),
    shown: (ref) => shownRef(directory, ref),
  })
  watchLink(client, token, reporter)
  client.on('status', (status, why) => {
    if (status !== 'refused' || !why) return
    tally.refused(why)
    sending.gaveUp()
  })
  const interrupts = onInterrupt(() => {
    tally.interrupted([...client.uploads].filter(({ phase }) => phase === 'paused').length)
    stop.abort()
    void client.close()
    if (tasks.joined) void tasks.close()
  })
  const reads = values['files-from'] === '-' || operands.includes('-')
  using _ = tasks.joined || reads ? undefined : takeKeys(client.uploads, report.say)
  const all = operands.length === 0 && values['files-from'] === undefined
  if (tasks.joined) {
    reporter.joined(all ? `${joinedText} that are not paused` : joinedText)
    await sending.send(all ? unfinishedOf(directory) : candidates)
  } else await serve({ client, tasks, sending, reporter, all, candidates, isOver: () => exitsEarly(stop, tally) })
  await client.close()
  if (tasks.joined) await tasks.close()
  await sending.settled()
  interrupts[Symbol.dispose]()
  reporter.end(tally, (performance.now() - began) / 1_000, sending.unfinished)
  report[Symbol.dispose]()
  return tally.exitCode
}

const exitsEarly = ({ signal }: AbortController, { refusal }: Tally) => signal.aborted || refusal !== undefined

/** Says once that the list can't be written any more: what is done is done again then. */
function onceNotKept(): (entry: LogEntry) => void {
  let isSaid = false
  return ({ event, text }) => {
    if (event !== 'task-not-kept' || isSaid) return
    isSaid = true
    sayer(errorLine, stylesFor(process.stderr))(`the list of tasks is not true any more: ${text}`, 'yellow')
  }
}

const joinedText = 'joined the osp send that is running: it sends the files'

/** The tasks of the program that was joined which are to be sent. */
async function* unfinishedOf(directory: string): AsyncGenerator<Found> {
  for (const { ref, name, size, state } of await steerTasks(directory).list()) {
    const isOpen = state === 'waiting' || state === 'sending' || state === 'verifying'
    if (isOpen && ref !== undefined) yield { path: ref, name, size }
  }
}

interface Serving {
  readonly client: Client
  readonly tasks: ServedTasks
  readonly sending: Sending
  readonly reporter: Reporter
  /** Every unfinished task is taken up; otherwise those alone that are being cancelled. */
  readonly all: boolean
  readonly candidates: AsyncIterable<Found>
  readonly isOver: () => boolean
}

/** Sends what is found, and what others add meanwhile. */
async function serve({ client, tasks, sending, reporter, all, candidates, isOver }: Serving): Promise<void> {
  const { uploads } = client
  uploads.on('change', (upload) => sending.adopt(upload))
  // Others can have added some already.
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
