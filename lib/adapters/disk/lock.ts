import { constants } from 'node:fs'
import { lstat, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { ClassicLevel } from 'classic-level'
import { OspError } from '../../errors.ts'
import { KiB } from '../../limits.ts'
import { attempt, errnoOf, fault, isFull, unless } from './faults.ts'
import { makeOwnFile } from './ownFile.ts'

/** How often `exclusively` tries a lock that another holds, and how long it waits between: ten seconds in all. */
const tries = 500
const pauseMs = 20

/** How often a lock is tried that is torn: another process can be clearing it at the same time. */
const tornTries = 10

/** Bytes that lie beside the database, so that it can be made anew on a disk that is full. */
const reserveBytes = 64 * KiB

/**
 * A lock that dies with its owner, which Node has not. LevelDB has one, on every system: so an empty database is opened, for
 * its lock alone. Nothing in it is ever missed: where it is damaged, or the disk has no room for it, it is made anew.
 */
export async function lock(directory: string): Promise<AsyncDisposable> {
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
      // Torn bytes can name any path as a file of the database: so what the system says of it may be anything, once.
      if (left <= 0 || (isCleared && !isTorn(cause))) throw fault(error, `locking ${directory}`)
      await clear(directory)
      isCleared = true
      await pause(pauseMs)
    }
  }
}

/**
 * Does `work` while no other caller that names this directory does its own, in this process or another. Rejects with
 * OspError `data-locked` if that takes too long.
 */
export async function exclusively<T>(directory: string, work: () => Promise<T>): Promise<T> {
  await using _ = await patiently(directory)
  return await work()
}

async function patiently(directory: string): Promise<AsyncDisposable> {
  for (let left = tries; ; left--) {
    try {
      return await lock(directory)
    } catch (error) {
      if (left <= 1 || OspError.from(error).code !== 'data-locked') throw error
    }
    await pause(pauseMs)
  }
}

/** At once, before others take the room; as much of it as there is. */
async function reserve(directory: string): Promise<void> {
  const path = join(directory, 'reserve')
  try {
    const there = await unless(['ENOENT'], `looking at ${path}`, () => lstat(path))
    if (there?.isFile() && there.size === reserveBytes) return
    const handle = await makeOwnFile(path, constants.O_WRONLY)
    try {
      await handle.writeFile(new Uint8Array(reserveBytes))
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (!isFull(error)) throw fault(error, `locking ${directory}`)
  }
}

/** LevelDB says it of bytes that are wrong; a file that is missing is an error of the system's to it. */
function isTorn(cause: unknown): boolean {
  return errnoOf(cause) === 'LEVEL_CORRUPTION' || (cause instanceof Error && /no such file/iu.test(cause.message))
}

/** What the lock itself is on stays: another process can hold it by now. */
async function clear(directory: string): Promise<void> {
  await attempt(`clearing ${directory}`, async () => {
    const names = (await readdir(directory)).filter((name) => name !== 'LOCK')
    await Promise.all(names.map((name) => rm(join(directory, name), { force: true, recursive: true })))
  })
}
