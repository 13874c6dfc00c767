import { constants } from 'node:fs'
import { mkdir, rename, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { OspError } from '../../errors.ts'
import { GroupCommit } from '../../runtime/groupCommit.ts'
import { attempt, errnoOf, unless } from './faults.ts'
import { quickCalls } from './quickCalls.ts'
import { checkDirectoryRights, checkParentRights, writeOwnFile } from './rights.ts'

/** Creates a directory that only its owner can enter. Resolves with whether it was missing. */
export async function makeDirectory(path: string): Promise<boolean> {
  const make = () => mkdir(path, { mode: 0o700 }).then(() => true)
  return (await unless(['EEXIST'], `creating the directory ${path}`, make)) ?? false
}

/**
 * Creates a directory and its missing parents, durably. Rejects with OspError `data-format`, without creating anything,
 * if another user could change or replace the directory. (`mkdir` of Node with `recursive` never ends below /proc.)
 */
export async function makePath(path: string): Promise<void> {
  const directory = resolve(path)
  const check = () => attempt(`checking ${directory}`, async () => checkDirectoryRights(directory))
  await check()
  await makeParts(directory)
  await check()
}

async function makeParts(directory: string): Promise<void> {
  // Other users may create directories in a shared one, such as /tmp, at any time.
  const check = () => attempt(`checking ${directory}`, async () => checkParentRights(directory))
  await check()
  const there = await unless(['ENOENT'], `checking ${directory}`, () => stat(directory))
  if (there?.isDirectory()) return
  const parent = dirname(directory)
  await makeParts(parent)
  await attempt(`creating the directory ${directory}`, () => mkdirOrFind(directory))
  await check()
  await syncDirectory(parent)
}

/** Creates a directory. Another program may create it at the same time. */
async function mkdirOrFind(directory: string): Promise<void> {
  try {
    await mkdir(directory, { mode: 0o700 })
  } catch (error) {
    const errno = errnoOf(error)
    // The parent exists. File systems such as /proc answer like this.
    if (errno === 'ENOENT') {
      const text = `cannot create the directory ${directory}: its file system does not allow new directories; choose another one`
      throw new OspError('storage-unusable', text, { cause: error })
    }
    const isThere = errno === 'EEXIST' && (await stat(directory)).isDirectory()
    if (!isThere) throw error
  }
}

/**
 * Returns whether a file of one directory can be renamed into another one. A rename of a missing file shows it, since
 * the system compares the mounts first. Two mounts can show the same file system, and parts of one file system can have
 * different device numbers.
 */
export async function canMove(from: string, to: string): Promise<boolean> {
  const [a, b] = await Promise.all(
    [from, to].map((path) => attempt(`checking ${path}`, () => stat(path, { bigint: true }))),
  )
  if (a?.dev !== b?.dev) return false
  const name = ':moved'
  try {
    await unless(['ENOENT'], `moving files to ${to}`, () => rename(join(from, name), join(to, name)))
    return true
  } catch (error) {
    if (errnoOf((error as OspError).cause) !== 'EXDEV') throw error
    return false
  }
}

/** Makes the entries of a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  // Windows cannot flush a directory. Its file system keeps the order of such changes itself.
  if (process.platform === 'win32') return
  await attempt(`flushing the directory ${path}`, async () => {
    const fd = await quickCalls.open(path, constants.O_RDONLY)
    try {
      await quickCalls.fsync(fd)
    } finally {
      await quickCalls.close(fd)
    }
  })
}

/** Replaces a file by a new one, without a moment in which it is missing or incomplete; with `durable`, durably. */
export async function replaceFile(path: string, data: string, durable: boolean, fresh = `${path}.new`): Promise<void> {
  await attempt(`writing ${path}`, async () => {
    await writeOwnFile(fresh, data, durable)
    await rename(fresh, path)
  })
  if (durable) await syncDirectory(dirname(path))
}

/** Shares flushes of directories: the calls that arrive during a flush of a directory share the next one. */
export class DirectoryFlushes {
  readonly #sync: (path: string) => Promise<void>
  readonly #flushes = new Map<string, { readonly commits: GroupCommit<void>; calls: number }>()

  constructor(sync: (path: string) => Promise<void> = syncDirectory) {
    this.#sync = sync
  }

  /** Resolves when a flush that began after this call has succeeded: the entries are durable. */
  async flush(path: string): Promise<void> {
    // A failed flush may have lost the changes of the waiting calls, and the next flush would not report it.
    const commits = () => new GroupCommit<void>({ commit: () => this.#sync(path), undo: () => {} })
    const flush = this.#flushes.get(path) ?? { commits: commits(), calls: 0 }
    this.#flushes.set(path, flush)
    flush.calls++
    try {
      await flush.commits.add()
    } finally {
      if (--flush.calls === 0) this.#flushes.delete(path)
    }
  }
}
