import type { BigIntStats, Dirent } from 'node:fs'
import { opendir, rmdir } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { OspError } from '../../errors.ts'
import { fileNameKey } from '../../names.ts'
import type { Usage } from '../../ports/storage.ts'
import { chain, type MaybePromise, settleAll } from '../../runtime/settled.ts'
import { lostFile } from '../../storage/transfers/storedNames.ts'
import { DirectoryFlushes, makeDirectory } from './directories.ts'
import { attempt, errnoOf, fault, unless } from './faults.ts'
import { quickCalls } from './quickCalls.ts'
import { checkOwn } from './rights.ts'
import { TurnMap } from './turnMap.ts'
import { type RunStep, Usages } from './usages.ts'

/** The errors of link(2) on a file system without hard links. */
export const withoutLinks: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'])

/** The number of directories that are remembered as durable. All are removed beyond it. */
const maxKnownDurable = 4_096

/** The number of entries of a directory that are read at once, and of files whose sizes are read at once. */
const entriesAtOnce = 16

/** The maximum number of attempts to move a file into a folder that other requests remove because it is empty. */
const moveTries = 3

const isMissing = (error: unknown): boolean => errnoOf(error) === 'ENOENT'

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

/** A partial file and the place to which it is moved. */
export interface Move {
  readonly partial: string
  readonly parts: readonly string[]
  /** The stats of the partial file if this process has just written it. */
  readonly written?: BigIntStats
  /**
   * Returns whether the file in that place is the verified one. If it is not, and the partial file is missing, the error is
   * OspError `digest-mismatch`.
   */
  isIntact?(): Promise<boolean>
}

/** The tree of the published files. No link is followed. `parts` are checked names: the user, then the file's parts. */
export class PublishedTree {
  readonly flushes: DirectoryFlushes
  readonly usages = new Usages((user, runStep) => this.#count(user, runStep))
  readonly #root: string
  readonly #durable = new Set<string>()
  /** The results of the checks of directories in this turn of the event loop. */
  readonly #checked = new TurnMap<string, Promise<TargetPlace | undefined>>()
  /** The directories that were checked in this turn and exist. */
  readonly #knownDirectories = new TurnMap<string, true>()
  /** The entries that were read in this turn or the previous one, by path. The markers of a batch are written in between. */
  readonly #places = new TurnMap<string, TargetPlace>(2)
  foldsCase = false
  /** The latest parts of a path, and their directory. */
  #latest: { readonly parts: readonly string[]; readonly directory: string } = { parts: [], directory: '' }

  constructor(root: string, flushes = new DirectoryFlushes()) {
    this.#root = root
    this.flushes = flushes
  }

  /** Returns the path of checked names. They need no normalization, so this is faster than `join`. */
  pathOf(parts: readonly string[]): string {
    const name = parts.at(-1)
    return name === undefined ? this.#root : `${this.#directoryOf(parts)}${sep}${name}`
  }

  /** Returns the path of the directory above a place. It is kept for the next place, which is often in the same directory. */
  #directoryOf(parts: readonly string[]): string {
    const { parts: latest, directory: known } = this.#latest
    const above = parts.length - 1
    if (latest.length === parts.length && latest.every((part, at) => at === above || part === parts[at])) return known
    const directory = [this.#root, ...parts.slice(0, -1)].join(sep)
    this.#latest = { parts, directory }
    return directory
  }

  /** Returns the regular file at this place, if there is one. */
  async file(parts: readonly string[]): Promise<BigIntStats | undefined> {
    const directory = this.#directoryOf(parts)
    if (!this.#knownDirectories.get(directory) && (await this.#findDirectory(parts))) return undefined
    const known = this.#places.get(`${directory}${sep}${parts.at(-1)}`)
    const stats = known ? known.found : await entryAt(this.pathOf(parts))
    if (!stats?.isFile()) return undefined
    // A file under another spelling is another file.
    return this.foldsCase ? (await this.find(parts)).found : stats
  }

  /** Reads each entry on the path to a place. Rejects with `storage-unusable` if others could replace a directory. */
  find(parts: readonly string[]): MaybePromise<TargetPlace> {
    const directory = this.#directoryOf(parts)
    if (this.#knownDirectories.get(directory)) return this.#findIn(directory, parts)
    return this.#findDirectory(parts).then((missing) => {
      if (missing) return missing
      this.#knownDirectories.set(directory, true)
      return this.#findIn(directory, parts)
    })
  }

  /** Checks the directories of these places, so that `find` need not wait for each place. `find` repeats a check that failed. */
  async findDirectories(places: readonly (readonly string[])[]): Promise<void> {
    const unknown = new Map<string, readonly string[]>()
    for (const parts of places) {
      const directory = this.#directoryOf(parts)
      if (!this.#knownDirectories.get(directory)) unknown.set(directory, parts)
    }
    await settleAll([...unknown], async ([directory, parts]) => {
      if (!(await this.#findDirectory(parts))) this.#knownDirectories.set(directory, true)
    })
  }

  /** Reads the entry at a place whose directory exists. */
  #findIn(directory: string, parts: readonly string[]): MaybePromise<TargetPlace> {
    const path = `${directory}${sep}${parts.at(-1)}`
    const known = this.#places.get(path)
    if (known) return known
    return chain(entryAt(path), (stats) => {
      const above = parts.length - 1
      if (!stats || (!this.foldsCase && stats.isFile())) {
        const place = stats ? { above, found: stats } : { above }
        this.#places.set(path, place)
        return place
      }
      return this.#placeOf(parts, path, stats, true).then((place) => place ?? { above: 0 })
    })
  }

  /** Checks the directories above a place. Resolves with `undefined` if they exist. */
  async #findDirectory(parts: readonly string[]): Promise<TargetPlace | undefined> {
    for (let depth = 1; depth < parts.length; depth++) {
      const above = parts.slice(0, depth)
      const path = this.pathOf(above)
      const checking = this.#checked.get(path) ?? this.#directoryAt(above, path)
      this.#checked.set(path, checking)
      const place = await checking
      if (place) return place
    }
    return undefined
  }

  async #directoryAt(here: readonly string[], path: string): Promise<TargetPlace | undefined> {
    const stats = await entryAt(path)
    return stats ? this.#placeOf(here, path, stats, false) : { above: here.length - 1 }
  }

  /** Checks one entry on the path to a place. Resolves with `undefined` if it is a directory above the place. */
  async #placeOf(
    here: readonly string[],
    path: string,
    stats: BigIntStats,
    isLast: boolean,
  ): Promise<TargetPlace | undefined> {
    const above = here.length - 1
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
   * Moves flushed partial files to their places, durably. Resolves with the result of each: true, or the error, or false if a file
   * exists in its place and `replace` is false; then nothing was changed. Can be repeated after a crash at any step.
   */
  async publish(moves: readonly Move[], replace: boolean): Promise<readonly (boolean | Error)[]> {
    const late = conflictingMoves(moves)
    await this.findDirectories(moves.map(({ parts }) => parts))
    const results = [...(await settleAll(moves, (move) => (late.has(move) ? false : this.#move(move, replace))))]
    for (const [at, move] of late.size > 0 ? moves.entries() : []) {
      if (late.has(move)) [results[at] = false] = await settleAll([move], () => this.#move(move, replace))
    }
    const directories = moves.map(({ parts }, at) => (results[at] === true ? this.#directoryOf(parts) : ''))
    const failures = new Map<string, Error>()
    const flushing = [...new Set(directories)].filter((directory) => directory !== '')
    const flushes = await settleAll(flushing, (directory) => this.flushes.flush(directory))
    flushes.forEach((error, at) => {
      if (error) failures.set(flushing[at] ?? '', error)
    })
    return results.map((result, at) => failures.get(directories[at] ?? '') ?? result)
  }

  /**
   * Removes a published file, and the folders that this leaves empty: durable. With `to`, it first moves the file there. Resolves
   * with false, without a change, if the file or the directory of `to` is missing.
   */
  async remove(parts: readonly string[], to?: string): Promise<boolean> {
    const path = this.pathOf(parts)
    const stats = await this.file(parts)
    if (!stats) return false
    const isRemoved = await unless(['ENOENT'], `removing ${path}`, async () => {
      await (to === undefined ? quickCalls.unlink(path) : quickCalls.rename(path, to))
      return true
    })
    if (!isRemoved) return false
    this.#left(parts, stats)
    await this.#removeFolders(parts)
    return true
  }

  /** Moves a published file to another place of the same user: atomic and durable. Replaces a file there. */
  async rename(parts: readonly string[], newParts: readonly string[], tries = moveTries): Promise<void> {
    const [path, newPath] = [this.pathOf(parts), this.pathOf(newParts)]
    const place = await this.find(newParts)
    if (place.conflict !== undefined) throw conflictError(place.conflict)
    const stats = await this.file(parts)
    if (!stats) throw lostFile(`${path} is missing`)
    const there = place.found?.isFile() ? place.found : undefined
    if (!this.#isPrepared(newParts, place)) await this.#prepareTarget(newParts, place)
    try {
      await quickCalls.rename(path, newPath)
    } catch (error) {
      if (isMissing(error) && tries > 1) return await this.rename(parts, newParts, tries - 1)
      throw fault(error, `moving ${path} to ${newPath}`)
    }
    this.#left(parts, stats)
    this.#countChange(newParts, { bytes: Number(stats.size - (there?.size ?? 0n)), files: there ? 0 : 1 })
    await this.flushes.flush(this.#directoryOf(newParts))
    await this.#removeFolders(parts)
  }

  /** Updates the totals and forgets the checks after a file was moved away or removed. */
  #left(parts: readonly string[], { size }: BigIntStats): void {
    this.#forgetChecks()
    this.#countChange(parts, { bytes: -Number(size), files: -1 })
  }

  /** Flushes the folder that a file has left. Removes it and the folders above it if they are empty. */
  async #removeFolders(parts: readonly string[]): Promise<void> {
    let depth = parts.length - 1
    while (depth > 1) {
      const path = this.pathOf(parts.slice(0, depth))
      const isRemoved = await unless(['ENOTEMPTY', 'EEXIST', 'ENOENT'], `removing the directory ${path}`, () =>
        rmdir(path).then(() => true),
      )
      if (!isRemoved) break
      this.#forgetChecks()
      this.#durable.delete(path)
      this.#countChange(parts, { folders: -1 })
      depth--
    }
    await this.flushes.flush(this.pathOf(parts.slice(0, depth)))
  }

  /** Moves a partial file to its place. The directory is not flushed. */
  #move(move: Move, replace: boolean, tries = moveTries): MaybePromise<boolean> {
    return chain(this.find(move.parts), (place) => {
      if (place.conflict !== undefined) throw conflictError(place.conflict)
      return chain(move.written ?? entryAt(move.partial), (bytes) => this.#moveTo(place, move, bytes, replace, tries))
    })
  }

  #moveTo(
    place: TargetPlace,
    move: Move,
    bytes: BigIntStats | undefined,
    replace: boolean,
    tries: number,
  ): MaybePromise<boolean> {
    const { partial, parts } = move
    const target = this.pathOf(parts)
    // Otherwise it is an empty directory, which will be removed.
    const there = place.found?.isFile() ? place.found : undefined
    if (!bytes) {
      // The process may have ended after the rename. Any other file under this name is not the verified one.
      const isIntact = there ? (move.isIntact?.() ?? false) : false
      return chain(isIntact, (isThere) => {
        if (!isThere) throw lostFile(`${partial} is missing, and ${target} is not the verified file`)
        return true
      })
    }
    if (there && there.ino === bytes.ino && there.dev === bytes.dev) {
      // A link exists already. A rename would change nothing, since both names lead to the same file.
      return attempt(`removing ${partial}`, async () => quickCalls.unlink(partial)).then(() => true)
    }
    if (there && !replace) return false
    this.#places.delete(target)
    const moved = () => {
      this.#places.delete(target)
      this.#countChange(parts, { bytes: Number(bytes.size - (there?.size ?? 0n)), files: there ? 0 : 1 })
    }
    const failed = (error: unknown): MaybePromise<boolean> => {
      if (isMissing(error) && tries > 1) return this.#move(move, replace, tries - 1)
      throw fault(error, `publishing ${target}`)
    }
    const moving = () => {
      try {
        const isMoved = replace ? rename(partial, target, moved) : add(partial, target, moved)
        return isMoved instanceof Promise ? isMoved.catch(failed) : isMoved
      } catch (error) {
        return failed(error)
      }
    }
    return this.#isPrepared(parts, place) ? moving() : this.#prepareTarget(parts, place).then(moving)
  }

  /** Returns whether the directories above a place exist durably, and no directory is in the place. */
  #isPrepared(parts: readonly string[], { above, found }: TargetPlace): boolean {
    const hasDurableParents = above === parts.length - 1 && this.#durable.has(this.#directoryOf(parts))
    return hasDurableParents && !found?.isDirectory()
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
      this.#forgetChecks()
      this.#countChange(parts, { folders: -1 })
    }
    if (found?.isDirectory()) await removeEmptyDirectory(this.pathOf(parts), removed)
  }

  /** Handles the creation of a directory at this depth of a path. */
  #made(parts: readonly string[], depth: number): void {
    this.#forgetChecks()
    if (depth > 1) this.#countChange(parts, { folders: 1 })
  }

  #forgetChecks(): void {
    this.#checked.clear()
    this.#knownDirectories.clear()
    this.#places.clear()
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

/** Identifies a file and its content. Includes the inode, since files written in quick succession can have the same time. */
export const stampOf = ({ size, mtimeNs, ino, birthtimeNs }: BigIntStats): string =>
  `${size}:${mtimeNs}:${ino}:${birthtimeNs.toString(36)}`

/** Returns the entry at a path without following a link. */
export function entryAt(path: string): MaybePromise<BigIntStats | undefined> {
  const failed = (error: unknown): undefined => {
    if (errnoOf(error) !== 'ENOTDIR') throw fault(error, `checking ${path}`)
  }
  try {
    const stats = quickCalls.lstat(path)
    return stats instanceof Promise ? stats.catch(failed) : stats
  } catch (error) {
    return failed(error)
  }
}

/** Yields the entries of a directory in groups. Yields nothing if the directory is missing. */
export async function* entriesOf(path: string): AsyncGenerator<readonly Dirent[]> {
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

function rename(partial: string, target: string, moved: () => void): MaybePromise<boolean> {
  return chain(quickCalls.rename(partial, target), () => {
    moved()
    return true
  })
}

/** Links the file. Unlike a rename, a link replaces no file of another program: resolves with false then. */
async function add(partial: string, target: string, moved: () => void): Promise<boolean> {
  try {
    await quickCalls.link(partial, target)
  } catch (error) {
    const errno = errnoOf(error) ?? ''
    if (errno === 'EEXIST') return false
    if (!withoutLinks.has(errno)) throw error
    return (await entryAt(target)) ? false : rename(partial, target, moved)
  }
  moved()
  // Another server may have removed it.
  await unless(['ENOENT'], `removing ${partial}`, async () => quickCalls.unlink(partial))
  return true
}

const noMoves: ReadonlySet<Move> = new Set()

/** Returns the moves to places above or below that of an earlier one. They are made after it, so that they find its file. */
function conflictingMoves(moves: readonly Move[]): ReadonlySet<Move> {
  if (moves.every(({ parts }) => parts.length === moves[0]?.parts.length)) return noMoves
  const late = new Set<Move>()
  const places = new Map(moves.map(({ parts }, at) => [parts.join('/'), at]))
  for (const [at, { parts }] of moves.entries()) {
    for (let length = 2; length < parts.length; length++) {
      const above = places.get(parts.slice(0, length).join('/'))
      const later = above !== undefined && moves[Math.max(at, above)]
      if (later) late.add(later)
    }
  }
  return late
}
