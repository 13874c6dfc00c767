import { type Client, createClient, OspError } from 'ospd'
import { tcp } from 'ospd/node'
import { exitCodes } from '../common/exitCodes.ts'
import { errorLine, Results } from '../common/output.ts'
import { command } from '../common/program.ts'
import { UsageError } from '../common/usage.ts'
import { candidatesOf } from './candidates.ts'
import { openReporter } from './openReporter.ts'
import type { Reporter } from './reporter.ts'
import { Sending } from './sending.ts'
import { type SendValues, sendSettings, systemUser } from './settings.ts'
import { Tally } from './tally.ts'

/** `osp send`: uploads files. */
export const sendCommand = command({
  name: 'send',
  operands: 'FILE...',
  describe: 'Upload files; of what was interrupted, only what the server lacks.',
  settings: sendSettings,
  examples: [
    ['osp send movie.mp4', 'one file'],
    ['osp send -r photos --limit-rate 2M', 'a folder, at 2 MiB a second'],
    ['find . -name "*.log" | osp send --files-from -', 'files as they are found'],
    ['osp send *.iso | sha256sum -c', 'check what was sent once more'],
  ],
  run,
})

async function run(values: SendValues, operands: readonly string[]): Promise<number> {
  const candidates = await candidatesOf(values, operands)
  const began = performance.now()
  const results = new Results()
  const tally = new Tally()
  const stop = new AbortController()
  stop.signal.addEventListener('abort', () => candidates.list?.destroy(), { once: true })
  const client = open(values)
  const report = openReporter(values, results)
  const { reporter } = report
  watchLink(client, reporter, (why) => tally.refused(why))
  const interrupts = onInterrupt(() => {
    tally.interrupted()
    stop.abort()
    void client.close()
  })
  const sending = new Sending({
    client,
    reporter,
    tally,
    digest: values.digest,
    stop: stop.signal,
    refusal: () => tally.refusal,
  })
  await sending.send(candidates)
  await sending.settled()
  await client.close()
  interrupts[Symbol.dispose]()
  reporter.end(tally, (performance.now() - began) / 1_000, sending.unfinished)
  report[Symbol.dispose]()
  if (results.broken) errorLine('osp: not all results could be printed, since nobody reads them any more')
  return results.broken ? tally.exitCode || exitCodes.failed : tally.exitCode
}

function open(values: SendValues): Client {
  const { server, 'retry-for': retryForMs, jobs, 'limit-rate': limitRate } = values
  const user = values.user ?? systemUser()
  if (user === undefined) throw new UsageError('the system knows no name for this user; give --user')
  const rate = limitRate === undefined ? {} : { limitRate }
  try {
    return createClient({ to: tcp(server), user, retryForMs, uploadsAtOnce: jobs, ...rate })
  } catch (error) {
    if (error instanceof OspError && error.code === 'bad-name') throw new UsageError(`--user: ${error.message}`)
    throw error
  }
}

function watchLink(client: Client, reporter: Reporter, refused: (why: OspError) => void): void {
  client.on('status', (status, why, retryMs) => {
    if (status === 'online') reporter.online()
    if (!why) return
    if (status === 'waiting') reporter.waiting(why, retryMs ?? 0)
    if (status !== 'refused') return
    reporter.gaveUp(why)
    refused(why)
  })
}

/** The first Ctrl-C leaves everything so that it can be continued; a second one ends the process at once. */
function onInterrupt(interrupt: () => void): Disposable {
  let times = 0
  const interrupted = () => {
    if (++times > 1) process.exit(exitCodes.interrupted)
    interrupt()
  }
  process.on('SIGINT', interrupted).on('SIGTERM', interrupted).on('SIGHUP', interrupted)
  return {
    [Symbol.dispose]() {
      process.off('SIGINT', interrupted).off('SIGTERM', interrupted).off('SIGHUP', interrupted)
    },
  }
}
