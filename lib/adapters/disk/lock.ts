import { lstat, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { ClassicLevel } from 'classic-level'
import * as z from 'zod/mini'
import { OspError } from '../../errors.ts'
import { KiB } from '../../limits.ts'
import { jsonOf } from '../../runtime/json.ts'
import { makeDirectory, makePath, replaceFile } from './directories.ts'
import { attempt, errnoOf, fault, isFull, unless } from './faults.ts'
import { type Layout, layoutOf } from './layout.ts'
import { checkPart, checkPlain, writeOwnFile } from './rights.ts'

/** The number of attempts of `exclusively` at a held lock, and the wait between them: ten seconds in all. */
const tries = 500
const pauseMs = 20

/** The number of attempts at a torn lock, which another process may be clearing at the same time. */
const tornTries = 10

/** Bytes reserved beside the database, so that it can be recreated on a full disk. */
const reserveBytes = 64 * KiB

/**
 * Acquires a lock that ends with its owner, which Node does not provide. LevelDB has such a lock on every system, so an
 * empty database is opened for its lock only. The database holds no data: it is recreated if it is damaged or the disk
 * has no room for it. Rejects with OspError `data-format` if the directory is a link or another user can change it.
 */
async function lock(directory: string): Promise<AsyncDisposable> {
  await checkLock(directory)
  const database = new ClassicLevel(directory)
  let isCleared = false
  for (let left = tornTries; ; left--) {
    try {
      await database.open()
      await reserve(directory)
      return { [Symbol.asyncDispose]: () => attempt(`closing ${directory}`, () => database.close()) }
    } catch (error) {
      const { cause } = error as Error
      if (errnoOf(cause) === 'LEVEL_LOCKED') {
        const text = `another process holds ${directory}; wait until it has ended, then try again`
        throw new OspError('data-locked', text, { cause })
      }
      // Torn bytes can name any path as a file of the database, so the first attempt can fail with any error of the
      // system.
      if (left <= 0 || (isCleared && !isTorn(cause))) throw fault(error, `locking ${directory}`)
      await clearDatabase(directory)
      isCleared = true
      await pause(pauseMs)
    }
  }
}

/** Does `work` while holding the lock of a directory. Rejects with OspError `data-locked` if it is held too long. */
export async function exclusively<T>(directory: string, work: () => Promise<T>): Promise<T> {
  for (let left = tries; ; left--) {
    const held = await lock(directory).catch((error) => {
      if (left <= 1 || OspError.from(error).code !== 'data-locked') throw error
    })
    if (held) {
      await using _ = held
      return await work()
    }
    await pause(pauseMs)
  }
}

/** Checks that the directory and its entries are no links. LevelDB opens its files by name. */
async function checkLock(directory: string): Promise<void> {
  await checkPart(directory, 'directory')
  const entries = await unless(['ENOENT'], `reading the directory ${directory}`, () => readdir(directory))
  for (const entry of entries ?? []) {
    const path = join(directory, entry)
    const stats = await unless(['ENOENT'], `checking ${path}`, () => lstat(path))
    if (stats && !stats.isDirectory()) await attempt(`opening ${directory}`, async () => checkPlain(path, stats))
  }
}

/** Reserves the bytes at once, before other files take the space, as far as there is space. */
async function reserve(directory: string): Promise<void> {
  const path = join(directory, 'reserve')
  try {
    const there = await unless(['ENOENT'], `checking ${path}`, () => lstat(path))
    if (there?.isFile() && there.size === reserveBytes) return
    await writeOwnFile(path, new Uint8Array(reserveBytes))
  } catch (error) {
    if (!isFull(error)) throw fault(error, `locking ${directory}`)
  }
}

/** Returns whether the database is torn. LevelDB reports a missing file as an error of the system. */
function isTorn(cause: unknown): boolean {
  return errnoOf(cause) === 'LEVEL_CORRUPTION' || (cause instanceof Error && /no such file/iu.test(cause.message))
}

/** The files that LevelDB makes, except the lock file, which another process may hold by now. */
const own = /^(?:CURRENT|MANIFEST-\d+|LOG|LOG\.old|\d+\.(?:log|ldb|sst|dbtmp)|reserve)$/u

/** Removes the files of a LevelDB database. */
export async function clearDatabase(directory: string): Promise<void> {
  await attempt(`clearing ${directory}`, async () => {
    const names = (await readdir(directory)).filter((name) => own.test(name))
    await Promise.all(names.map((name) => rm(join(directory, name), { force: true })))
  })
}

const owner = z.object({ pid: z.int(), startedAt: z.string(), ticks: z.optional(z.string()) })
type Owner = z.infer<typeof owner>

/**
 * Acquires the lock of a data directory, and records this process in the file `owner`, which is for information only.
 * Rejects with OspError `data-locked`, which names the other process if it is known.
 */
export async function lockData(layout: Layout, wallTime: number): Promise<AsyncDisposable> {
  const { directory, owner: path } = layout
  const held = await lock(layout.lock).catch(async (error) => {
    throw OspError.from(error).code === 'data-locked' ? await lockedBy(directory, error) : error
  })
  const { pid } = process
  const own: Owner = { pid, startedAt: new Date(wallTime).toISOString(), ticks: await ticksOf(pid) }
  const text = JSON.stringify(own)
  await replaceFile(path, `${text}\n`, false).catch(async (error) => {
    // A full disk must not prevent reading the directory.
    if (isFull(error)) return
    await held[Symbol.asyncDispose]()
    throw error
  })
  return {
    async [Symbol.asyncDispose]() {
      // Before the lock is released. Otherwise this would remove the file of the next owner.
      await attempt(`removing ${path}`, () => rm(path, { force: true }))
      await held[Symbol.asyncDispose]()
    },
  }
}

/**
 * Creates the data directory of a server whose storage is elsewhere, and locks it until the result is disposed of. Rejects with
 * OspError `data-locked` if another process holds it.
 */
export async function lockDirectory(directory: string): Promise<AsyncDisposable> {
  const layout = layoutOf(directory)
  await makePath(directory)
  await makeDirectory(layout.lock)
  return lockData(layout, Date.now())
}

/**
 * Resolves with the id of the process that holds the lock of a data directory, and a text that describes it. Resolves with `undefined`
 * if that process has released the lock or has ended.
 */
export async function lockHolder(
  directory: string,
): Promise<{ readonly pid: number; readonly text: string } | undefined> {
  const known = await ownerOf(directory)
  return known && (await isRunning(known)) ? { pid: known.pid, text: textOf(known) } : undefined
}

/** Resolves with the process that last locked a data directory. A process that was killed has not removed its record. */
async function ownerOf(directory: string): Promise<Owner | undefined> {
  const text = await readFile(layoutOf(directory).owner, 'utf8').catch(() => '')
  return owner.safeParse(jsonOf(text)).data
}

const textOf = ({ pid, startedAt }: Owner) => `process ${pid}, since ${startedAt}`

/** Resolves with whether the process is running. Its id can belong to another process by now. */
async function isRunning({ pid, ticks }: Owner): Promise<boolean> {
  try {
    process.kill(pid, 0)
  } catch (error) {
    // A process of another user cannot be signalled.
    if (errnoOf(error) !== 'EPERM') return false
  }
  const found = await ticksOf(pid)
  return ticks === undefined || found === undefined || found === ticks
}

/** Resolves with the start time of a process, in clock ticks since the system started. Only Linux provides it. */
async function ticksOf(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  // Field 22. The name of the program, in parentheses, is field 2.
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19]
}

async function lockedBy(directory: string, cause: unknown): Promise<OspError> {
  // The other process may not have written the file yet. It can run in another container, so its id is not checked.
  const known = await ownerOf(directory)
  const reason = `${directory} is in use by ${known ? textOf(known) : 'another process'}; stop it or choose another directory`
  return new OspError('data-locked', reason, { cause })
}
