import { OspError } from 'ospd'
import { absolutePath, type NewTask } from 'ospd/node'
import type { AddEvent } from '../common/events.ts'
import { exitCodes } from '../common/exitCodes.ts'
import { command } from '../common/program.ts'
import type { Values } from '../common/settings.ts'
import { shown, UsageError } from '../common/usage.ts'
import type { Candidate } from '../send/candidates.ts'
import { candidatesOf } from '../send/candidates.ts'
import { sendSettings } from '../send/send.ts'
import { SendSummary } from '../send/sendSummary.ts'
import { listed, type TaskContext, tasksSettings, withTasks } from './tasksContext.ts'

const { recursive, as, digest } = sendSettings
const settings = { recursive, as, digest, ...tasksSettings } as const

type AddValues = Values<typeof settings>

/** The number of files that are added together. */
const addedTogether = 1_000

/** `osp add`: adds tasks. */
export const addCommand = command({
  name: 'add',
  operands: 'FILE...',
  takesPaths: true,
  describe: 'Add files to the tasks. A running "osp send" sends them, or the next one.',
  settings,
  examples: [
    ['osp add movie.mp4', 'add a file'],
    ['osp add -r photos', 'add the files in a folder'],
    ['date | osp add - --as date.txt', 'add the content of stdin'],
  ],
  run,
})

async function run(values: AddValues, operands: readonly string[]): Promise<number> {
  if (operands.length === 0) throw new UsageError('specify a FILE to add')
  return await withTasks(values, async (at) => {
    const summary = new SendSummary()
    const failed = (file: string, why: OspError) => fail(at, values, summary, file, why)
    const added = new Set<number>()
    let group: Candidate[] = []
    const add = async () => {
      for (const id of await addAll(at, values, group, failed)) added.add(id)
      group = []
    }
    for await (const found of await candidatesOf(values, operands, at.directory)) {
      if ('failure' in found) failed(found.path, found.failure)
      else if ('skipped' in found) skip(at, values, found.path, found.skipped)
      else if (group.push(found) >= addedTogether) await add()
    }
    await add()
    at.print((await listed(at.tasks)).filter(({ id }) => added.has(id)))
    if (added.size > 0 && !at.tasks.sending) at.hint('no osp send is running; run "osp send" to send them')
    return summary.exitCode || exitCodes.done
  })
}

/** Adds files. Resolves with the numbers of their tasks. */
async function addAll(
  { tasks }: TaskContext,
  { digest }: AddValues,
  group: readonly Candidate[],
  failed: (file: string, why: OspError) => void,
): Promise<readonly number[]> {
  if (group.length === 0) return []
  const files = group.map(({ path, name, spooled }): NewTask => {
    return { ref: spooled?.source.ref ?? absolutePath(path), name, digest }
  })
  const added = await tasks.add(files).catch((error: unknown) => {
    const failure = OspError.from(error)
    return files.map(() => ({ failure }))
  })
  return added.flatMap((each, at) => {
    const { path, spooled } = group[at] as Candidate
    if ('id' in each) return [each.id]
    void spooled?.discard()
    failed(path, each.failure)
    return []
  })
}

function fail(
  { results, say }: TaskContext,
  { json }: AddValues,
  summary: SendSummary,
  file: string,
  why: OspError,
): void {
  const { code, message: text, retry } = why
  summary.addFailed(why)
  const event: AddEvent = { event: 'failed', file, code, text, retry }
  if (json) results.event(event)
  else say(`${shown(file)}: ${text}`, 'red')
}

function skip({ results, hint }: TaskContext, { json }: AddValues, file: string, text: string): void {
  const event: AddEvent = { event: 'skipped', file, text }
  if (json) results.event(event)
  else hint(`skipped ${file}: ${text}`)
}
