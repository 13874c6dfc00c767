import { existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Creates a directory and the missing ones above it. Throws an error with code EEXIST that names the path of a file that is in
 * the way, and one with code EPERM if the file system allows no new directories. The recursive `mkdir` of Node never returns in
 * that case, because /proc fails with ENOENT.
 */
export function makeDirectories(path: string, mode = 0o777): void {
  const parent = dirname(path)
  try {
    mkdirSync(path, { mode })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST' && isDirectory(path)) return
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw error
    if (code === 'ENOENT' && existsSync(parent)) {
      throw Object.assign(new Error('no new directories', { cause: error }), { code: 'EPERM' })
    }
    makeDirectories(parent, mode)
    mkdirSync(path, { mode })
  }
}

/** Returns true for a directory. Throws an error that names the path for anything else. */
function isDirectory(path: string): true {
  const stats = statSync(path, { throwIfNoEntry: false })
  if (stats?.isDirectory()) return true
  const found = stats ? 'a file' : 'a broken symbolic link'
  throw Object.assign(new Error(`${path} is ${found}, not a directory`), { code: 'EEXIST' })
}
