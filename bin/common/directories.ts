import { existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Creates a directory and the missing ones above it. Throws an error with code EPERM if the file system allows no new
 * directories. The recursive `mkdir` of Node never returns in that case, because /proc fails with ENOENT.
 */
export function makeDirectories(path: string, mode = 0o777): void {
  const parent = dirname(path)
  try {
    mkdirSync(path, { mode })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST' && statSync(path).isDirectory()) return
    if (code !== 'ENOENT') throw error
    if (existsSync(parent)) throw Object.assign(new Error('no new directories', { cause: error }), { code: 'EPERM' })
    makeDirectories(parent, mode)
    mkdirSync(path, { mode })
  }
}
