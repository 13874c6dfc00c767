import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  type Stats,
  statSync,
} from 'node:fs'
import { type FileHandle, lstat, open, rm } from 'node:fs/promises'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { errors, OspError } from '../../errors.ts'
import { attempt, unless } from './faults.ts'
import type { Layout } from './layout.ts'
import { TurnMap } from './turnMap.ts'

/*
 * The rule for all files that a program stores or must trust: only root and the user of this process may be able to change
 * or replace them. Each directory on the path from / must belong to one of the two, and other users must not be able to
 * write to it unless it is sticky: there, users can replace only their own entries. Each symbolic link on the path must
 * belong to one of the two as well. So no other user can change the file between the check of its path and its use, and one
 * check is enough while the program runs, except where the permissions themselves may have changed since.
 *
 * Write permission of a group counts as that of other users, as in OpenSSH, unless the group is private: distributions that
 * give each user a group of the same name create directories with mode 0775.
 *
 * The checks are synchronous: each takes microseconds, and they happen when a program starts or a file has changed.
 */

const writableByOthers = 0o022
const writableByGroup = 0o020
const sticky = 0o1000
const root = 0

/** Maximum number of symbolic links on one path, as in Linux. */
const maxLinks = 40

/** Throws OspError `data-format` if another user could change or replace a directory. It may be missing. */
export function checkDirectoryRights(directory: string): void {
  walk(directory, checkOwned)
}

/** Throws OspError `data-format` if another user could replace entries of a directory, which may be shared, as /tmp. */
export function checkParentRights(directory: string): void {
  walk(directory, (at, stats) => checkShared(at, stats, directory))
}

/**
 * Opens a file that only root and this user can change or replace. Symbolic links of the two are followed. Rejects with
 * OspError `data-format` for any other file, and with the error of the system if it cannot be opened.
 */
export async function openTrusted(path: string, flags: number): Promise<FileHandle> {
  const real = walk(path, checkOwned)
  const handle = await open(real, flags | (constants.O_NOFOLLOW ?? 0), 0o600)
  return await checked(handle, (stats) => checkOwned(real, stats))
}

/** Like `openTrusted`, but synchronous, which is faster for a short file. Returns a file descriptor. */
export function openTrustedSync(path: string, flags: number): number {
  const real = walk(path, checkOwned)
  const fd = openSync(real, flags | safeOpenFlags, 0o600)
  try {
    checkOwned(real, fstatSync(fd))
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** Returns an open file, or closes it if `check` throws. */
async function checked(handle: FileHandle, check: (stats: Stats) => void): Promise<FileHandle> {
  try {
    check(await handle.stat())
    return handle
  } catch (error) {
    await handle.close()
    throw error
  }
}

/**
 * Throws OspError `data-format` if users other than root, this user and the owner of the file could change a file that
 * the user named. Naming a file means trusting its owner. Devices and pipes pass. The file may be missing.
 */
export function checkNamedFile(path: string): void {
  const found = process.geteuid && statSync(path, { throwIfNoEntry: false })
  if (!found?.isFile()) return
  walk(path, checkMode, found.uid)
}

/**
 * Checks that only this user and root can change the contents of a data directory, or replace it. Rejects with OspError
 * `data-format`, which says what to do. The directory itself may be reached by a symbolic link, its parts may not.
 */
export async function checkRights(layout: Layout): Promise<void> {
  await attempt(`checking ${layout.directory}`, async () => checkDirectoryRights(layout.directory))
  const { files, catalogue, partial, lock, uploads, mailboxes, tls, usersLock } = layout
  for (const path of [files, catalogue, partial, lock, uploads, mailboxes, tls, usersLock])
    await checkPart(path, 'directory')
  for (const path of [layout.format, layout.owner, layout.users, layout.key]) await checkPart(path, 'regular file')
}

/** Checks a file or directory that lies in a checked directory and must not be a link. It may be missing. */
export async function checkPart(path: string, what: 'directory' | 'regular file'): Promise<void> {
  const stats = await unless(['ENOENT'], `checking ${path}`, () => lstat(path))
  if (!stats) return
  if (stats.isSymbolicLink()) {
    throw refused(`${path} is a symbolic link instead of a ${what}; replace it with its target`)
  }
  const isRight = what === 'directory' ? stats.isDirectory() : stats.isFile()
  if (!isRight) throw refused(`${path} is not a ${what}; remove it`)
  checkOwned(path, stats)
}

/** Throws OspError `data-format` if a file or directory belongs to another user, or others can write to it. */
export function checkOwned(path: string, stats: Pick<Stats, 'uid' | 'gid' | 'mode'>): void {
  // Windows has access control lists instead.
  const own = process.geteuid?.()
  if (own === undefined) return
  if (stats.uid !== own && stats.uid !== root) {
    const owner = `${path} belongs to another user (${userText(stats.uid)}), who could change its contents`
    const sudo = `run it as that user with "sudo -u ${sudoName(stats.uid)} ..."`
    throw refused(`${owner}; ${sudo}, name another directory, or run "chown -R ${own} ${shown(path)}"`)
  }
  checkMode(path, stats)
}

/** Throws OspError `usage` if other users can read the file at `path`, which contains `what`. */
export function checkPrivate(what: string, path: string, mode: number): void {
  // Windows has no mode bits; other users cannot access the folders of a user.
  if (process.platform === 'win32' || (mode & 0o077) === 0) return
  throw new OspError('usage', `other users can read ${what} in ${path}: run chmod 600 ${path}`)
}

function checkMode(path: string, stats: Pick<Stats, 'gid' | 'mode'>): void {
  if (!othersWrite(stats)) return
  throw refused(`${path} can be written to by other users; ${chmodAdvice(path)}`)
}

const chmodAdvice = (path: string) =>
  `run "chmod go-w ${shown(path)}" after you have checked that no other user has changed it`

/**
 * Walks from / to a path, and checks each directory and link on it, and the entry at its end with `last`. Directories
 * and links of `alsoTrusted` pass too, unless other users can write to them. Returns the real path. A missing entry ends
 * the walk. Throws OspError `data-format`, and errors of the system.
 */
function walk(path: string, last: (path: string, stats: Stats) => void, alsoTrusted?: number): string {
  const own = process.geteuid?.()
  if (own === undefined) return path
  // In a user namespace without root, such as some containers, the root directory shows the id that stands for root.
  const always = [root, own, lstatSync('/').uid]
  let trusted = [...always, alsoTrusted]
  let at = '/'
  let left = namesOf(fromRoot(path))
  let links = 0
  for (;;) {
    const stats = lstatSync(at, { throwIfNoEntry: false })
    if (!stats) return join(at, ...left)
    const isLink = stats.isSymbolicLink()
    const isEnd = left.length === 0 && !isLink
    if (isEnd) last(at, stats)
    checkTrusted(at, stats, path, trusted)
    if (isEnd) return at
    if (isLink) [at, left] = followLink(at, left, links++)
    else trusted = checkShared(at, stats, path) ? always : [...always, alsoTrusted]
    at = join(at, ...left.slice(0, 1))
    left = left.slice(1)
  }
}

/** Follows a link, before "..", as the system does. Returns where its target begins and the names from there on. */
function followLink(at: string, left: readonly string[], links: number): [directory: string, names: string[]] {
  if (links >= maxLinks) throw Object.assign(new Error('too many symbolic links'), { code: 'ELOOP' })
  const link = readlinkSync(at)
  return [link.startsWith('/') ? '/' : dirname(at), [...namesOf(link), ...left]]
}

const fromRoot = (path: string) => (isAbsolute(path) ? path : `${process.cwd()}/${path}`)

const namesOf = (path: string) => path.split('/').filter((name) => name !== '' && name !== '.')

/** Returns whether other users can write to a directory on the way to `path`. Throws if they can replace entries. */
function checkShared(at: string, stats: Stats, path: string): boolean {
  const isShared = othersWrite(stats)
  if (!isShared || (stats.mode & sticky) !== 0) return isShared
  const text = `${at} can be written to by other users, who could replace ${resolve(path)}`
  throw refused(`${text}; ${chmodAdvice(at)}, or name another path`)
}

/** Throws if an entry on the way to `path` belongs to none of the trusted users. */
function checkTrusted(at: string, stats: Stats, path: string, trusted: readonly (number | undefined)[]): void {
  const { uid } = stats
  if (trusted.includes(uid)) return
  const text = `${at} belongs to another user (${userText(uid)}), who could replace ${resolve(path)}`
  throw refused(
    stats.isSymbolicLink()
      ? `${text}; name the path that the link leads to, or another one`
      : `${text}; run it as that user with "sudo -u ${sudoName(uid)} ...", or name another path`,
  )
}

/** Returns whether users other than the owner can write: all users, or a group with other members. */
function othersWrite({ mode, gid }: Pick<Stats, 'gid' | 'mode'>): boolean {
  if ((mode & writableByOthers) === writableByGroup) return !isPrivateGroup(gid)
  return (mode & writableByOthers) !== 0
}

/**
 * Returns whether a group has no accounts but root and this user, by the files of the machine. If the accounts have
 * other sources too, the group must have the name of this user. A group that is not listed, such as that of a volume in
 * a container, must be one of this process.
 */
function isPrivateGroup(gid: number): boolean {
  // The accounts of macOS are not in these files.
  if (process.platform === 'darwin') return false
  const accounts = rowsOf('/etc/passwd')
  const groups = rowsOf('/etc/group').filter(([, , id]) => Number(id) === gid)
  if (groups.length === 0 && !process.getgroups?.().includes(gid)) return false
  const own = process.geteuid?.()
  const ownName = accounts.find(([, , uid]) => Number(uid) === own)?.[0]
  if (!hasLocalAccountsOnly() && !groups.some(([name]) => name === ownName)) return false
  const others = accounts.filter(([, , uid]) => Number(uid) !== own && Number(uid) !== root)
  if (others.some(([, , , primary]) => Number(primary) === gid)) return false
  const names = new Set(accounts.filter((account) => !others.includes(account)).map(([name]) => name))
  return groups.every(([, , , members = '']) => members.split(',').every((name) => name === '' || names.has(name)))
}

/** Returns whether the accounts of this machine come from its files only, not from a directory service. */
function hasLocalAccountsOnly(): boolean {
  const sources = textOf('/etc/nsswitch.conf').matchAll(/^\s*(?:passwd|group|initgroups):([^#\n]*)/gmu)
  return [...sources].every(([, names = '']) =>
    names.split(/\s+/u).every((name) => ['', 'files', 'systemd'].includes(name)),
  )
}

const rowsOf = (path: string) =>
  textOf(path)
    .split('\n')
    .map((row) => row.split(':'))

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

const nameOf = (uid: number) => rowsOf('/etc/passwd').find(([, , id]) => id === String(uid))?.[0]

/** Returns a user as an argument of sudo. */
const sudoName = (uid: number) => nameOf(uid) ?? `'#${uid}'`

const userText = (uid: number) => [nameOf(uid), `uid ${uid}`].filter(Boolean).join(', ')

const refused = (text: string) => new OspError('data-format', text)

/** Returns a path as an argument of a shell. */
const shown = (path: string) => (/^[\w./-]+$/u.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`)

/** Symbolic links are not followed, and the open does not wait for a FIFO. Windows has neither flag. */
export const safeOpenFlags = (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)

/**
 * Opens a file of the server. Rejects, without changing anything, if it is not a regular file, if it has another name,
 * which may belong to another user, or if another user can write to it. `linked` allows a second name.
 */
export async function openOwnFile(path: string, flags: number, { linked = false } = {}): Promise<FileHandle> {
  return await checked(await open(path, flags | safeOpenFlags, 0o600), (stats) => {
    checkPlain(path, stats, linked)
    checkOwn(path, stats)
  })
}

/** Creates a new file. Removes an old entry of this name, but not the target of a link. */
export async function makeOwnFile(path: string, flags: number): Promise<FileHandle> {
  await rm(path, { force: true })
  return open(path, flags | constants.O_CREAT | constants.O_EXCL, 0o600)
}

/** Writes a new file in place of an old entry of this name. With `durable`, flushes the file. */
export async function writeOwnFile(path: string, data: string | Uint8Array, durable = false): Promise<void> {
  await using handle = await makeOwnFile(path, constants.O_WRONLY)
  await handle.writeFile(data)
  if (durable) await handle.sync()
}

/** Throws unless this is a regular file without another name. */
export function checkPlain(path: string, stats: Stats, linked = false): void {
  if (!stats.isFile()) throw unusableFile(`${path} is not a regular file; remove it`)
  if (stats.nlink > (linked ? 2 : 1)) throw unusableFile(`${path} has another hard link; remove it`)
}

/** Throws if a file or directory belongs to another user, or if other users can write to it. */
export function checkOwn(path: string, { uid, gid, mode }: Stats | BigIntStats): void {
  try {
    checkOwned(path, { uid: Number(uid), gid: Number(gid), mode: Number(mode) })
  } catch (error) {
    throw unusableFile((error as Error).message)
  }
}

/**
 * Returns a check that a directory stays the same while a program runs, since its rights are checked only at the start.
 * The check throws OspError `storage-unusable` if the directory is missing, or is not the one that the first check found.
 * Synchronous, since waiting for another thread after the writes of uploads costs far more than the call.
 */
export function fixedDirectory(path: string): () => void {
  /** Device and inode. */
  let place: string | undefined
  return () => {
    if (unchanged.get(path)) return
    const there = statSync(path, { bigint: true, throwIfNoEntry: false })
    const now = there && `${there.dev} ${there.ino}`
    if (place !== undefined && place !== now) {
      throw unusableFile(`${path} has been replaced since the start; restore the directory, or restart the server`)
    }
    place = now
    unchanged.set(path, true)
  }
}

/** The fixed directories that were checked in this turn of the event loop. */
const unchanged = new TurnMap<string, true>()

const unusableFile = (text: string) =>
  new OspError('storage-unusable', text, { publicText: errors['storage-unusable'].text })
