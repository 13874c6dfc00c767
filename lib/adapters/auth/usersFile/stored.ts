import { type BigIntStats, constants, lstatSync } from 'node:fs'
import { lstat, rename, utimes } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { crc32 } from 'node:zlib'
import * as z from 'zod/mini'
import en from 'zod/v4/locales/en.js'
import { OspError } from '../../../errors.ts'
import { fixed } from '../../../limits.ts'
import { userName } from '../../../nameSchemas.ts'
import { nameKey } from '../../../names.ts'
import { makeDirectory, makePath, syncDirectory } from '../../disk/directories.ts'
import { attempt, unless } from '../../disk/faults.ts'
import { exclusively } from '../../disk/lock.ts'
import { checkDirectoryRights, checkPart, fixedDirectory, openOwnFile, writeOwnFile } from '../../disk/rights.ts'
import { skeletonsOf } from './lookalikes.ts'

/** The version of the file format. */
const version = 1

const row = z.strictObject({
  name: userName,
  /** SHA-256 of the token, in hexadecimal. */
  tokenSha256: z.string().check(z.regex(/^[0-9a-f]{64}$/u)),
  /** When the user was added or received the current token. */
  since: z.iso.datetime(),
})

const table = z.strictObject({
  version: z.literal(version),
  /** CRC-32 of the users, in hexadecimal. A file from an editor or an older version can lack it. */
  crc32: z.optional(z.string().check(z.regex(/^[0-9a-f]{8}$/u))),
  // Does not use `maxLength`, which reads `length` of values of other types and can throw.
  users: z.array(row).check(z.refine(({ length }) => length <= fixed.users, `there are more than ${fixed.users}`)),
})

/** The stored data of a user. */
export type UserRow = Readonly<z.infer<typeof row>>

/** The users by name. */
export type Users = ReadonlyMap<string, UserRow>

/** The maximum size of a users' file. Each user takes less than 512 bytes. */
const mostFileBytes = fixed.users * 512

/** Parses the text of the file at `path`. Throws OspError `data-format` if it is damaged. */
function parseUsers(text: string, path: string): Users {
  const result = table.safeParse(jsonOf(text, path), { error: en().localeError })
  if (!result.success) {
    const [issue] = result.error.issues
    throw damaged(path, [issue?.path.join('.'), issue?.message].filter(Boolean).join(': '))
  }
  const { users, crc32: sum } = result.data
  if (sum !== undefined && sum !== sumOf(users)) {
    throw damaged(path, 'its crc32 does not match; if you edited the file, remove the line "crc32"')
  }
  const names = new Map<string, string>()
  for (const { name } of users) {
    const other = names.get(nameKey(name))
    if (other !== undefined) throw damaged(path, `${other} and ${name} are too similar`)
    names.set(nameKey(name), name)
  }
  return new Map(users.map((user) => [user.name, user]))
}

/** Returns the text of a file with these users, sorted by name. */
function formatUsers(users: Users): string {
  const rows = sorted(users)
  return `${JSON.stringify({ version, crc32: sumOf(rows), users: rows }, undefined, 2)}\n`
}

function sumOf(users: readonly UserRow[]): string {
  const values = users.map(({ name, tokenSha256, since }) => [name, tokenSha256, since])
  return crc32(JSON.stringify(values)).toString(16).padStart(8, '0')
}

/** Returns the users sorted by name, in the order of code units. */
export function sorted(users: Users): readonly UserRow[] {
  return [...users.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Returns the user whose name has the same `nameKey`, if there is one. */
export function sameKeyUser(users: ReadonlyMap<string, unknown>, name: string): string | undefined {
  const wanted = nameKey(name)
  return [...users.keys()].find((other) => nameKey(other) === wanted)
}

/** Returns the user whose name looks like this one, if there is one. */
export function lookalikeUser(users: ReadonlyMap<string, unknown>, name: string): string | undefined {
  const wanted = skeletonsOf(name)
  return [...users.keys()].find((other) => [...skeletonsOf(other)].some((skeleton) => wanted.has(skeleton)))
}

/** Returns the error for a users' file that is not valid. */
function damaged(path: string, reason: string): OspError {
  const text = `${path} is not a list of users that this ospd can read (${reason}); restore a valid copy`
  return new OspError('data-format', text)
}

function jsonOf(text: string, path: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    // The message of the parser can repeat content of the file.
    const [where = ''] = / at position \d+/u.exec((error as Error).message) ?? []
    throw damaged(path, `it is not JSON${where}`)
  }
}

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

  /** Resolves with the users and the stamp of the file, if any. Rejects with `data-format` if it is not trustworthy. */
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

/** Gives the file a later modification time than the former version. Readers need it, since inode numbers are reused. */
async function makeLater(path: string, formerMs: number): Promise<void> {
  const { mtimeMs } = await lstat(path)
  if (mtimeMs > formerMs) return
  const laterSeconds = (Math.floor(formerMs) + 2) / 1_000
  await utimes(path, laterSeconds, laterSeconds)
}

const stampOf = ({ ino, mtimeNs, ctimeNs, size }: BigIntStats) => `${ino} ${mtimeNs} ${ctimeNs} ${size}`
