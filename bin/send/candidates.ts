import { type Dirent, statSync } from 'node:fs'
import { open, readdir } from 'node:fs/promises'
import { basename } from 'node:path'
import { checkFileName, OspError, type Spooled } from 'ospd'
import { absolutePath, pathBytes, pathReason, pathText, spool } from 'ospd/node'
import { unreadable } from '../common/files.ts'
import { readInput } from '../common/input.ts'
import { asUsageError, displayed, UsageError } from '../common/usage.ts'
import type { SendValues } from './send.ts'

/** The settings that select the files to send. */
export type CandidateValues = Pick<SendValues, 'recursive' | 'as'> & Partial<Pick<SendValues, 'files-from' | 'from0'>>

/** A file to send. `path` is shown to the user: the path as it was given, followed by the path inside a given folder. */
export interface Candidate {
  readonly path: string
  readonly name: string
  /** The size in bytes, if it is known already. */
  readonly size?: number
  /** The spooled content, if the candidate is not a file at `path`. */
  readonly spooled?: Spooled
}

/** A file to send, a path that failed, or a path that is skipped. */
export type FoundPath =
  | Candidate
  | { readonly path: string; readonly failure: OspError }
  | { readonly path: string; readonly skipped: string }

/** Paths in groups, since each step of an asynchronous generator takes longer than finding a path. */
export type FoundPaths = AsyncGenerator<readonly FoundPath[]>

const maxGroup = 64

/**
 * Returns the files to send, which are found while the caller iterates. The content of stdin (`-`) is spooled to the state
 * directory first. No more is read when `stop` aborts; the iteration can reject then. Rejects with UsageError if the
 * operands are not valid together, such as two FILEs of the same name.
 */
export async function candidatesOf(
  values: CandidateValues,
  files: readonly string[],
  directory: string,
  stop?: AbortSignal,
): Promise<FoundPaths> {
  const { recursive, as, 'files-from': from, from0 } = values
  checkOperands(values, files)
  const taken = new Map<string, string>()
  for (const path of files) {
    const name = serverName(path, as)
    const other = taken.get(name)
    if (other !== undefined) throw new UsageError(sameNameText(path, other, name))
    taken.set(name, path)
  }
  const named = [...taken]
  const list = from === undefined ? undefined : await openList(from, stop)
  async function* spooled(name: string): FoundPaths {
    const content = await spool(directory, readInput(stop), name)
    yield [{ path: '-', name, size: content.size, spooled: content }]
  }
  async function* listed(paths: AsyncIterable<string>): FoundPaths {
    for await (const path of paths) {
      const name = serverName(path)
      const other = taken.get(name)
      if (other === undefined) {
        taken.set(name, path)
        yield* find(path, name, recursive)
      } else yield [{ path, failure: sameName(path, other) }]
    }
  }
  async function* candidates(): FoundPaths {
    for (const [name, path] of named) yield* path === '-' ? guarded(path, spooled(name)) : find(path, name, recursive)
    // A list that cannot be read further fails under the name of the flag.
    if (list) yield* guarded(`--files-from ${from}`, listed(namesIn(list, from0)))
  }
  return candidates()
}

function checkOperands({ as, 'files-from': from }: CandidateValues, files: readonly string[]): void {
  if (as !== undefined && (files.length > 1 || from !== undefined))
    throw new UsageError('--as requires exactly one FILE')
  if (files.includes('-') && as === undefined)
    throw new UsageError('specify a name on the server for the content of stdin with --as')
}

function sameNameText(path: string, other: string, name: string): string {
  return absolutePath(path) === absolutePath(other)
    ? `${displayed(path)} is specified twice; specify it once`
    : `${other} and ${path} would both be ${JSON.stringify(name)} on the server; send one with --as`
}

/** Yields the same as `files`, and its error as the failure of `path`. */
async function* guarded(path: string, files: FoundPaths): FoundPaths {
  try {
    yield* files
  } catch (error) {
    yield [{ path, failure: failureOf(error) }]
  }
}

function serverName(path: string, as?: string): string {
  if (as === undefined) return basename(absolutePath(path)).normalize('NFC')
  try {
    return checkFileName(as.normalize('NFC'))
  } catch (error) {
    return asUsageError('--as', error)
  }
}

/** Yields the file at `path`, or with `recursive` the files in and below the folder at `path`, sorted by name. */
const find = (path: string, name: string, recursive: boolean) => guarded(path, filesAt(path, name, recursive))

async function* filesAt(path: string, name: string, recursive: boolean): FoundPaths {
  const stats = statSync(pathBytes(path))
  if (!name.isWellFormed()) throw notUtf8('specify another name with --as NAME')
  if (stats.isFile()) yield [{ path, name, size: stats.size }]
  else if (!stats.isDirectory()) throw unfit('it is not a regular file; specify a file')
  else if (!recursive) throw unfit('it is a folder; add -r to send its contents')
  else yield* walk(path, name)
}

/** Yields the files in and below a folder. Does not follow symbolic links to folders, which can form cycles or lead out of it. */
async function* walk(folder: string, name: string): FoundPaths {
  const named = await namedEntries(folder)
  const taken = new Map<string, string>()
  let group: FoundPath[] = []
  for (const { entry, text } of named.sort((a, b) => (a.text < b.text ? -1 : 1))) {
    const path = folder.endsWith('/') ? `${folder}${text}` : `${folder}/${text}`
    const part = text.normalize('NFC')
    const found = entryAt(path, `${name}/${part}`, entry, taken.get(part))
    taken.set(part, path)
    if ('folder' in found || group.length === maxGroup) {
      yield group
      group = []
    }
    if ('folder' in found) yield* guarded(path, walk(path, found.folder))
    else group.push(found)
  }
  yield group
}

interface NamedEntry {
  readonly entry: Dirent<string> | Dirent<Buffer>
  readonly text: string
}

/** Returns the entries of a folder, each with its name as encoded by `pathText`. */
async function namedEntries(folder: string): Promise<NamedEntry[]> {
  const path = pathBytes(folder)
  const entries = await readdir(path, { withFileTypes: true })
  const named = entries.map((entry) => ({ entry, text: entry.name }))
  // Node has replaced the bytes of a name that are not UTF-8.
  if (!named.some(({ text }) => text.includes('\uFFFD'))) return named
  const raw = await readdir(path, { withFileTypes: true, encoding: 'buffer' })
  return raw.map((entry) => ({ entry, text: pathText(entry.name) }))
}

/** Returns the file at an entry of a folder, or the name of a folder. `twin` is an entry of the same name in another Unicode form. */
function entryAt(
  path: string,
  name: string,
  entry: NamedEntry['entry'],
  twin?: string,
): FoundPath | { folder: string } {
  const isFolder = entry.isDirectory()
  if (!name.isWellFormed()) {
    const advice = isFolder ? 'nothing in it is sent; rename it' : 'rename it, or send it by itself with --as NAME'
    return { path, failure: notUtf8(advice) }
  }
  if (twin !== undefined) return { path, failure: sameName(path, twin) }
  if (isFolder) return { folder: name }
  if (entry.isFile()) return { path, name }
  try {
    const stats = entry.isSymbolicLink() ? statSync(pathBytes(path)) : undefined
    if (stats?.isFile()) return { path, name, size: stats.size }
    return { path, skipped: stats?.isDirectory() ? 'it is a symbolic link to a folder' : 'it is not a regular file' }
  } catch (error) {
    return { path, failure: failureOf(error) }
  }
}

/** Returns the error for a file whose name is not UTF-8. `way` says how to send the file. */
function notUtf8(way: string): OspError {
  return new OspError('bad-name', `its name is not UTF-8, which the server requires; ${way}`)
}

const unfit = (reason: string) => new OspError('source-unreadable', reason)

/** Returns the error for a file that would have the same name on the server as `other`, or that is the same file. */
function sameName(path: string, other: string): OspError {
  const isSame = absolutePath(path) === absolutePath(other)
  const reason = isSame ? 'it is specified twice; specify it once' : undefined
  return new OspError('usage', reason ?? `it would have the same name on the server as ${other}`)
}

function failureOf(cause: unknown): OspError {
  if (cause instanceof OspError) return cause
  const { code = '' } = cause as NodeJS.ErrnoException
  const isMissing = code === 'ENOENT' || code === 'ENOTDIR'
  return new OspError(isMissing ? 'source-missing' : 'source-unreadable', pathReason(cause), { cause })
}

/** Opens the list of `--files-from`; `-` is stdin. Reading it rejects when `signal` aborts. Throws UsageError if it cannot be opened. */
async function openList(path: string, signal?: AbortSignal): Promise<AsyncIterable<Buffer>> {
  if (path === '-') return readInput(signal)
  try {
    const file = await open(pathBytes(path))
    if (!(await file.stat()).isDirectory()) {
      const stream = file.createReadStream()
      signal?.addEventListener('abort', () => stream.destroy(), { once: true })
      return stream
    }
    await file.close()
  } catch (error) {
    throw unreadable('--files-from', path, error)
  }
  throw new UsageError(`--files-from ${path} is a directory; specify a file with a path on each line`)
}

/** The maximum length of a name. Every path is shorter. */
const mostBytes = 64 * 1024

const newline = 0x0a
const nul = 0

/**
 * Yields the names in a list as they arrive, each encoded as by `pathText`. A name ends with a newline (Unix or
 * Windows), or with NUL if `from0` is set. Skips empty names and a leading byte order mark. Throws OspError `usage` if
 * the list has another format, and `source-unreadable` if it cannot be read.
 */
export async function* namesIn(list: AsyncIterable<Uint8Array>, from0 = false): AsyncGenerator<string> {
  let isFirst = true
  for await (const bytes of partsOf(list, from0 ? nul : newline)) {
    const name = isFirst ? withoutMark(bytes) : bytes
    isFirst = false
    if (name.includes(0)) throw new OspError('usage', 'it contains NUL; add --from0 if its names end with NUL')
    const shown = !from0 && name.at(-1) === 0x0d ? name.subarray(0, -1) : name
    if (shown.length > 0) yield pathText(shown)
  }
}

async function* partsOf(list: AsyncIterable<Uint8Array>, end: number): AsyncGenerator<Buffer> {
  let rest: Buffer[] = []
  let length = 0
  try {
    for await (const part of list) {
      let begin = 0
      for (let at = part.indexOf(end); at >= 0; at = part.indexOf(end, begin)) {
        yield Buffer.concat([...rest, part.subarray(begin, at)])
        rest = []
        begin = at + 1
      }
      if (begin < part.length) rest.push(Buffer.from(part.subarray(begin)))
      length = begin > 0 ? part.length - begin : length + part.length
      if (length > mostBytes) throw new OspError('usage', `a name in it has more than ${mostBytes} bytes`)
    }
  } catch (cause) {
    if (cause instanceof OspError) throw cause
    throw new OspError('source-unreadable', `it cannot be read: ${(cause as Error).message}`, { cause })
  }
  yield Buffer.concat(rest)
}

function withoutMark(bytes: Buffer): Buffer {
  const isUtf16 = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)
  if (isUtf16) throw new OspError('usage', 'it is in UTF-16; save it as UTF-8')
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes
}
