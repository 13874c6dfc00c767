import type { BigIntStats } from 'node:fs'
import { lstat, readdir, rmdir } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { OspError } from '../../errors.ts'
import { makeDirectory } from './directories.ts'
import type { DirectoryFlushes } from './directoryFlushes.ts'
import { attempt, unless } from './faults.ts'

/** Directories whose entries are remembered as durable; forgotten all at once beyond that. */
const remembered = 4_096

/** Files whose sizes are asked for at once. */
const lookedAtOnce = 64

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
export class Tree {
  readonly flushes: DirectoryFlushes
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

  /** Bytes of the regular files in a directory and below it; 0 if it is not there. */
  async bytesBelow(parts: readonly string[]): Promise<number> {
    const path = this.pathOf(parts)
    const doing = `reading the directory ${path}`
    const entries = await unless(['ENOENT', 'ENOTDIR'], doing, () => readdir(path, { withFileTypes: true }))
    let bytes = 0
    for (let from = 0; entries && from < entries.length; from += lookedAtOnce) {
      const sizes = entries.slice(from, from + lookedAtOnce).map(async (entry) => {
        if (entry.isDirectory()) return 0
        const stats = await look(join(path, entry.name))
        return stats?.isFile() ? Number(stats.size) : 0
      })
      for (const size of await Promise.all(sizes)) bytes += size
    }
    for (const entry of entries ?? []) if (entry.isDirectory()) bytes += await this.bytesBelow([...parts, entry.name])
    return bytes
  }

  /** Looks along the way to a place, once at each part. */
  async find(parts: readonly string[]): Promise<Place> {
    for (const [index, part] of parts.entries()) {
      const upper = parts.slice(0, index)
      const here = [...upper, part]
      const stats = await look(this.pathOf(here))
      if (!stats) return { above: index }
      const other = await this.#otherSpelling(upper, part)
      if (other !== undefined) return { above: index, conflict: nameOf([...upper, other]) }
      const last = index === parts.length - 1
      const fits = last ? stats.isFile() : stats.isDirectory()
      const hollow = last && stats.isDirectory() && (await isHollow(this.pathOf(here)))
      if (!fits && !hollow) return { above: index, conflict: nameOf(here) }
      if (last) return { above: index, found: stats }
    }
    return { above: 0 }
  }

  /** Makes the directories above a file, durably, and removes a directory without any file from its place. */
  async makeRoom(parts: readonly string[], { above, found }: Place): Promise<void> {
    for (let depth = 1; depth < parts.length; depth++) {
      const path = this.pathOf(parts.slice(0, depth))
      const made = depth > above && (await makeDirectory(path))
      if (depth > above && !made) await this.#checkTaken(parts.slice(0, depth))
      if (made || !this.#durable.has(path)) await this.flushes.flush(this.pathOf(parts.slice(0, depth - 1)))
      if (this.#durable.size >= remembered) this.#durable.clear()
      this.#durable.add(path)
    }
    if (found?.isDirectory()) await removeHollow(this.pathOf(parts))
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
    const path = this.pathOf(upper)
    const entries = await attempt(`reading the directory ${path}`, () => readdir(path))
    if (entries.some((entry) => entry.normalize('NFC') === part)) return undefined
    return entries.find((entry) => entry.normalize('NFC').toLowerCase() === part.toLowerCase()) ?? part
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

/** Whether a directory holds nothing but such directories: a crash, or an upload given up, can leave them. */
async function isHollow(path: string): Promise<boolean> {
  const entries = await attempt(`reading the directory ${path}`, () => readdir(path, { withFileTypes: true }))
  for (const entry of entries) {
    if (!entry.isDirectory() || !(await isHollow(join(path, entry.name)))) return false
  }
  return true
}

async function removeHollow(path: string): Promise<void> {
  const entries = await attempt(`reading the directory ${path}`, () => readdir(path, { withFileTypes: true }))
  for (const entry of entries) if (entry.isDirectory()) await removeHollow(join(path, entry.name))
  await attempt(`removing the directory ${path}`, () => rmdir(path))
}
