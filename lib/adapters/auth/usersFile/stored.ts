import { type BigIntStats, constants, lstatSync } from 'node:fs'
import { lstat, rename, utimes } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { OspError } from '../../../errors.ts'
import { makeDirectory, makePath, syncDirectory } from '../../disk/directories.ts'
import { attempt, unless } from '../../disk/faults.ts'
import { exclusively } from '../../disk/lock.ts'
import { checkDirectoryRights, checkPart, fixedDirectory, openOwnFile, writeOwnFile } from '../../disk/rights.ts'
import { damaged, formatUsers, mostFileBytes, parseUsers, type Users } from './table.ts'

/**
 * The file with the users of a server. Readers see a complete version of it, which no other user can have written: each
 * read checks the permissions of the file and of all directories above it. The directory must not be replaced meanwhile.
 */
export class StoredUsersFile {
  readonly path: string
  readonly #directory: string
  readonly #lock: string
  readonly #checkPlace: () => void

  constructor(directory: string) {
    this.#directory = resolve(directory)
    this.path = join(this.#directory, 'users.json')
    this.#lock = join(this.#directory, 'users.lock')
    this.#checkPlace = fixedDirectory(this.#directory)
  }

  /** Resolves with the stamp of the current version; `undefined` if there is no file. */
  async stamp(): Promise<string | undefined> {
    // Called for each message and each connection. Asynchronous calls would wait in the thread pool after writes of uploads.
    const there = await attempt(`looking at ${this.path}`, async () => {
      this.#checkPlace()
      return lstatSync(this.path, { bigint: true, throwIfNoEntry: false })
    })
    return there && stampOf(there)
  }

  /** Returns the error for a file that has existed and is missing. */
  gone(): OspError {
    return new OspError(
      'data-format',
      `the list of users ${this.path} is missing, and all logins are rejected; restore it, or restart the server to run ` +
        'without a list',
    )
  }

  /** Resolves with the users and the stamp of the file, if it exists. Rejects with `data-format` if it is unsafe. */
  async read() {
    return await unless(['ENOENT'], `reading ${this.path}`, async () => {
      checkDirectoryRights(this.#directory)
      this.#checkPlace()
      await using file = await openOwnFile(this.path, constants.O_RDONLY)
      const there = await file.stat({ bigint: true })
      if (there.size > mostFileBytes) throw damaged(this.path, `it has more than ${mostFileBytes} bytes`)
      return { stamp: stampOf(there), users: parseUsers(await file.readFile('utf8'), this.path) }
    })
  }

  /** Replaces the users atomically and durably. Calls run one after another, across all processes. */
  async change(edit: (users: Users) => Users): Promise<void> {
    await makePath(this.#directory)
    await checkPart(this.path, 'regular file')
    await makeDirectory(this.#lock)
    await exclusively(this.#lock, async () => {
      const { users = new Map() } = (await this.read()) ?? {}
      const text = formatUsers(edit(users))
      const former = await unless(['ENOENT'], `looking at ${this.path}`, () => lstat(this.path))
      const fresh = `${this.path}.new`
      await attempt(`writing ${fresh}`, async () => {
        await writeOwnFile(fresh, text, true)
        if (former) await makeLater(fresh, former.mtimeMs)
        await rename(fresh, this.path)
      })
      await syncDirectory(this.#directory)
    })
  }
}

/** Gives the file a later modification time than the former version. Readers need it, since inodes are used again. */
async function makeLater(path: string, formerMs: number): Promise<void> {
  const { mtimeMs } = await lstat(path)
  if (mtimeMs > formerMs) return
  const laterSeconds = (Math.floor(formerMs) + 2) / 1_000
  await utimes(path, laterSeconds, laterSeconds)
}

const stampOf = ({ ino, mtimeNs, ctimeNs, size }: BigIntStats) => `${ino} ${mtimeNs} ${ctimeNs} ${size}`
