import { constants, type Stats } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { errors, OspError } from '../../errors.ts'
import { checkOwned } from './rights.ts'

/** A symbolic link is not followed, and a FIFO not waited for; Windows has neither flag. */
export const careful = (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)

/**
 * Opens a file of the server's own. Rejects, and nothing is changed, where what lies there is something else: a symbolic
 * link, a FIFO, a device, a file that has another name as well, which may be anybody's, or one that another user can write to.
 * `linked` lets one of two names pass.
 */
export async function openOwnFile(path: string, flags: number, { linked = false } = {}): Promise<FileHandle> {
  const handle = await open(path, flags | careful, 0o600)
  try {
    const stats = await handle.stat()
    checkPlain(path, stats, linked)
    checkOwned(path, stats)
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

const planted = (text: string) =>
  new OspError('storage-unusable', text, { publicText: errors['storage-unusable'].text })
