import { link, rename, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { lostFile } from '../records/storedNames.ts'
import { attempt, errnoOf } from './faults.ts'
import { conflictError, look, type Tree } from './tree.ts'

/** What a file system without hard links answers to link(2). */
const withoutLinks = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'])

/**
 * Moves a flushed partial file to its place in the tree: durable. Resolves with false, and nothing is changed,
 * if a file lies there already and `replace` is not set. Safe to repeat after a crash at any of its steps. `isIntact` tells
 * whether the file in that place is the verified one. Rejects with OspError `digest-mismatch` if neither file has its bytes.
 */
export async function publish(
  tree: Tree,
  partial: string,
  parts: readonly string[],
  replace: boolean,
  isIntact: () => Promise<boolean>,
): Promise<boolean> {
  const place = await tree.find(parts)
  if (place.conflict !== undefined) throw conflictError(place.conflict)
  const target = tree.pathOf(parts)
  const bytes = await look(partial)
  // Else it is a directory without any file, which makes room.
  const there = place.found?.isFile() ? place.found : undefined
  if (!bytes) {
    // The process may have ended after it renamed the file. Any other file under this name is not the one that was verified.
    if (!there || !(await isIntact())) throw lostFile(`${partial} is missing, and ${target} is not the verified file`)
    await tree.flushes.flush(dirname(target))
    return true
  }
  if (there && there.ino === bytes.ino && there.dev === bytes.dev) {
    // Linked already; renaming would change nothing, since both names lead to the same file.
    await attempt(`removing ${partial}`, () => unlink(partial))
  } else {
    if (there && !replace) return false
    await tree.makeRoom(parts, place)
    if (!(await attempt(`publishing ${target}`, () => (replace ? move(partial, target) : add(partial, target))))) {
      return false
    }
  }
  await tree.flushes.flush(dirname(target))
  return true
}

async function move(partial: string, target: string): Promise<boolean> {
  await rename(partial, target)
  return true
}

/** Unlike renaming, linking never replaces a file that has come there since we looked. */
async function add(partial: string, target: string): Promise<boolean> {
  try {
    await link(partial, target)
  } catch (error) {
    const errno = errnoOf(error) ?? ''
    if (errno === 'EEXIST') return false
    if (!withoutLinks.has(errno)) throw error
    return (await look(target)) ? false : move(partial, target)
  }
  await unlink(partial)
  return true
}
