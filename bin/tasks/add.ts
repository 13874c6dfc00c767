import { OspError } from 'ospd'
import { type Added, absolutePath } from 'ospd/node'
import { results, say } from '../common/output.ts'
import { pairsOf } from '../common/pairs.ts'
import { command } from '../common/program.ts'
import type { Values } from '../common/settings.ts'
import { displayed, exitCodes, UsageError } from '../common/usage.ts'
import { type Candidate, candidatesOf, type FoundPath } from '../send/candidates.ts'
import { SendSummary } from '../send/reporter.ts'
import { sendSettings } from '../send/send.ts'
import { hintNoSender, listed, type TaskContext, tasksSettings, withTasks } from './tasks.ts'

const { recursive, as, digest, meta, to } = sendSettings
const settings = { recursive, as, digest, meta, to, ...tasksSettings } as const

type AddValues = Values<typeof settings>

const addedTogether = 1_000

/** `osp add`: adds tasks. */
export const addCommand = command({
  name: 'add',
  operands: 'FILE...',
  takesPaths: true,
  describe: 'Add files to the tasks. If an "osp send" is running, it sends them; otherwise the next one does.',
  settings,
  examples: [
    ['osp add movie.mp4', 'add a file'],
    ['osp add -r photos', 'add the files in a folder'],
    ['date | osp add - --as date.txt', 'add the content of stdin'],
  ],
  async run(values, operands) {
    if (operands.length === 0) throw new UsageError('specify a FILE to add')
    const metadata = pairsOf('--meta', values.meta)
    return await withTasks(values, (at) => addFiles(at, values, operands, metadata))
  },
})

async function addFiles(
  at: TaskContext,
  values: AddValues,
  operands: readonly string[],
  metadata: Readonly<Record<string, string>>,
): Promise<number> {
  const summary = new SendSummary()
  const added = new Set<number>()
  let group: Candidate[] = []
  const failed = (file: string, error: OspError) => {
    const { code, message: text, retry } = error
    summary.addFailed(error)
    if (values.json) results.event({ event: 'failed', file, code, text, retry })
    else say(`${displayed(file)}: ${text}`, 'red')
  }
  const add = async () => {
    const files = group.map(({ path, name, spooled }) => {
      return { ref: spooled?.source.ref ?? absolutePath(path), name, digest: values.digest, metadata, to: values.to }
    })
    const outcomes: readonly Added[] = await at.tasks.add(files).catch((error: unknown) => {
      return files.map(() => ({ failure: OspError.from(error) }))
    })
    for (const [index, outcome] of outcomes.entries()) {
      const { path, spooled } = group[index] as Candidate
      if ('id' in outcome) added.add(outcome.id)
      else {
        void spooled?.discard()
        failed(path, outcome.failure)
      }
    }
    group = []
  }
  const take = async (found: FoundPath) => {
    if ('failure' in found) failed(found.path, found.failure)
    else if ('skipped' in found) {
      const { path: file, skipped: text } = found
      if (values.json) results.event({ event: 'skipped', file, text })
      else at.hint(`skipped ${file}: ${text}`)
    } else if (group.push(found) >= addedTogether) await add()
  }
  for await (const paths of await candidatesOf(values, operands, at.directory)) {
    for (const found of paths) await take(found)
  }
  if (group.length > 0) await add()
  at.print((await listed(at.tasks)).filter(({ id }) => added.has(id)))
  if (added.size > 0) hintNoSender(at)
  return summary.exitCode || exitCodes.done
}
