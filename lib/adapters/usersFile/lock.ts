import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { ClassicLevel } from 'classic-level'
import { OspError } from '../../errors.ts'
import { attempt, errnoOf, fault } from '../disk/faults.ts'

/** How often a lock is tried that another holds, and how long is waited between: ten seconds in all. */
const tries = 500
const pauseMs = 20

/**
 * Does `work` while nobody else who names this directory does theirs, in this process or another. Rejects with OspError
 * `data-locked` if that takes too long.
 *
 * A lock must die with its owner, and Node has none that does. LevelDB has one, on every system: so an empty database is
 * opened here, for its lock alone, as the data directory's own lock is that of its records.
 */
export async function exclusively<T>(directory: string, work: () => Promise<T>): Promise<T> {
  const lock = new ClassicLevel(directory)
  await acquire(lock)
  try {
    return await work()
  } finally {
    await lock.close()
  }
}

/** LevelDB says it of bytes that are wrong; a file that is missing is an error of the system's to it. */
function isTorn(cause: unknown): boolean {
  return errnoOf(cause) === 'LEVEL_CORRUPTION' || (cause instanceof Error && /no such file/iu.test(cause.message))
}

/** A torn database holds nothing that is missed. What the lock itself is on stays: another process can hold it by now. */
async function clear(directory: string): Promise<void> {
  await attempt(`clearing ${directory}`, async () => {
    const names = (await readdir(directory)).filter((name) => name !== 'LOCK')
    await Promise.all(names.map((name) => rm(join(directory, name), { force: true, recursive: true })))
  })
}

async function acquire(lock: ClassicLevel): Promise<void> {
  let isCleared = false
  for (let left = tries; left > 0; left--) {
    try {
      await lock.open()
      return
    } catch (error) {
      const { cause } = error as Error
      if (errnoOf(cause) !== 'LEVEL_LOCKED') {
        // Torn bytes can name any path as a file of the database: so what the system says of it may be anything, once.
        if (isCleared && !isTorn(cause)) throw fault(error, `locking ${lock.location}`)
        await clear(lock.location)
        isCleared = true
      }
    }
    await pause(pauseMs)
  }
  throw new OspError('data-locked', `another process holds ${lock.location}; wait until it has ended, then try again`)
}
