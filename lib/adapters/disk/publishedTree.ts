import type { BigIntStats, Dirent } from 'node:fs'
import { lstat, opendir, rmdir } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { OspError } from '../../errors.ts'
import { fileNameKey } from '../../names.ts'
import type { Usage } from '../../ports/storage.ts'
import { type DirectoryFlushes, makeDirectory } from './directories.ts'
import { attempt, unless } from './faults.ts'
import { checkOwn } from './rights.ts'
import { type Turn, Usages } from './usages.ts'

/** Directories whose entries are remembered as durable; forgotten all at once beyond that. */
const remembered = 4_096

/** Entries of a directory that are read at once, and files whose sizes are asked for at once. */
const lookedAtOnce = 16

/** Directories in an empty directory that are looked at before it counts as one with files. */
const mostHollow = 64

/** What lies at the place of a file, and on the way there. */
export interface Place {
  /** How many of the directories above it are there. */
  readonly above: number
  /** What lies just there and leaves room: a file, or a directory that holds none. */
  readonly found?: BigIntStats
  /** The name (or the user) of what leaves no room for a file there. */
  readonly conflict?: string
}

/**
 * The directory tree of the published files, walked one part at a time without following a symbolic link, so
 * that no name leads out of it. `parts` are checked names: the user, then the parts of the file's name.
 */
export class PublishedTree {
  readonly flushes: DirectoryFlushes
  readonly usages = new Usages((user, turn) => this.#count(user, turn))
  readonly #root: string
  readonly #durable = new Set<string>()
  foldsCase = false

  constructor(root: string, flushes: DirectoryFlushes) {
    this.#root = root
    this.flushes = flushes
  }

  /** Checked names need no tidying: `join` would take the path apart again, for each look. */
  pathOf(parts: readonly string[]): string {
    return [this.#root, ...parts].join(sep)
  }

  /** The regular file that lies there, if one does. */
  async file(parts: readonly string[]): Promise<BigIntStats | undefined> {
    const { found } = await this.find(parts)
    return found?.isFile() ? found : undefined
  }

  /**
   * Looks along the way to a place, once at each part. Rejects with OspError `storage-unusable` for a directory of another
   * user, or one that others can write to: they could lead the way elsewhere.
   */
  async find(parts: readonly string[]): Promise<Place> {
    for (const [index, part] of parts.entries()) {
      const upper = parts.slice(0, index)
      const here = [...upper, part]
      const stats = await look(this.pathOf(here))
      if (!stats) return { above: index }
      const other = await this.#otherSpelling(upper, part)
      if (other !== undefined) return { above: index, conflict: nameOf([...upper, other]) }
      const last = index === parts.length - 1
      if (stats.isDirectory()) checkOwn(this.pathOf(here), stats)
      const fits = last ? stats.isFile() : stats.isDirectory()
      const hollow = last && stats.isDirectory() && (await isHollow(this.pathOf(here)))
      if (!fits && !hollow) return { above: index, conflict: nameOf(here) }
      if (last) return { above: index, found: stats }
    }
    return { above: 0 }
  }

  /**
   * Makes the directories above a file, durably, and removes a directory without any file from its place. `made` is called
   * with 1 for each folder made below the user's, and with -1 for each one removed.
   */
  async makeRoom(parts: readonly string[], { above, found }: Place, made: (folders: number) => void): Promise<void> {
    for (let depth = 1; depth < parts.length; depth++) {
      const path = this.pathOf(parts.slice(0, depth))
      const isNew = depth > above && (await makeDirectory(path))
      if (isNew && depth > 1) made(1)
      if (depth > above && !isNew) await this.#checkTaken(parts.slice(0, depth))
      if (isNew || !this.#durable.has(path)) await this.flushes.flush(this.pathOf(parts.slice(0, depth - 1)))
      if (this.#durable.size >= remembered) this.#durable.clear()
      this.#durable.add(path)
    }
    if (found?.isDirectory()) await removeHollow(this.pathOf(parts), () => made(-1))
  }

  /** Counts the files and folders below the folder of a user, a few at a time. */
  async #count(user: string, turn: Turn): Promise<Usage> {
    const usage = { bytes: 0, files: 0, folders: -1 }
    const folders = [this.pathOf([user])]
    for (let path = folders.pop(); path !== undefined; path = folders.pop()) {
      usage.folders++
      for await (const entries of entriesOf(path)) {
        const others = entries.filter((entry) => !entry.isDirectory())
        for (const entry of entries) if (entry.isDirectory()) folders.push([path, entry.name].join(sep))
        const looking = () => Promise.all(others.map(({ name }) => look([path, name].join(sep))))
        for (const stats of await turn(looking)) {
          if (!stats?.isFile()) continue
          usage.files++
          usage.bytes += Number(stats.size)
        }
      }
    }
    return usage
  }

  /** Throws where what has come to lie there meanwhile is no directory of just this name. */
  async #checkTaken(parts: readonly string[]): Promise<void> {
    const other = await this.#otherSpelling(parts.slice(0, -1), parts.at(-1) ?? '')
    if (other !== undefined) throw conflictError(nameOf([...parts.slice(0, -1), other]))
    if (!(await look(this.pathOf(parts)))?.isDirectory()) throw conflictError(nameOf(parts))
  }

  // Where case is folded, `lstat` finds a file under names that are not its own.
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

/** That a file can't be published because of what lies at `where`. */
export function conflictError(where: string): OspError {
  return new OspError('name-conflict', `the name collides with ${where} on the server; choose another name`)
}

/** The name below the user's directory, or the user's if nothing is below. */
const nameOf = ([user, ...parts]: readonly string[]) => parts.join('/') || (user ?? '')

/** What lies at a path itself, links not followed. */
export function look(path: string): Promise<BigIntStats | undefined> {
  return unless(['ENOENT', 'ENOTDIR'], `looking at ${path}`, () => lstat(path, { bigint: true }))
}

/** The entries of a directory, a few at a time; none if it is not there. */
async function* entriesOf(path: string): AsyncGenerator<readonly Dirent[]> {
  const doing = `reading the directory ${path}`
  const directory = await unless(['ENOENT', 'ENOTDIR'], doing, () => opendir(path, { bufferSize: lookedAtOnce }))
  if (!directory) return
  try {
    for (;;) {
      const entries: Dirent[] = []
      await attempt(doing, async () => {
        for (let entry = await directory.read(); entry; entry = await directory.read()) {
          if (entries.push(entry) === lookedAtOnce) break
        }
      })
      if (entries.length > 0) yield entries
      if (entries.length < lookedAtOnce) return
    }
  } finally {
    await directory.close()
  }
}

/**
 * Returns whether a directory holds nothing but such directories: a crash, or an upload given up, can leave them. Reads at
 * most `mostHollow` directories: one with more counts as one with files.
 */
async function isHollow(path: string): Promise<boolean> {
  const folders = [path]
  for (const folder of folders) {
    for await (const entries of entriesOf(folder)) {
      if (entries.some((entry) => !entry.isDirectory())) return false
      folders.push(...entries.map(({ name }) => join(folder, name)))
      if (folders.length > mostHollow) return false
    }
  }
  return true
}

/** Removes a directory that is hollow; `removed` is called for each directory. */
async function removeHollow(path: string, removed: () => void): Promise<void> {
  const folders: string[] = []
  for await (const entries of entriesOf(path)) folders.push(...entries.map(({ name }) => join(path, name)))
  for (const folder of folders) await removeHollow(folder, removed)
  await attempt(`removing the directory ${path}`, () => rmdir(path))
  removed()
}
