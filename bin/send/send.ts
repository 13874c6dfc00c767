import { exitCodes } from '../common/exitCodes.ts'
import { onInterrupt } from '../common/interrupts.ts'
import { watchLink } from '../common/link.ts'
import { openClient } from '../common/openClient.ts'
import { errorLine, Results } from '../common/output.ts'
import { command } from '../common/program.ts'
import { candidatesOf } from './candidates.ts'
import { openReporter } from './openReporter.ts'
import { Sending } from './sending.ts'
import { type SendValues, sendSettings } from './settings.ts'
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
  const { jobs, 'limit-rate': limitRate } = values
  const client = openClient(values, { uploadsAtOnce: jobs, limitRate })
  const report = openReporter(values, results)
  const { reporter } = report
  watchLink(client, reporter)
  client.on('status', (status, why) => {
    if (status === 'refused' && why) tally.refused(why)
  })
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
  if (results.failure === undefined) return tally.exitCode
  errorLine(`osp: ${results.failure}`)
  return tally.exitCode || exitCodes.failed
}
