import { statSync } from 'node:fs'
import { join } from 'node:path'
import { type Client, type Download, type FileInfo, type FileReference, type FileTarget, OspError } from 'ospd'
import { fileTarget, keptReferences, pathReason } from 'ospd/node'
import { runWithClient } from '../common/client.ts'
import { commonOptions, userNamed, userOf } from '../common/commonOptions.ts'
import { makeDirectories } from '../common/directories.ts'
import { checkDirectory } from '../common/files.ts'
import { results } from '../common/output.ts'
import { command } from '../common/program.ts'
import { kind, optionalSetting, resetUnused, setting, switched, type Values } from '../common/settings.ts'
import { stateDirectoryOf } from '../common/stateDirectory.ts'
import { UsageError } from '../common/usage.ts'
import { filesBelow, missingFile, nameOperand } from '../files/names.ts'
import { openLines } from '../send/lines.ts'
import { Overview } from '../send/overview.ts'
import { GetReporter, GetSummary, type ReceivedFile, receivedFile } from './getReporter.ts'

const settings = {
  to: setting({ ...kind.path, placeholder: 'DIR' }, '.', 'directory to write to, created if it is missing'),
  from: optionalSetting(
    { ...kind.text, placeholder: 'USER' },
    'download files that USER has sent to you, instead of your own files',
  ),
  recursive: switched('download folders and all files below them; without NAME, all files', 'r'),
  overwrite: switched('replace local files whose content differs'),
  jobs: setting(kind.count, '5', 'receive up to N files at once', 'j'),
  'limit-rate': optionalSetting(kind.size, 'receive up to SIZE bytes per second in total', 'no limit'),
  ...commonOptions,
} as const

type GetValues = Values<typeof settings>

type Flags = Readonly<Record<string, unknown>>

/** `osp get`: downloads files. */
export const getCommand = command({
  name: 'get',
  operands: '[NAME...] [-]',
  describe:
    'Download your files from the server and verify them. Run the same command again to continue an interrupted download. ' +
    'A local file that already has the content is not downloaded again. With - as the last operand, the content of one ' +
    'file is written to stdout.',
  settings,
  examples: [
    ['osp get movie.mp4', 'download one file'],
    ['osp get -r photos --to backup', 'download a folder as backup/photos'],
    ['osp get shop.sql - | psql shop', 'write the content of a file to stdout'],
    ['osp get --from alice plan.pdf', 'download a file that alice has sent to you'],
    ['osp get -r photos | sha256sum -c', 'read the files again from disk and check them'],
  ],
  run,
})

/** A file to download. */
interface WantedFile {
  readonly name: string
  /** The file as the server listed it. */
  readonly file?: FileInfo | FileReference
  readonly path: string
}

const oneName = '- requires exactly one NAME, without -r'

async function run(given: GetValues, operands: readonly string[], flags: Flags): Promise<number> {
  const toStdout = operands.at(-1) === '-'
  const unused = toStdout || given.from !== undefined ? (['recursive'] as const) : []
  const text = toStdout ? oneName : '-r cannot be used with --from; specify each NAME'
  const values = resetUnused(settings, unused, given, flags, text)
  const names = namesOf(values, toStdout ? operands.slice(0, -1) : operands, toStdout)
  const owner = values.from === undefined ? undefined : userNamed(values.from, '--from')
  if (!toStdout) checkDirectory('--to', values.to, 'make-and-write')
  const began = performance.now()
  const summary = new GetSummary()
  const overview = new Overview<ReceivedFile>()
  using reporter = new GetReporter(values, overview, await openLines(values, overview))
  const { jobs: downloadsAtOnce, 'limit-rate': limitRate } = values
  const code = await runWithClient(values, {
    downloadsAtOnce,
    limitRate,
    reporter,
    async run(client, interrupted) {
      const sent = owner === undefined ? undefined : referencesFrom(client, values, owner)
      // The failure is reported for each file.
      sent?.catch(() => {})
      const getter = new FileGetter({ client, values, sent, summary, overview, reporter, interrupted })
      await (toStdout ? getter.print(names[0] as string) : getter.save(names))
      if (interrupted.aborted) throw new OspError('closed')
    },
    failed() {},
  })
  const exitCode = code || summary.exitCode
  reporter.end(summary, (performance.now() - began) / 1_000, exitCode)
  return exitCode
}

/** Resolves with the latest reference to each file that a user has sent: in a message on the server, or kept by `osp listen`. */
async function referencesFrom(client: Client, values: GetValues, owner: string): Promise<References> {
  const found = new Map<string, FileReference>()
  const add = (file: FileReference | undefined) => {
    // All references are valid for the same time, so a later message has a later end.
    if (file?.owner === owner && (found.get(file.name)?.until ?? 0) <= file.until) found.set(file.name, file)
  }
  for (const file of await keptReferences(stateDirectoryOf(values, userOf(values))).load()) add(file)
  for (const setAside of [true, false]) for await (const { file } of client.inbox.list({ setAside })) add(file)
  return found
}

type References = ReadonlyMap<string, FileReference>

function namesOf({ recursive, json }: GetValues, operands: readonly string[], toStdout: boolean): readonly string[] {
  if (toStdout) {
    if (operands.length !== 1) throw new UsageError(oneName)
    if (json) throw new UsageError('--json prints to stdout, which - uses for the content; omit one of them')
  }
  if (operands.length === 0 && !recursive)
    throw new UsageError('get requires at least one NAME, or -r to download all files')
  const names = operands.map((operand) => nameOperand(recursive ? operand.replace(/\/+$/u, '') : operand))
  const paths = new Map<string, string>()
  for (const name of names) {
    const other = paths.get(lastPart(name))
    if (other === name) throw new UsageError(`${name} is specified twice; specify it once`)
    if (other !== undefined) {
      throw new UsageError(
        `${other} and ${name} would both be written to ${lastPart(name)}; use another --to for one of them`,
      )
    }
    paths.set(lastPart(name), name)
  }
  return names
}

const lastPart = (name: string) => name.slice(name.lastIndexOf('/') + 1)

interface FileGetterOptions {
  readonly client: Client
  readonly values: GetValues
  /** With `--from`: the files that the user has sent. */
  readonly sent: Promise<References> | undefined
  readonly summary: GetSummary
  readonly overview: Overview<ReceivedFile>
  readonly reporter: GetReporter
  readonly interrupted: AbortSignal
}

/** The maximum number of running and waiting downloads. */
const mostOpen = 100

/** Downloads the files that the operands name. */
class FileGetter {
  readonly #options: FileGetterOptions
  readonly #open = new Set<Promise<void>>()
  /** Whether the server has permanently rejected the client, so that no other file can be downloaded. */
  #isRejected = false

  constructor(options: FileGetterOptions) {
    this.#options = options
  }

  /** Saves files, or folders with `-r`. Resolves when each of them is saved or has failed. */
  async save(names: readonly string[]): Promise<void> {
    const { recursive, to } = this.#options.values
    const wanted = names.length === 0 ? [''] : names
    for (const name of wanted) {
      if (recursive) await this.#saveFolder(name)
      else await this.#saveOne(name, join(to, lastPart(name)))
    }
    this.#options.overview.isComplete = true
    while (this.#open.size > 0) await Promise.all(this.#open)
  }

  /** Writes the content of a file to stdout. */
  async print(name: string): Promise<void> {
    const { client, overview, summary, reporter } = this.#options
    const file = await this.#reference(name).catch(OspError.from)
    if (file instanceof OspError) return await this.#failed('-', { name, transferred: 0 }, file)
    const download = client.files.download(file ?? name)
    const task = receivedFile('-', undefined, download)
    overview.add(task)
    overview.isComplete = true
    download.on('phase', () => reporter.refused(task))
    try {
      for await (const part of download) if (!(await results.content(part))) break
      if (results.broken.aborted) return
      const file = await download.done
      summary.addSaved(file, download.transferred)
    } catch (error) {
      await this.#failed('-', download, OspError.from(error))
    } finally {
      overview.end(task)
    }
  }

  async #saveOne(name: string, path: string): Promise<void> {
    const file = await this.#reference(name).catch(OspError.from)
    if (file instanceof OspError) await this.#failed(path, { name, transferred: 0 }, file)
    else await this.#begin({ name, path, ...(file && { file }) })
  }

  /** With `--from`, resolves with the reference to a file. Rejects if there is none. */
  async #reference(name: string): Promise<FileReference | undefined> {
    const { sent, values } = this.#options
    if (!sent) return undefined
    const file = (await sent).get(name)
    if (file) return file
    throw new OspError('gone', `no message from ${values.from} refers to it; "osp inbox" lists waiting messages`)
  }

  async #saveFolder(name: string): Promise<void> {
    const { client, reporter, values } = this.#options
    const parent = name.length - lastPart(name).length
    let found = 0
    try {
      for await (const file of filesBelow(client, name)) {
        found++
        await this.#begin({ name: file.name, file, path: join(values.to, file.name.slice(parent)) })
        if (this.#isOver) return
      }
    } catch (error) {
      const path = join(values.to, lastPart(name))
      return await this.#failed(path, { name, transferred: 0 }, OspError.from(error))
    }
    if (found > 0) return
    if (name === '') reporter.nothing(name)
    else await this.#begin({ name, path: join(values.to, lastPart(name)) })
  }

  get #isOver(): boolean {
    return this.#isRejected || this.#options.interrupted.aborted
  }

  /** Begins a download. Resolves when another one may begin. */
  async #begin(wanted: WantedFile): Promise<void> {
    if (this.#isOver) return
    const running = this.#get(wanted).finally(() => this.#open.delete(running))
    this.#open.add(running)
    if (this.#open.size >= mostOpen) await Promise.race(this.#open)
  }

  async #get({ name, file, path }: WantedFile): Promise<void> {
    const { client, overview, summary, reporter, values } = this.#options
    const download = client.files.download(file ?? name, { to: targetAt(path, values.overwrite) })
    const task = receivedFile(path, file?.size, download)
    overview.add(task)
    download.on('phase', () => reporter.refused(task))
    const end = await download.done.catch(OspError.from)
    overview.end(task)
    if (!(end instanceof OspError)) {
      summary.addSaved(end, download.transferred)
      reporter.saved(task, end)
    } else await this.#failed(path, download, end)
  }

  async #failed(
    path: string,
    { name, transferred }: Pick<Download, 'name' | 'transferred'>,
    cause: OspError,
  ): Promise<void> {
    const { client, summary, reporter, interrupted } = this.#options
    if (interrupted.aborted) return summary.addUnfinished(transferred)
    this.#isRejected ||= client.status === 'refused'
    const error = await missingFile(client, name, cause, 'add -r to get its contents').catch(OspError.from)
    summary.addFailed(error, transferred)
    reporter.failed(path, { name, transferred }, error, this.#isRejected)
    // Another error of this code says that NAME is a folder.
    if (error === cause && error.code === 'no-such-file') reporter.missing()
  }
}

/** Returns the target at a path. Opening it creates the folder of the path. */
function targetAt(path: string, overwrite: boolean): FileTarget {
  return {
    async open(content, digests) {
      const folder = join(path, '..')
      try {
        makeDirectories(folder)
      } catch (cause) {
        throw new OspError('target-unwritable', `the folder ${folder} cannot be created: ${pathReason(cause)}`, {
          cause,
        })
      }
      return await fileTarget(path, { overwrite })
        .open(content, digests)
        .catch((error: unknown) => {
          throw namingFlag(path, overwrite, OspError.from(error))
        })
    },
  }
}

/** Returns the error to report for a target. If `--overwrite` would replace the present file, it says so. */
function namingFlag(path: string, overwrite: boolean, error: OspError): OspError {
  const stats = error.code === 'target-exists' && !overwrite ? statSync(path, { throwIfNoEntry: false }) : undefined
  if (!stats?.isFile()) return error
  const text = `${path} already exists with other content; add --overwrite to replace it, or specify another --to`
  return new OspError(error.code, text, { cause: error })
}
