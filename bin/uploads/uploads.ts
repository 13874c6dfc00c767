import { removeUnfinished, unfinishedUploads } from 'ospd'
import { disk, nodePlatform } from 'ospd/node'
import { removedAnswer, type ShownUpload, uploadsAnswer } from '../common/events.ts'
import { checkDirectory } from '../common/files.ts'
import { errorLine, results, sayEmpty } from '../common/output.ts'
import { command } from '../common/program.ts'
import { jsonSetting, kind, optionalSetting, resetUnused, setting, type Values } from '../common/settings.ts'
import { printable, tableLines } from '../common/text.ts'
import { formatPart, formatSize, formatTime } from '../common/units.ts'
import { displayed, exitCodes, UsageError, unexpectedOperand, unknownName } from '../common/usage.ts'
import { askDaemon, isAbsence } from '../status/status.ts'

const settings = {
  data: setting(kind.path, './ospd-data', 'data directory of the daemon, which may be stopped'),
  'older-than': optionalSetting(kind.duration, 'select uploads that no client has continued for TIME', 'all uploads'),
  json: jsonSetting,
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
    ['ospd uploads remove --older-than 1d', 'remove all uploads that have been idle for a day'],
  ],
  onlyLists: ([verb = 'list']) => verb === 'list',
  run,
})

type UploadName = Pick<ShownUpload, 'user' | 'name'>

type Unfinished = Awaited<ReturnType<typeof openUploads>>

type Flags = Readonly<Record<string, unknown>>

async function run(
  given: UploadsValues,
  [verb = 'list', ...operands]: readonly string[],
  flags: Flags,
): Promise<number> {
  if (verb !== 'list' && verb !== 'remove') throw new UsageError(unknownName('verb', verb, ['list', 'remove']))
  const text = 'specify the uploads to remove: USER/NAME, or --older-than TIME'
  const unused = verb === 'remove' && operands.length > 0 ? (['older-than'] as const) : []
  const values = resetUnused(settings, unused, given, flags, text)
  const { 'older-than': idleMs } = values
  const [operand] = operands
  if (verb === 'list' && operand !== undefined) throw unexpectedOperand('uploads list', operand)
  if (verb === 'remove' && operands.length === 0 && idleMs === undefined) throw new UsageError(text)
  const named = operands.map(uploadNamed)
  checkDirectory('--data', values.data, 'exists')
  await using unfinished = await openUploads(values.data)
  if (verb === 'list') return await list(unfinished, values)
  return idleMs === undefined ? await removeNamed(unfinished, named) : await removeIdle(unfinished, idleMs)
}

function uploadNamed(operand: string): UploadName {
  const [user = '', ...parts] = operand.normalize('NFC').split('/')
  if (user === '' || parts.length === 0) throw new UsageError(`${displayed(operand)} is not an upload; write USER/NAME`)
  return { user, name: parts.join('/') }
}

async function list(unfinished: Unfinished, { 'older-than': idleMs = 0, json }: UploadsValues): Promise<number> {
  const { uploads, more } = await unfinished.list()
  const shown = uploads.filter((upload) => upload.idleMs >= idleMs)
  if (json) for (const upload of shown) results.event({ event: 'upload', ...upload })
  else for (const line of tableLines(shown.map(cellsOf))) results.line(line)
  const isNone = uploads.length === 0
  const text = isNone ? 'there are no unfinished uploads' : 'no unfinished upload has been idle for that long'
  if (shown.length === 0) sayEmpty(text, { program: 'ospd' })
  if (more > 0) errorLine(`ospd: and ${more} more`)
  return exitCodes.done
}

const cellsOf = ({ size, durable, diskBytes, idleMs, running, ...upload }: ShownUpload) => [
  nameText(upload),
  formatPart(durable, size),
  `${formatSize(diskBytes)} on disk`,
  running ? 'running' : `idle for ${formatTime(idleMs)}`,
]

const nameText = ({ user, name }: UploadName) => printable(`${user}/${name}`)

async function removeNamed(unfinished: Unfinished, named: readonly UploadName[]): Promise<number> {
  let code: number = exitCodes.done
  for (const upload of named) {
    if (await removeOne(unfinished, upload, 0)) continue
    errorLine(`ospd: there is no unfinished upload ${nameText(upload)}`)
    code = exitCodes.failed
  }
  return code
}

async function removeIdle(unfinished: Unfinished, idleMs: number): Promise<number> {
  for (;;) {
    const { uploads, more } = await unfinished.list()
    let removed = 0
    for (const upload of uploads) {
      if (upload.idleMs >= idleMs && (await removeOne(unfinished, upload, Math.max(1, idleMs)))) removed++
    }
    if (more === 0 || removed === 0) return exitCodes.done
  }
}

async function removeOne(unfinished: Unfinished, { user, name }: UploadName, idleMs: number): Promise<boolean> {
  const isRemoved = await unfinished.remove({ user, name }, idleMs)
  if (isRemoved) results.print({ event: 'removed', user, name }, `${nameText({ user, name })} removed`)
  return isRemoved
}

/** Opens the unfinished uploads through the daemon if it is running; otherwise locks the data directory. */
async function openUploads(data: string) {
  const list = () => askDaemon(data, { ask: 'uploads' }, uploadsAnswer)
  try {
    await list()
  } catch (error) {
    if (!isAbsence(error)) throw error
    return await openDirectory(data)
  }
  return {
    list,
    async remove(upload: UploadName, idleMs: number) {
      const { removed } = await askDaemon(data, { ask: 'remove-upload', ...upload, idleMs }, removedAnswer)
      return removed
    },
    async [Symbol.asyncDispose]() {},
  }
}

async function openDirectory(data: string) {
  const storage = disk(data)
  const platform = nodePlatform()
  await storage.open(platform)
  return {
    list: async () => ({ uploads: await unfinishedUploads(storage, platform), more: 0 }),
    remove: (upload: UploadName, idleMs: number) => removeUnfinished(storage, platform, upload, idleMs),
    [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose](),
  }
}
