import type { Dirent, Stats } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { checkFileName, OspError } from 'ospd'
import { absolutePath, pathBytes, pathText, type Spooled, spool } from 'ospd/node'
import { type Input, readInput } from '../common/input.ts'
import { shown, UsageError } from '../common/usage.ts'
import { namesIn, openList } from './fileList.ts'
import type { SendValues } from './send.ts'

/** The settings that select the files to send. */
export type CandidateValues = Pick<SendValues, 'recursive' | 'as'> & Partial<Pick<SendValues, 'files-from' | 'from0'>>

/** The files that a command is to send. */
export interface Candidates extends AsyncIterable<Found> {
  /** The stream of names or content that is still being read while files are sent. */
  readonly input: Input | undefined
}

/**
 * Returns the files to send, which are found while the caller iterates. The content of stdin (`-`) is spooled to the state
 * directory first. Rejects with UsageError if the operands are not valid together, such as two FILEs of the same name.
 */
export async function candidatesOf(
  values: CandidateValues,
  files: readonly string[],
  directory: string,
): Promise<Candidates> {
  const { recursive, as, 'files-from': from, from0 = false } = values
  if (as !== undefined && (files.length !== 1 || from !== undefined))
    throw new UsageError('--as requires exactly one FILE')
  if (from0 && from === undefined) throw new UsageError('--from0 requires --files-from; specify both')
  const stdin = files.includes('-') ? readInput() : undefined
  if (stdin && as === undefined) throw new UsageError('specify a name on the server for the content of stdin with --as')
  const names = new Names()
  const named = files.map((path) => ({ path, name: serverName(path, as) }))
  for (const { path, name } of named) {
    const other = names.take(name, path)
    if (other !== undefined && absolutePath(other) === absolutePath(path)) {
      throw new UsageError(`${shown(path)} is specified twice; specify it once`)
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

/** The names on the server, each with the path that uses it. */
class Names {
  readonly #taken = new Map<string, string>()

  /** Reserves the name. Returns the path that already uses it, if there is one. */
  take(name: string, path: string): string | undefined {
    const other = this.#taken.get(name)
    if (other === undefined) this.#taken.set(name, path)
    return other
  }
}

/** A file to send. `path` is shown to the user: the path as it was given, followed by the path inside a given folder. */
export interface Candidate {
  readonly path: string
  /** The name on the server. */
  readonly name: string
  /** The size in bytes, as far as it is known before the file is opened. */
  readonly size: number
  /** The spooled content, if the candidate is not a file at `path`. */
  readonly spooled?: Spooled
}

/** A file to send, a path that failed, or a path that is skipped. */
export type Found =
  | Candidate
  | { readonly path: string; readonly failure: OspError }
  | { readonly path: string; readonly skipped: string }

/** Yields the file at `path`, or with `recursive` the files in and below the folder at `path`, sorted by name. */
async function* find(path: string, name: string, recursive: boolean): AsyncGenerator<Found> {
  const stats = await attempt(path, () => stat(pathBytes(path)))
  if ('failure' in stats) yield stats
  else if (!name.isWellFormed()) yield failed(path, notUtf8('specify another name with --as NAME'))
  else if (!stats.isDirectory()) yield fileOr(path, name, stats)
  else if (recursive) yield* walk(path, name)
  else yield failed(path, new OspError('source-unreadable', 'it is a folder; add -r to send its contents'))
}

/** Yields the files in and below a folder. Does not follow symbolic links to folders, which can form cycles or lead out of it. */
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
  if (!entry.isFile() && !entry.isSymbolicLink()) return { path, skipped: 'it is not a regular file' }
  const stats = await attempt(path, () => stat(pathBytes(path)))
  if ('failure' in stats) return stats
  if (stats.isDirectory()) return { path, skipped: 'it is a symbolic link to a folder' }
  return stats.isFile() ? fileOr(path, name, stats) : { path, skipped: 'it is not a regular file' }
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

/** Returns the error for a file that would have the same name on the server as `other`, or that is the same file. */
function sameName(path: string, other: string): OspError {
  const isSame = absolutePath(path) === absolutePath(other)
  return new OspError(
    'usage',
    isSame ? 'it is specified twice; specify it once' : `it would have the same name on the server as ${other}`,
  )
}

function fileOr(path: string, name: string, stats: Stats): Found {
  if (stats.isFile()) return { path, name, size: stats.size }
  return failed(path, new OspError('source-unreadable', 'it is not a regular file; specify a file'))
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
    return new OspError('source-unreadable', 'permission denied; change its permissions, or run as its owner', {
      cause,
    })
  }
  return new OspError('source-unreadable', `it cannot be read (${code ?? message})`, { cause })
}

function byName(a: Entry, b: Entry): number {
  return a.name < b.name ? -1 : 1
}
