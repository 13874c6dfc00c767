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

/** Files that are added together. */
const addedTogether = 1_000

/** `osp add`: adds tasks. */
export const addCommand = command({
  name: 'add',
  operands: 'FILE...',
  takesPaths: true,
  describe: 'Add files to those that are to be sent: by the osp send that is running, or by the next one.',
  settings,
  examples: [
    ['osp add movie.mp4', 'for an osp send that is running, or a later one'],
    ['osp add -r photos', 'a folder'],
    ['date | osp add - --as date.txt', 'what stands on stdin'],
  ],
  run,
})

async function run(values: AddValues, operands: readonly string[]): Promise<number> {
  if (operands.length === 0) throw new UsageError('name a FILE to add')
  return await withTasks(values, async (at) => {
    const tally = new SendSummary()
    const failed = (file: string, why: OspError) => fail(at, values, tally, file, why)
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
    if (added.size > 0 && !at.tasks.sending) at.hint('no osp send is running; "osp send" sends them')
    return tally.exitCode || exitCodes.done
  })
}

/** Resolves with the numbers of the tasks. */
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
  tally: SendSummary,
  file: string,
  why: OspError,
): void {
  const { code, message: text, retry } = why
  tally.addFailed(why)
  const event: AddEvent = { event: 'failed', file, code, text, retry }
  if (json) results.event(event)
  else say(`${shown(file)}: ${text}`, 'red')
}

function skip({ results, hint }: TaskContext, { json }: AddValues, file: string, text: string): void {
  const event: AddEvent = { event: 'skipped', file, text }
  if (json) results.event(event)
  else hint(`${file} is left out: ${text}`)
}
