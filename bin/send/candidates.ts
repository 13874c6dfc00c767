import type { Dirent, Stats } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { checkFileName, OspError } from 'ospd'
import { absolutePath, pathBytes, pathText, type Spooled, spool } from 'ospd/node'
import { type Input, readInput } from '../common/input.ts'
import { shown, UsageError } from '../common/usage.ts'
import { namesIn, openList } from './fileList.ts'
import type { SendValues } from './send.ts'

/** What decides which files are to be sent. */
export type CandidateValues = Pick<SendValues, 'recursive' | 'as'> & Partial<Pick<SendValues, 'files-from' | 'from0'>>

/** What a command was asked to send. */
export interface Candidates extends AsyncIterable<Found> {
  /** The stream of names or content that is still being read while files are sent. */
  readonly input: Input | undefined
}

/**
 * The files that are to be sent, found as they are asked for; stdin, as `-`, is spooled to the state directory then. Throws
 * UsageError where the command as a whole is wrong, as by two FILEs of one name.
 */
export async function candidatesOf(
  values: CandidateValues,
  files: readonly string[],
  directory: string,
): Promise<Candidates> {
  const { recursive, as, 'files-from': from, from0 = false } = values
  if (as !== undefined && (files.length !== 1 || from !== undefined)) throw new UsageError('--as is for one FILE alone')
  if (from0 && from === undefined) throw new UsageError('--from0 requires --files-from; give both')
  const stdin = files.includes('-') ? readInput() : undefined
  if (stdin && as === undefined) throw new UsageError('give what is read from stdin a name on the server by --as')
  const names = new Names()
  const named = files.map((path) => ({ path, name: serverName(path, as) }))
  for (const { path, name } of named) {
    const other = names.take(name, path)
    if (other !== undefined && absolutePath(other) === absolutePath(path)) {
      throw new UsageError(`${shown(path)} is named twice; name it once`)
    }
    if (other !== undefined) {
      throw new UsageError(
        `${other} and ${path} would both be ${JSON.stringify(name)} on the server; send one with --as`,
      )
    }
  }
  const list = from === undefined ? undefined : await openList(from)
  return {
    input: stdin ?? list,
    async *[Symbol.asyncIterator]() {
      for (const { path, name } of named) {
        if (path === '-' && stdin) yield await spooled(directory, stdin, name)
        else yield* find(path, name, recursive)
      }
      if (list) yield* listed(`--files-from ${from}`, namesIn(list, from0), names, recursive)
    },
  }
}

/** Yields the files that a list names. A list that cannot be read further yields a failure under the name `list`. */
async function* listed(
  list: string,
  paths: AsyncIterable<string>,
  names: Names,
  recursive: boolean,
): AsyncGenerator<Found> {
  try {
    for await (const path of paths) {
      const name = serverName(path)
      const other = names.take(name, path)
      if (other === undefined) yield* find(path, name, recursive)
      else yield { path, failure: sameName(path, other) }
    }
  } catch (error) {
    yield { path: list, failure: OspError.from(error) }
  }
}

async function spooled(directory: string, stdin: Input, name: string): Promise<Found> {
  const path = '-'
  try {
    const spooled = await spool(directory, stdin, name)
    return { path, name, size: spooled.size, spooled }
  } catch (error) {
    return { path, failure: OspError.from(error) }
  }
}

function serverName(path: string, as?: string): string {
  if (as === undefined) return basename(absolutePath(path)).normalize('NFC')
  try {
    return checkFileName(as.normalize('NFC'))
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

/** Names on the server, and which path has taken each. */
class Names {
  readonly #taken = new Map<string, string>()

  /** Takes the name; returns the path that has it already, if one does. */
  take(name: string, path: string): string | undefined {
    const other = this.#taken.get(name)
    if (other === undefined) this.#taken.set(name, path)
    return other
  }
}

/** A file to send. `path` is what the user sees: as it was given, with what is below a folder behind it. */
export interface Candidate {
  readonly path: string
  /** On the server. */
  readonly name: string
  /** Bytes, as far as they are known before it is opened. */
  readonly size: number
  /** What it is, where it is no file of its path. */
  readonly spooled?: Spooled
}

/** A file to send; or a path that failed by itself; or one that is nothing to send. */
export type Found =
  | Candidate
  | { readonly path: string; readonly failure: OspError }
  | { readonly path: string; readonly skipped: string }

/** The file at `path`, or with `recursive` the files in and below the folder there, in the order of their names. */
async function* find(path: string, name: string, recursive: boolean): AsyncGenerator<Found> {
  const stats = await attempt(path, () => stat(pathBytes(path)))
  if ('failure' in stats) yield stats
  else if (!name.isWellFormed()) yield failed(path, notUtf8('give it another one with --as NAME'))
  else if (!stats.isDirectory()) yield fileOr(path, name, stats)
  else if (recursive) yield* walk(path, name)
  else yield failed(path, new OspError('source-unreadable', 'it is a folder; add -r to send what is in it'))
}

/** Symbolic links to folders are not followed, since they can lead in circles and out of the tree. */
async function* walk(folder: string, name: string): AsyncGenerator<Found> {
  const entries = await attempt(folder, () => entriesOf(folder))
  if ('failure' in entries) return yield entries
  const names = new Map<string, string>()
  for (const entry of entries.sort(byName)) {
    const path = folder.endsWith('/') ? `${folder}${entry.name}` : `${folder}/${entry.name}`
    const part = entry.name.normalize('NFC')
    const twin = names.get(part)
    if (!part.isWellFormed()) {
      const way = entry.isDirectory()
        ? 'nothing in it is sent; rename it'
        : 'rename it, or send it by itself with --as NAME'
      yield failed(path, notUtf8(way))
    } else if (twin !== undefined) yield failed(path, sameName(path, twin))
    else if (entry.isDirectory()) yield* walk(path, `${name}/${part}`)
    else yield await inFolder(path, `${name}/${part}`, entry)
    names.set(part, path)
  }
}

async function inFolder(path: string, name: string, entry: Entry): Promise<Found> {
  if (!entry.isFile() && !entry.isSymbolicLink()) return { path, skipped: 'it is no regular file' }
  const stats = await attempt(path, () => stat(pathBytes(path)))
  if ('failure' in stats) return stats
  if (stats.isDirectory()) return { path, skipped: 'it is a link to a folder, which is not followed' }
  return stats.isFile() ? fileOr(path, name, stats) : { path, skipped: 'it is no regular file' }
}

/** Lists the entries of a folder, with names encoded as by `pathText`. */
async function entriesOf(folder: string): Promise<Entry[]> {
  const entries = await readdir(pathBytes(folder), { withFileTypes: true, encoding: 'buffer' })
  return entries.map((entry) => ({
    name: pathText(entry.name),
    isDirectory: () => entry.isDirectory(),
    isFile: () => entry.isFile(),
    isSymbolicLink: () => entry.isSymbolicLink(),
  }))
}

type Entry = Pick<Dirent, 'name' | 'isDirectory' | 'isFile' | 'isSymbolicLink'>

/** Returns the error for a file whose name is not UTF-8. `way` says how to send the file. */
function notUtf8(way: string): OspError {
  return new OspError('bad-name', `its name is not UTF-8, which the server requires; ${way}`)
}

/** Returns the error of a file that would have the name of another one of the same command, or that is that file. */
function sameName(path: string, other: string): OspError {
  const isSame = absolutePath(path) === absolutePath(other)
  return new OspError(
    'usage',
    isSame ? 'it is named twice; name it once' : `it would have the same name on the server as ${other}`,
  )
}

function fileOr(path: string, name: string, stats: Stats): Found {
  if (stats.isFile()) return { path, name, size: stats.size }
  return failed(path, new OspError('source-unreadable', 'it is no regular file; name a file to send'))
}

const failed = (path: string, failure: OspError) => ({ path, failure })

async function attempt<T>(path: string, work: () => Promise<T>): Promise<T | { path: string; failure: OspError }> {
  try {
    return await work()
  } catch (error) {
    return failed(path, reason(error as NodeJS.ErrnoException))
  }
}

function reason(cause: NodeJS.ErrnoException): OspError {
  const { code, message } = cause
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new OspError('source-missing', 'it does not exist; check the path', { cause })
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new OspError('source-unreadable', 'it may not be read by this user; change its permissions', { cause })
  }
  return new OspError('source-unreadable', `it cannot be read (${code ?? message})`, { cause })
}

function byName(a: Entry, b: Entry): number {
  return a.name < b.name ? -1 : 1
}
