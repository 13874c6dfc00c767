import { link, rename, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { lostFile } from '../../storage/transfers/storedNames.ts'
import { attempt, errnoOf } from './faults.ts'
import { conflictError, entryAt, type PublishedTree } from './publishedTree.ts'

/** The errors of link(2) on a file system without hard links. */
const withoutLinks = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'])

/**
 * Moves a flushed partial file to its place in the tree, durably. If a file exists there and `replace` is false,
 * resolves with false and changes nothing. Can be repeated after a crash at any step. `isIntact` returns whether the
 * file in that place is the verified one. Rejects with OspError `digest-mismatch` if neither file has its bytes.
 */
export async function publishPartial(
  tree: PublishedTree,
  partial: string,
  parts: readonly string[],
  replace: boolean,
  isIntact: () => Promise<boolean>,
): Promise<boolean> {
  const place = await tree.find(parts)
  if (place.conflict !== undefined) throw conflictError(place.conflict)
  const target = tree.pathOf(parts)
  const bytes = await entryAt(partial)
  // Otherwise it is an empty directory, which will be removed.
  const there = place.found?.isFile() ? place.found : undefined
  if (!bytes) {
    // The process may have ended after the rename. Any other file under this name is not the verified one.
    if (!there || !(await isIntact())) throw lostFile(`${partial} is missing, and ${target} is not the verified file`)
    await tree.flushes.flush(dirname(target))
    return true
  }
  if (there && there.ino === bytes.ino && there.dev === bytes.dev) {
    // A link exists already. A rename would change nothing, since both names lead to the same file.
    await attempt(`removing ${partial}`, () => unlink(partial))
  } else {
    if (there && !replace) return false
    await tree.prepareTarget(parts, place)
    const moved = () => tree.count(parts, { bytes: Number(bytes.size - (there?.size ?? 0n)), files: there ? 0 : 1 })
    const moving = () => (replace ? move(partial, target, moved) : add(partial, target, moved))
    if (!(await attempt(`publishing ${target}`, moving))) return false
  }
  await tree.flushes.flush(dirname(target))
  return true
}

async function move(partial: string, target: string, moved: () => void): Promise<boolean> {
  await rename(partial, target)
  moved()
  return true
}

/**
 * Links the file. Unlike a rename, a link never replaces a file that another program has created meanwhile: resolves
 * with false then.
 */
async function add(partial: string, target: string, moved: () => void): Promise<boolean> {
  try {
    await link(partial, target)
  } catch (error) {
    const errno = errnoOf(error) ?? ''
    if (errno === 'EEXIST') return false
    if (!withoutLinks.has(errno)) throw error
    return (await entryAt(target)) ? false : move(partial, target, moved)
  }
  moved()
  await unlink(partial)
  return true
}
