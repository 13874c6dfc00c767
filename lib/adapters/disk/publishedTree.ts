import type { BigIntStats, Dirent } from 'node:fs'
import { opendir, rmdir } from 'node:fs/promises'
import { dirname, join, sep } from 'node:path'
import { OspError } from '../../errors.ts'
import { fileNameKey } from '../../names.ts'
import type { Usage } from '../../ports/storage.ts'
import { lostFile } from '../../storage/transfers/storedNames.ts'
import { DirectoryFlushes, makeDirectory } from './directories.ts'
import { attempt, errnoOf, fault, unless } from './faults.ts'
import { quickCalls } from './quickCalls.ts'
import { checkOwn } from './rights.ts'
import { TurnMap } from './turnMap.ts'
import { type RunStep, Usages } from './usages.ts'

/** The errors of link(2) on a file system without hard links. */
const withoutLinks = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'])

/** The number of directories that are remembered as durable. All are removed beyond it. */
const maxKnownDurable = 4_096

/** The number of entries of a directory that are read at once, and of files whose sizes are read at once. */
const entriesAtOnce = 16

/** The number of directories in an empty directory that are read. A directory with more counts as one with files. */
const maxEmptyDirectories = 64

/** The place of a file, and the path to it. */
interface TargetPlace {
  /** The number of existing directories above the place. */
  readonly above: number
  /** The entry at the place, if it does not conflict: a file, or an empty directory. */
  readonly found?: BigIntStats
  /** The name (or the user) that conflicts with a file at the place. */
  readonly conflict?: string
}

/** The tree of the published files. No link is followed. `parts` are checked names: the user, then the file's parts. */
export class PublishedTree {
  readonly flushes: DirectoryFlushes
  readonly usages = new Usages((user, runStep) => this.#count(user, runStep))
  readonly #root: string
  readonly #durable = new Set<string>()
  /** The results of the checks of directories in this turn of the event loop. */
  readonly #checked = new TurnMap<string, Promise<TargetPlace | undefined>>()
  foldsCase = false

  constructor(root: string, flushes = new DirectoryFlushes()) {
    this.#root = root
    this.flushes = flushes
  }

  /** Returns the path of checked names. They need no normalization, so this is faster than `join`. */
  pathOf(parts: readonly string[]): string {
    return [this.#root, ...parts].join(sep)
  }

  /** Returns the regular file at this place, if there is one. */
  async file(parts: readonly string[]): Promise<BigIntStats | undefined> {
    const { found } = await this.find(parts)
    return found?.isFile() ? found : undefined
  }

  /** Reads each entry on the path to a place. Rejects with `storage-unusable` if others could replace a directory. */
  async find(parts: readonly string[]): Promise<TargetPlace> {
    for (let depth = 1; depth < parts.length; depth++) {
      const above = parts.slice(0, depth)
      const path = this.pathOf(above)
      const checking = this.#checked.get(path) ?? this.#placeAt(above, path, false)
      this.#checked.set(path, checking)
      const place = await checking
      if (place) return place
    }
    return (await this.#placeAt(parts, this.pathOf(parts), true)) ?? { above: 0 }
  }

  /** Reads one entry on the path to a place. Resolves with `undefined` if it is a directory above the place. */
  async #placeAt(here: readonly string[], path: string, isLast: boolean): Promise<TargetPlace | undefined> {
    const above = here.length - 1
    const stats = await entryAt(path)
    if (!stats) return { above }
    const upper = here.slice(0, -1)
    const other = await this.#otherSpelling(upper, here.at(-1) ?? '')
    if (other !== undefined) return { above, conflict: nameOf([...upper, other]) }
    if (stats.isDirectory()) checkOwn(path, stats)
    const fits = isLast ? stats.isFile() : stats.isDirectory()
    const isEmpty = isLast && stats.isDirectory() && (await isEmptyDirectory(path))
    if (!fits && !isEmpty) return { above, conflict: nameOf(here) }
    return isLast ? { above, found: stats } : undefined
  }

  /**
   * Moves a flushed partial file to its place, durably. If a file exists there and `replace` is false, resolves with
   * false and changes nothing. Can be repeated after a crash at any step. `isIntact` returns whether the file in that
   * place is the verified one. Rejects with OspError `digest-mismatch` if neither file has its bytes. `written` is
   * the stats of the partial file if this process has just written it.
   */
  async publish(
    partial: string,
    parts: readonly string[],
    replace: boolean,
    isIntact: () => Promise<boolean>,
    written?: BigIntStats,
  ) {
    const place = await this.find(parts)
    if (place.conflict !== undefined) throw conflictError(place.conflict)
    const target = this.pathOf(parts)
    const bytes = written ?? (await entryAt(partial))
    // Otherwise it is an empty directory, which will be removed.
    const there = place.found?.isFile() ? place.found : undefined
    if (!bytes) {
      // The process may have ended after the rename. Any other file under this name is not the verified one.
      if (!there || !(await isIntact())) throw lostFile(`${partial} is missing, and ${target} is not the verified file`)
      await this.flushes.flush(dirname(target))
      return true
    }
    if (there && there.ino === bytes.ino && there.dev === bytes.dev) {
      // A link exists already. A rename would change nothing, since both names lead to the same file.
      await attempt(`removing ${partial}`, async () => quickCalls.unlink(partial))
    } else {
      if (there && !replace) return false
      await this.#prepareTarget(parts, place)
      const moved = () =>
        this.#countChange(parts, { bytes: Number(bytes.size - (there?.size ?? 0n)), files: there ? 0 : 1 })
      const moving = () => (replace ? move(partial, target, moved) : add(partial, target, moved))
      if (!(await attempt(`publishing ${target}`, moving))) return false
    }
    await this.flushes.flush(dirname(target))
    return true
  }

  /** Adds to the totals of the user in whose folder a place is. */
  #countChange([user = '']: readonly string[], change: Partial<Usage>): void {
    this.usages.change(user, { bytes: 0, files: 0, folders: 0, ...change })
  }

  /** Creates the directories above a file, durably, and removes an empty directory from its place. */
  async #prepareTarget(parts: readonly string[], { above, found }: TargetPlace): Promise<void> {
    for (let depth = 1; depth < parts.length; depth++) {
      const path = this.pathOf(parts.slice(0, depth))
      const isNew = depth > above && (await makeDirectory(path))
      if (isNew) this.#made(parts, depth)
      if (depth > above && !isNew) await this.#checkTaken(parts.slice(0, depth))
      if (isNew || !this.#durable.has(path)) await this.flushes.flush(this.pathOf(parts.slice(0, depth - 1)))
      if (this.#durable.size >= maxKnownDurable) this.#durable.clear()
      this.#durable.add(path)
    }
    const removed = () => {
      this.#checked.clear()
      this.#countChange(parts, { folders: -1 })
    }
    if (found?.isDirectory()) await removeEmptyDirectory(this.pathOf(parts), removed)
  }

  /** Handles the creation of a directory at this depth of a path. */
  #made(parts: readonly string[], depth: number): void {
    this.#checked.clear()
    if (depth > 1) this.#countChange(parts, { folders: 1 })
  }

  /** Counts the files and folders below the folder of a user, a few at a time. */
  async #count(user: string, runStep: RunStep): Promise<Usage> {
    const usage = { bytes: 0, files: 0, folders: -1 }
    const folders = [this.pathOf([user])]
    for (let path = folders.pop(); path !== undefined; path = folders.pop()) {
      usage.folders++
      for await (const entries of entriesOf(path)) {
        const pathsOf = (found: readonly Dirent[]) => found.map(({ name }) => [path, name].join(sep))
        folders.push(...pathsOf(entries.filter((entry) => entry.isDirectory())))
        const others = pathsOf(entries.filter((entry) => !entry.isDirectory()))
        const found = await runStep(() => Promise.all(others.map(entryAt)))
        const files = found.flatMap((stats) => (stats?.isFile() ? [Number(stats.size)] : []))
        usage.files += files.length
        usage.bytes += files.reduce((sum, bytes) => sum + bytes, 0)
      }
    }
    return usage
  }

  /** Throws if the new entry at this place is not a directory of this exact name. */
  async #checkTaken(parts: readonly string[]): Promise<void> {
    const other = await this.#otherSpelling(parts.slice(0, -1), parts.at(-1) ?? '')
    if (other !== undefined) throw conflictError(nameOf([...parts.slice(0, -1), other]))
    if (!(await entryAt(this.pathOf(parts)))?.isDirectory()) throw conflictError(nameOf(parts))
  }

  // If case is folded, `lstat` finds a file under other spellings of its name.
  async #otherSpelling(upper: readonly string[], part: string): Promise<string | undefined> {
    if (!this.foldsCase) return undefined
    let other = part
    const key = fileNameKey(part)
    for await (const entries of entriesOf(this.pathOf(upper))) {
      for (const { name } of entries) {
        if (name.normalize('NFC') === part) return undefined
        if (fileNameKey(name) === key) other = name
      }
    }
    return other
  }
}

function conflictError(where: string): OspError {
  return new OspError('name-conflict', `the name collides with ${where} on the server; choose another name`)
}

/** Returns the name below the directory of the user, or the user if there is none. */
const nameOf = ([user, ...parts]: readonly string[]) => parts.join('/') || (user ?? '')

/** Returns the entry at a path without following a link. */
export async function entryAt(path: string): Promise<BigIntStats | undefined> {
  try {
    return await quickCalls.lstat(path)
  } catch (error) {
    if (errnoOf(error) === 'ENOTDIR') return undefined
    throw fault(error, `checking ${path}`)
  }
}

/** Yields the entries of a directory in groups. Yields nothing if the directory is missing. */
async function* entriesOf(path: string): AsyncGenerator<readonly Dirent[]> {
  const doing = `reading the directory ${path}`
  const directory = await unless(['ENOENT', 'ENOTDIR'], doing, () => opendir(path, { bufferSize: entriesAtOnce }))
  if (!directory) return
  let entries: Dirent[] = []
  try {
    // The loop closes the directory.
    for await (const entry of directory) {
      if (entries.push(entry) < entriesAtOnce) continue
      yield entries
      entries = []
    }
  } catch (error) {
    throw fault(error, doing)
  }
  if (entries.length > 0) yield entries
}

/** Returns whether a directory has only empty directories, which a crash or an abandoned upload can leave. */
async function isEmptyDirectory(path: string): Promise<boolean> {
  const folders = [path]
  for (const folder of folders) {
    for await (const entries of entriesOf(folder)) {
      if (entries.some((entry) => !entry.isDirectory())) return false
      folders.push(...entries.map(({ name }) => join(folder, name)))
      if (folders.length > maxEmptyDirectories) return false
    }
  }
  return true
}

/** Removes an empty directory. `removed` is called for each removed directory. */
async function removeEmptyDirectory(path: string, removed: () => void): Promise<void> {
  const folders: string[] = []
  for await (const entries of entriesOf(path)) folders.push(...entries.map(({ name }) => join(path, name)))
  for (const folder of folders) await removeEmptyDirectory(folder, removed)
  await attempt(`removing the directory ${path}`, () => rmdir(path))
  removed()
}

async function move(partial: string, target: string, moved: () => void): Promise<boolean> {
  await quickCalls.rename(partial, target)
  moved()
  return true
}

/** Links the file. Unlike a rename, a link replaces no file of another program: resolves with false then. */
async function add(partial: string, target: string, moved: () => void): Promise<boolean> {
  try {
    await quickCalls.link(partial, target)
  } catch (error) {
    const errno = errnoOf(error) ?? ''
    if (errno === 'EEXIST') return false
    if (!withoutLinks.has(errno)) throw error
    return (await entryAt(target)) ? false : move(partial, target, moved)
  }
  moved()
  await quickCalls.unlink(partial)
  return true
}
