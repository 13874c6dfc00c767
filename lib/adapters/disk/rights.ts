import { type BigIntStats, constants, lstatSync, readFileSync, readlinkSync, type Stats, statSync } from 'node:fs'
import { type FileHandle, lstat, open, rm } from 'node:fs/promises'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { errors, OspError } from '../../errors.ts'
import { attempt, unless } from './faults.ts'
import type { Layout } from './layout.ts'

/*
 * The rule for everything that a program keeps or is told to trust: only root and the user of this process may be able to
 * change it, or to put something else in its place. A directory on the way from / passes if it belongs to one of the two
 * and no other user can write to it, or if it is sticky: there, users can replace only what is their own. Each symbolic link
 * on the way must belong to one of the two as well. So no other user can change what lies at a path between the check of
 * the path and its use, and a path that was checked once needs no second check while the program runs, except where the
 * rights themselves may have been changed since.
 *
 * Write permission of a group counts as one of others, as in OpenSSH, unless the group is private: distributions that give
 * every user a group of the same name make directories with 0775.
 *
 * The looks are synchronous: each takes microseconds, and they happen when a program starts or a file has changed.
 */

const writableByOthers = 0o022
const writableByGroup = 0o020
const sticky = 0o1000
const root = 0

/** Maximum number of symbolic links on one path, as in Linux. */
const mostLinks = 40

/** Throws OspError `data-format` that says what to do if another user could change or replace a directory. It may be missing. */
export function checkDirectoryRights(directory: string): void {
  walk(directory, { last: checkOwned })
}

/** Throws OspError `data-format` if another user could replace what is to be made in a directory, which may be as shared as /tmp. */
export function checkWay(directory: string): void {
  walk(directory, { last: (at, stats) => checkShared(at, stats, directory) })
}

/**
 * Opens a file that only root and this user can change or replace. Symbolic links of the two are followed. Rejects with
 * OspError `data-format` for any other file, and with the error of the system if it cannot be opened.
 */
export async function openTrusted(path: string, flags: number): Promise<FileHandle> {
  const real = walk(path, { last: checkOwned })
  const handle = await open(real, flags | (constants.O_NOFOLLOW ?? 0), 0o600)
  try {
    checkOwned(real, await handle.stat())
    return handle
  } catch (error) {
    await handle.close()
    throw error
  }
}

/**
 * Throws OspError `data-format` if others than root, this user and the owner of the file could change a file that a person
 * has named: to name a file is to trust its owner. Devices and pipes pass. The file may be missing.
 */
export function checkNamedFile(path: string): void {
  const found = process.geteuid && statSync(path, { throwIfNoEntry: false })
  if (!found?.isFile()) return
  walk(path, { last: checkMode, alsoTrusted: found.uid })
}

/**
 * Makes sure that only this user and root can change what lies in a data directory, or lead it elsewhere: rejects with
 * OspError `data-format` that says what to do. The directory itself may be reached by a symbolic link, its parts may not.
 */
export async function checkRights(layout: Layout): Promise<void> {
  await attempt(`looking at ${layout.directory}`, async () => checkDirectoryRights(layout.directory))
  const { files, partial, lock, uploads, mailboxes, tls, usersLock } = layout
  for (const path of [files, partial, lock, uploads, mailboxes, tls, usersLock]) await checkPart(path, 'directory')
  for (const path of [layout.format, layout.owner, layout.users]) await checkPart(path, 'regular file')
}

/** Checks a file or directory that lies in a checked directory and must not be a link. It may be missing. */
export async function checkPart(path: string, what: 'directory' | 'regular file'): Promise<void> {
  const stats = await unless(['ENOENT'], `looking at ${path}`, () => lstat(path))
  if (!stats) return
  if (stats.isSymbolicLink()) {
    throw refused(`${path} is a symbolic link, and has to be a ${what} itself; put it in its place`)
  }
  const isRight = what === 'directory' ? stats.isDirectory() : stats.isFile()
  if (!isRight) throw refused(`${path} is no ${what}; move it away`)
  checkOwned(path, stats)
}

/** Throws OspError `data-format` if a file or directory belongs to another user, or others can write to it. */
export function checkOwned(path: string, stats: Pick<Stats, 'uid' | 'gid' | 'mode'>): void {
  // Windows has lists of rights instead.
  const own = process.geteuid?.()
  if (own === undefined) return
  if (stats.uid !== own && stats.uid !== root) {
    const owner = `${path} belongs to another user (${userText(stats.uid)}), who could change what lies in it`
    const sudo = `run it as that user by "sudo -u ${sudoName(stats.uid)} ..."`
    throw refused(`${owner}; ${sudo}, name another directory, or run "chown -R ${own} ${shown(path)}"`)
  }
  checkMode(path, stats)
}

function checkMode(path: string, stats: Pick<Stats, 'gid' | 'mode'>): void {
  if (!othersWrite(stats)) return
  throw refused(
    `${path} can be written to by other users; run "chmod go-w ${shown(path)}" when you are sure that nobody has`,
  )
}

/** What a walk looks for, besides the rule. */
interface Walk {
  /** A user whose directories and links pass too, except where others can write. */
  readonly alsoTrusted?: number
  /** Checks what the path leads to. */
  readonly last: (path: string, stats: Stats) => void
}

/**
 * Walks from / to a path, and checks each directory and link on the way. Returns its real path. What is missing ends the
 * walk. Throws OspError `data-format`, and errors of the system.
 */
function walk(path: string, { alsoTrusted, last }: Walk): string {
  const own = process.geteuid?.()
  if (own === undefined) return path
  // Where the user root is unknown, as in some containers, root is shown as the owner of the root directory.
  const trusted = [root, own, lstatSync('/').uid]
  // Links are followed before "..", as the system does it.
  let left = namesOf(isAbsolute(path) ? path : `${process.cwd()}/${path}`)
  let at = '/'
  let isShared = false
  for (let links = 0; ; ) {
    const stats = lstatSync(at, { throwIfNoEntry: false })
    if (!stats) return join(at, ...left)
    const isTrusted = trusted.includes(stats.uid) || (stats.uid === alsoTrusted && !isShared)
    const isLink = stats.isSymbolicLink()
    if (left.length === 0 && !isLink) {
      last(at, stats)
      if (isTrusted) return at
    }
    if (!isTrusted) throw foreignWay(at, stats, path)
    if (isLink) {
      if (++links > mostLinks) throw Object.assign(new Error('too many symbolic links'), { code: 'ELOOP' })
      const link = readlinkSync(at)
      left = [...namesOf(link), ...left]
      at = link.startsWith('/') ? '/' : dirname(at)
    } else {
      isShared = checkShared(at, stats, path)
    }
    at = join(at, left.shift() ?? '')
  }
}

const namesOf = (path: string) => path.split('/').filter((name) => name !== '' && name !== '.')

/** Returns whether others can write to a directory that leads to `path`. Throws if they can replace what they do not own. */
function checkShared(at: string, stats: Stats, path: string): boolean {
  const isShared = othersWrite(stats)
  if (isShared && (stats.mode & sticky) === 0) throw openWay(at, path)
  return isShared
}

function foreignWay(at: string, stats: Stats, path: string): OspError {
  const { uid } = stats
  const text = `${at} belongs to another user (${userText(uid)}), who could replace ${resolve(path)}`
  if (stats.isSymbolicLink()) return refused(`${text}; name the path that the link leads to, or another one`)
  return refused(`${text}; run it as that user by "sudo -u ${sudoName(uid)} ...", or name another path`)
}

function openWay(at: string, path: string): OspError {
  const text = `${at} can be written to by other users, who could replace ${resolve(path)}`
  return refused(`${text}; run "chmod go-w ${shown(at)}" when you are sure that nobody has, or name another path`)
}

/** Returns whether others than the owner can write: everybody, or a group with other members. */
function othersWrite({ mode, gid }: Pick<Stats, 'gid' | 'mode'>): boolean {
  if ((mode & writableByOthers) === writableByGroup) return !isPrivateGroup(gid)
  return (mode & writableByOthers) !== 0
}

/**
 * Returns whether no account but root and that of this user is in a group, as far as the files of the machine tell. If they
 * are not the only source of accounts, the group must have the name of this user. A group that they do not list, such as
 * that of a volume in a container, must be one of this process.
 */
function isPrivateGroup(gid: number): boolean {
  // macOS has its accounts elsewhere.
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

/** Returns whether the accounts of this machine come from its files alone, and not from a directory service. */
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

/** A user as sudo takes it. */
const sudoName = (uid: number) => nameOf(uid) ?? `'#${uid}'`

const userText = (uid: number) => [nameOf(uid), `uid ${uid}`].filter(Boolean).join(', ')

const refused = (text: string) => new OspError('data-format', text)

/** A path as a shell takes it. */
const shown = (path: string) => (/^[\w./-]+$/u.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`)

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
