import { type BigIntStats, constants, lstatSync } from 'node:fs'
import { type FileHandle, lstat, open, rename, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { OspError } from '../../../errors.ts'
import { makeDirectory, makePath, syncDirectory } from '../../disk/directories.ts'
import { attempt, unless } from '../../disk/faults.ts'
import { exclusively } from '../../disk/lock.ts'
import { checkDirectoryRights, checkPart, FixedDirectory, openOwnFile } from '../../disk/rights.ts'
import { damaged, formatUsers, mostFileBytes, parseUsers, type Users } from './table.ts'

/** The users as the file had them once. */
export interface Found {
  /** Differs from that of every earlier and later version of the file. */
  readonly stamp: string
  readonly users: Users
}

/**
 * The file of a directory's users. Whatever reads it sees one whole version of it, and none that another user could have
 * written: the rights of the file and of all directories above it are checked whenever it is read. The directory must stay
 * the one that was found first.
 */
export class StoredUsersFile {
  readonly path: string
  readonly #directory: string
  readonly #lock: string
  readonly #place: FixedDirectory

  constructor(directory: string) {
    this.#directory = resolve(directory)
    this.path = join(this.#directory, 'users.json')
    this.#lock = join(this.#directory, 'users.lock')
    this.#place = new FixedDirectory(this.#directory)
  }

  /** The stamp of the version that is there now; `undefined` where there is no file. */
  async stamp(): Promise<string | undefined> {
    // Each message and each link asks: a hop to another thread, behind the writes of uploads, costs far more than the calls.
    const there = await attempt(`looking at ${this.path}`, async () => {
      this.#place.check()
      return lstatSync(this.path, { bigint: true, throwIfNoEntry: false })
    })
    return there && stampOf(there)
  }

  /** The error of a file that was there and is no more. */
  gone(): OspError {
    return new OspError(
      'data-format',
      `the list of users ${this.path} is gone, and nobody comes in without it; put it back, or start the server anew to do without`,
    )
  }

  /**
   * `undefined` where there is no file. Rejects with OspError `data-format` for a damaged one, and for one that another user
   * could have written.
   */
  async read(): Promise<Found | undefined> {
    return await unless(['ENOENT'], `reading ${this.path}`, async () => {
      checkDirectoryRights(this.#directory)
      this.#place.check()
      return await using(await openOwnFile(this.path, constants.O_RDONLY), (file) => this.#read(file))
    })
  }

  /**
   * Puts what `edit` makes of the users into their place: durable, whole or not at all, and one after another whoever calls
   * it, in whichever process. Makes the directory and the file where there are none. Rejects with what `edit` throws.
   */
  async change(edit: (users: Users) => Users): Promise<void> {
    await makePath(this.#directory)
    await checkPart(this.path, 'regular file')
    await makeDirectory(this.#lock)
    await exclusively(this.#lock, async () => {
      const { users = new Map() } = (await this.read()) ?? {}
      await this.#replace(edit(users))
    })
  }

  async #read(file: FileHandle): Promise<Found> {
    const there = await file.stat({ bigint: true })
    if (there.size > mostFileBytes) throw damaged(this.path, `it has more than ${mostFileBytes} bytes`)
    return { stamp: stampOf(there), users: parseUsers(await file.readFile('utf8'), this.path) }
  }

  async #replace(users: Users): Promise<void> {
    const fresh = `${this.path}.new`
    await attempt(`writing ${fresh}`, async () => {
      const former = await unless(['ENOENT'], `looking at ${this.path}`, () => lstat(this.path))
      // What a crash left may have other rights.
      await rm(fresh, { force: true })
      await using(await open(fresh, 'wx', 0o600), async (file) => {
        await file.writeFile(formatUsers(users))
        if (former) await follow(file, former.mtimeMs)
        await file.sync()
      })
      await rename(fresh, this.path)
    })
    await syncDirectory(this.#directory)
  }
}

/**
 * Makes the file later than its former version, whatever the clock says and however coarse it is: by that a reader knows
 * them apart, since the system gives a number of a removed file to a new one.
 */
async function follow(file: FileHandle, formerMs: number): Promise<void> {
  const { mtimeMs } = await file.stat()
  if (mtimeMs > formerMs) return
  const laterSeconds = (Math.floor(formerMs) + 2) / 1_000
  await file.utimes(laterSeconds, laterSeconds)
}

const stampOf = ({ ino, mtimeNs, ctimeNs, size }: BigIntStats) => `${ino} ${mtimeNs} ${ctimeNs} ${size}`

async function using<T>(file: FileHandle, act: (file: FileHandle) => Promise<T>): Promise<T> {
  try {
    return await act(file)
  } finally {
    await file.close()
  }
}
