import { OspError, removeUnfinished, unfinishedUploads } from 'ospd'
import { askControl, disk, nodePlatform } from 'ospd/node'
import type { z } from 'zod'
import { type RemovedEvent, removedAnswer, type ShownUpload, uploadsAnswer } from '../common/events.ts'
import { exitCodes } from '../common/exitCodes.ts'
import { checkDirectory } from '../common/files.ts'
import { errorLine, results } from '../common/output.ts'
import { command } from '../common/program.ts'
import { duration, optional, path, setting, switched, type Values } from '../common/settings.ts'
import { fit, printable, widthOf } from '../common/text.ts'
import { formatPart, formatSize, formatTime } from '../common/units.ts'
import { shown, UsageError, unexpectedOperand, unknownName } from '../common/usage.ts'
import { isAbsence } from '../status/status.ts'

const settings = {
  data: setting(path, './ospd-data', { describe: 'data directory of the daemon, which may be stopped' }),
  'older-than': optional(duration, {
    describe: 'select only uploads that no client has continued for TIME',
    unset: 'all uploads',
  }),
  json: switched({ describe: 'print results as JSON, one object per line (docs/json.md)' }),
} as const

type UploadsValues = Values<typeof settings>

/** `ospd uploads`: lists and removes unfinished uploads. */
export const uploadsCommand = command({
  name: 'uploads',
  operands: '[list|remove [USER/NAME...]]',
  describe: 'List unfinished uploads, or remove some of them to free disk space.',
  settings,
  examples: [
    ['ospd uploads', 'list the uploads in ./ospd-data, the longest idle first'],
    ['ospd uploads remove alice/movie.mp4', 'remove one upload, even while it is running'],
    ['ospd uploads remove --older-than 1d', 'remove all uploads that were idle for a day'],
  ],
  onlyLists: ([verb = 'list']) => verb === 'list',
  run,
})

/** Access to the unfinished uploads, through the running daemon or in the data directory. */
interface Unfinished extends AsyncDisposable {
  /** Resolves with the uploads, the longest idle first. `more` is the number of uploads that are not listed. */
  list(): Promise<{ readonly uploads: readonly ShownUpload[]; readonly more: number }>
  remove(upload: Pick<ShownUpload, 'user' | 'name'>, idleMs: number): Promise<boolean>
}

async function run(values: UploadsValues, [verb = 'list', ...operands]: readonly string[]): Promise<number> {
  if (verb !== 'list' && verb !== 'remove') throw new UsageError(unknownName('verb', verb, ['list', 'remove']))
  const { 'older-than': idleMs } = values
  const [operand] = operands
  if (verb === 'list' && operand !== undefined) throw unexpectedOperand('uploads list', operand)
  if (verb === 'remove' && operands.length > 0 === (idleMs !== undefined)) {
    throw new UsageError('specify the uploads to remove: USER/NAME, or --older-than TIME')
  }
  const named = operands.map(uploadNamed)
  await checkDirectory('--data', values.data, 'exists')
  await using unfinished = await openUploads(values.data)
  if (verb === 'list') return await list(unfinished, values)
  if (idleMs === undefined) return await removeNamed(unfinished, named, values)
  await removeIdle(unfinished, idleMs, values)
  return exitCodes.done
}

/** Throws UsageError if the operand is not of the form USER/NAME. */
function uploadNamed(operand: string): Pick<ShownUpload, 'user' | 'name'> {
  const [user = '', ...parts] = operand.normalize('NFC').split('/')
  if (user === '' || parts.length === 0) throw new UsageError(`${shown(operand)} is not an upload; write USER/NAME`)
  return { user, name: parts.join('/') }
}

async function list(unfinished: Unfinished, { 'older-than': idleMs = 0, json }: UploadsValues): Promise<number> {
  const { uploads, more } = await unfinished.list()
  const shown = uploads.filter((upload) => upload.idleMs >= idleMs)
  if (json) for (const upload of shown) results.event({ event: 'upload', ...upload })
  else for (const line of linesOf(shown)) results.line(line)
  if (more > 0) errorLine(`ospd: and ${more} more`)
  return exitCodes.done
}

function linesOf(uploads: readonly ShownUpload[]): readonly string[] {
  const rows = uploads.map(({ user, name, size, durable, diskBytes, idleMs, running }) => [
    printable(`${user}/${name}`),
    formatPart(durable, size),
    `${formatSize(diskBytes)} on disk`,
    running ? 'running' : `idle for ${formatTime(idleMs)}`,
  ])
  const widths = [0, 1, 2, 3].map((at) => Math.max(0, ...rows.map((row) => widthOf(row[at] ?? ''))))
  return rows.map((row) =>
    row
      .map((cell, at) => fit(cell, widths[at] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}

async function removeNamed(
  unfinished: Unfinished,
  named: readonly Pick<ShownUpload, 'user' | 'name'>[],
  values: UploadsValues,
): Promise<number> {
  let code: number = exitCodes.done
  for (const upload of named) {
    if (await removeOne(unfinished, upload, 0, values)) continue
    errorLine(`ospd: there is no unfinished upload ${printable(`${upload.user}/${upload.name}`)}`)
    code = exitCodes.failed
  }
  return code
}

async function removeIdle(unfinished: Unfinished, idleMs: number, values: UploadsValues): Promise<void> {
  for (;;) {
    const { uploads, more } = await unfinished.list()
    let removed = 0
    for (const upload of uploads) {
      if (upload.idleMs >= idleMs && (await removeOne(unfinished, upload, Math.max(1, idleMs), values))) removed++
    }
    if (more === 0 || removed === 0) return
  }
}

async function removeOne(
  unfinished: Unfinished,
  { user, name }: Pick<ShownUpload, 'user' | 'name'>,
  idleMs: number,
  { json }: UploadsValues,
): Promise<boolean> {
  if (!(await unfinished.remove({ user, name }, idleMs))) return false
  const event: RemovedEvent = { event: 'removed', user, name }
  if (json) results.event(event)
  else results.line(`${printable(`${user}/${name}`)} removed`)
  return true
}

/** Accesses the uploads through the daemon if it is running. Otherwise locks the data directory. */
async function openUploads(data: string): Promise<Unfinished> {
  const ask = async <T>(request: object, answer: z.ZodType<T>): Promise<T> => {
    const parsed = answer.safeParse(await askControl(data, request))
    if (parsed.success) return parsed.data
    throw new OspError(
      'malformed',
      `the daemon of ${printable(data)} is of another version; use the "ospd uploads" of that version`,
    )
  }
  try {
    await ask({ ask: 'uploads' }, uploadsAnswer)
  } catch (error) {
    if (!isAbsence(error)) throw error
    return await inDirectory(data)
  }
  return {
    list: () => ask({ ask: 'uploads' }, uploadsAnswer),
    remove: async (upload, idleMs) => (await ask({ ask: 'remove-upload', ...upload, idleMs }, removedAnswer)).removed,
    async [Symbol.asyncDispose]() {},
  }
}

async function inDirectory(data: string): Promise<Unfinished> {
  const storage = disk(data)
  const platform = nodePlatform()
  await storage.open(platform)
  return {
    list: async () => ({ uploads: await unfinishedUploads(storage, platform), more: 0 }),
    remove: (upload, idleMs) => removeUnfinished(storage, platform, upload, idleMs),
    [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose](),
  }
}
