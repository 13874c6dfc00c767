import type { Stats } from 'node:fs'
import { lstat, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { OspError } from '../../errors.ts'
import { attempt, unless } from './faults.ts'
import type { Layout } from './layout.ts'
import { checkPlain } from './ownFile.ts'

const writableByOthers = 0o022
const root = 0

/**
 * Makes sure that nobody but this user (and root) can change what lies in a data directory, nor lead it elsewhere: rejects
 * with OspError `data-format` that says what to do. The directory itself may be reached by a symbolic link, its parts may not.
 */
export async function checkRights(layout: Layout): Promise<void> {
  const { directory } = layout
  await attempt(`looking at ${directory}`, async () => checkOwned(directory, await stat(directory)))
  for (const path of [layout.files, layout.partial, layout.lock, layout.uploads, layout.mailboxes, layout.tls]) {
    await checkPart(path, (stats) => stats.isDirectory(), 'directory')
  }
  for (const path of [layout.format, layout.owner, layout.users]) {
    await checkPart(path, (stats) => stats.isFile(), 'regular file')
  }
}

/** What LevelDB opens, it opens by name: rejects where a name in its directory leads elsewhere. */
export async function checkLock({ lock }: Layout): Promise<void> {
  const doing = `reading the directory ${lock}`
  for (const entry of await attempt(doing, () => readdir(lock))) {
    const path = join(lock, entry)
    const stats = await unless(['ENOENT'], `looking at ${path}`, () => lstat(path))
    if (stats && !stats.isDirectory()) await attempt(`opening ${lock}`, async () => checkPlain(path, stats))
  }
}

async function checkPart(path: string, isRight: (stats: Stats) => boolean, what: string): Promise<void> {
  const stats = await unless(['ENOENT'], `looking at ${path}`, () => lstat(path))
  if (!stats) return
  if (stats.isSymbolicLink()) {
    throw new OspError('data-format', `${path} is a symbolic link, and has to be a ${what} itself; put it in its place`)
  }
  if (!isRight(stats)) throw new OspError('data-format', `${path} is no ${what}; move it away`)
  checkOwned(path, stats)
}

function checkOwned(path: string, { uid, mode }: Stats): void {
  // Windows has lists of rights instead.
  const own = process.geteuid?.()
  if (own === undefined) return
  if (uid !== own && uid !== root) {
    const text = `${path} belongs to another user (uid ${uid}), who could change what lies in it; `
    throw new OspError('data-format', `${text}name another data directory, or run "chown -R ${own} ${shown(path)}"`)
  }
  if ((mode & writableByOthers) === 0) return
  const text = `${path} can be written to by other users; run "chmod go-w ${shown(path)}"`
  throw new OspError('data-format', `${text} when you are sure that nobody has`)
}

/** A path as a shell takes it. */
const shown = (path: string) => (/^[\w./-]+$/u.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`)
