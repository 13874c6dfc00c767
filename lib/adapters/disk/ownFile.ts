import { type BigIntStats, constants, type Stats, statSync } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { errors, OspError } from '../../errors.ts'
import { checkOwned } from './rights.ts'

/** A symbolic link is not followed, and a FIFO not waited for; Windows has neither flag. */
export const careful = (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)

/**
 * Opens a file of the server's own. Rejects, and nothing is changed, where what lies there is something else: a symbolic
 * link, a FIFO, a device, a file that has another name as well, which may be another user's, or one that another user can write to.
 * `linked` lets one of two names pass.
 */
export async function openOwnFile(path: string, flags: number, { linked = false } = {}): Promise<FileHandle> {
  const handle = await open(path, flags | careful, 0o600)
  try {
    const stats = await handle.stat()
    checkPlain(path, stats, linked)
    checkOwn(path, stats)
    return handle
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** Makes a file anew. What lay there goes, and not what that led to. */
export async function makeOwnFile(path: string, flags: number): Promise<FileHandle> {
  await rm(path, { force: true })
  return open(path, flags | constants.O_CREAT | constants.O_EXCL, 0o600)
}

/** Throws where this is no regular file, or has another name as well. */
export function checkPlain(path: string, stats: Stats, linked = false): void {
  if (!stats.isFile()) throw planted(`${path} is not a regular file; remove it`)
  if (stats.nlink > (linked ? 2 : 1)) throw planted(`${path} has another hard link; remove it`)
}

/** Throws if a file or directory belongs to another user, or others can write to it. */
export function checkOwn(path: string, { uid, gid, mode }: Stats | BigIntStats): void {
  try {
    checkOwned(path, { uid: Number(uid), gid: Number(gid), mode: Number(mode) })
  } catch (error) {
    throw planted((error as Error).message)
  }
}

/** A directory that must stay the same one while a program runs: its rights are checked only at the start. */
export class FixedDirectory {
  readonly #path: string
  /** Device and inode. */
  #place: string | undefined

  constructor(path: string) {
    this.#path = path
  }

  /**
   * Throws OspError `storage-unusable` if another directory, or none, is in the place of the one that the first call found.
   * Synchronous: a hop to another thread, behind the writes of uploads, costs far more than the call.
   */
  check(): void {
    const there = statSync(this.#path, { bigint: true, throwIfNoEntry: false })
    const place = there && `${there.dev} ${there.ino}`
    if (this.#place !== undefined && this.#place !== place) {
      throw planted(
        `${this.#path} is not the directory that it was at the start; put it back, or start the server anew`,
      )
    }
    this.#place = place
  }
}

const planted = (text: string) =>
  new OspError('storage-unusable', text, { publicText: errors['storage-unusable'].text })
