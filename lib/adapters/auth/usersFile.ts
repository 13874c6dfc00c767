import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { checkUserName } from '../../names.ts'
import { checkArgument, checkOptions, kinds, optional } from '../../options.ts'
import type { Admitted, Authenticator, Credentials } from '../../ports/authenticator.ts'
import { denyAll } from './unverified.ts'
import { mixedScripts } from './usersFile/lookalikes.ts'
import { type UsersNews, UsersWatcher } from './usersFile/seen.ts'
import { StoredUsersFile } from './usersFile/stored.ts'
import { lookalikeUser, sameKeyUser, sorted, type Users } from './usersFile/table.ts'

/** A user as `UsersFile.list` tells of them. */
export interface KnownUser {
  readonly name: string
  /** When the user was added, or given the token of now. */
  readonly since: Date
}

/**
 * The users of a server, each with a token. A token is told once, by the call that makes it; kept is its hash. What is changed
 * is durable when the promise resolves. Every change rejects with OspError `data-format` where the file is damaged, and
 * `data-locked` where another process is at it for long.
 */
export interface UsersFile extends Authenticator {
  /** Whether there is a file, be it empty or damaged: from then on nobody comes in without a token. */
  exists(): Promise<boolean>
  /**
   * Adds a user; resolves with the token. Makes the directory where there is none. Rejects with OspError `bad-name`,
   * `name-conflict` for a name that is known or equal to one that is but for case, and `too-large` if there are as many as can
   * be. Unless `force` is set, also with `name-conflict` for a name that looks like a known one, and with `bad-name` for one
   * that mixes scripts (UTS 39).
   */
  add(name: string, options?: AddUserOptions): Promise<string>
  /** Gives a user a new token in place of the former; resolves with it. Rejects with OspError `unknown-user`. */
  rotate(name: string): Promise<string>
  /** Rejects with OspError `unknown-user`. The user's files and the messages that wait are not touched. */
  remove(name: string): Promise<void>
  /** All users, by name. Rejects with OspError `data-format` where the file is damaged. */
  list(): Promise<readonly KnownUser[]>
  watch(changed: (user: string | undefined) => void): Disposable
}

export interface AddUserOptions {
  /** Adds a name also if people could take it for another one. */
  readonly force?: boolean
}

export interface UsersFileOptions {
  /** Told what is seen of the file, in the order of its versions, for a log. */
  readonly noticed?: (news: UsersNews) => void
}

/**
 * Lets in the users of `DIRECTORY/users.json` by their tokens. While there never was such a file `otherwise` decides (by
 * default nobody comes in); from the first user on a token is needed, also when all users were removed again. A file that
 * can't be read, or is there no more, lets nobody in, and ends no link. Other processes can change the users meanwhile: that
 * is noticed by whoever comes next, and within about a second by who watches.
 */
export function usersFile(
  directory: string,
  otherwise: Authenticator = denyAll(),
  options: UsersFileOptions = {},
): UsersFile {
  checkArgument('usersFile', 'the directory', kinds.path, directory)
  checkArgument('usersFile', 'the second argument', kinds.authenticator, otherwise)
  checkOptions('usersFile', { noticed: optional(kinds.function) }, options)
  const { noticed } = options
  return new FileOfUsers(new StoredUsersFile(directory), otherwise, noticed)
}

class FileOfUsers implements UsersFile {
  readonly #stored: StoredUsersFile
  readonly #seen: UsersWatcher
  readonly #otherwise: Authenticator

  constructor(stored: StoredUsersFile, otherwise: Authenticator, noticed?: (news: UsersNews) => void) {
    this.#stored = stored
    this.#seen = new UsersWatcher(stored, noticed)
    this.#otherwise = otherwise
  }

  async authenticate(credentials: Credentials): Promise<Admitted> {
    const users = await this.#users()
    if (!users) return await this.#otherwise.authenticate(credentials)
    const { user, token } = credentials
    if (tokenMatches(users.get(user)?.tokenSha256, token)) return { user }
    const why =
      token === ''
        ? `the server accepts ${user} only with a token; ask its operator for one`
        : `the server does not accept this token for ${user}`
    throw new OspError('unauthorized', why)
  }

  async knows(user: string): ReturnType<Authenticator['knows']> {
    const users = await this.#users()
    return users ? users.has(user) : await this.#otherwise.knows(user)
  }

  watch(changed: (user: string | undefined) => void): Disposable {
    const own = this.#seen.watch(changed)
    const others = this.#otherwise.watch?.((user) => {
      if (!this.#seen.latest) changed(user)
    })
    return {
      [Symbol.dispose]: () => {
        own[Symbol.dispose]()
        others?.[Symbol.dispose]()
      },
    }
  }

  async exists(): Promise<boolean> {
    const isThere = (await this.#stored.stamp()) !== undefined
    // What is there, or that nothing is, is seen from here on; whether it can be read is not what is asked.
    await this.#seen.look().catch(() => {})
    return isThere
  }

  async add(name: string, { force = false }: AddUserOptions = {}): Promise<string> {
    checkUserName(name)
    const mixed = force ? undefined : mixedScripts(name)
    if (mixed !== undefined) {
      const text = `${name} has characters of different scripts (${mixed}), so that people could take it for another name`
      throw new OspError('bad-name', `${text}; ${orForce}`)
    }
    const token = newToken()
    await this.#stored.change((users) => {
      const other = sameKeyUser(users, name)
      if (other === name) throw new OspError('name-conflict', `${name} is a user already; "rotate" gives a new token`)
      if (other !== undefined) throw new OspError('name-conflict', `${name} is too much like the user ${other}`)
      const looks = force ? undefined : lookalikeUser(users, name)
      if (looks !== undefined) {
        throw new OspError('name-conflict', `people could take ${name} for the user ${looks}; ${orForce}`)
      }
      if (users.size >= fixed.users)
        throw new OspError('too-large', `there are ${fixed.users} users, as many as can be`)
      return granted(users, name, token)
    })
    return token
  }

  async rotate(name: string): Promise<string> {
    const token = newToken()
    await this.#changeKnown(name, (users) => granted(users, name, token))
    return token
  }

  async remove(name: string): Promise<void> {
    await this.#changeKnown(name, (users) => new Map([...users].filter(([other]) => other !== name)))
  }

  async list(): Promise<readonly KnownUser[]> {
    const { users = new Map() } = (await this.#stored.read()) ?? {}
    return sorted(users).map(({ name, since }) => ({ name, since: new Date(since) }))
  }

  /** Rejects with OspError `internal`: what is wrong with the file is the server's alone to know. */
  async #users(): Promise<Users | undefined> {
    try {
      return await this.#seen.look()
    } catch (cause) {
      throw new OspError('internal', `nobody can be let in: ${(cause as Error).message}`, { cause })
    }
  }

  async #changeKnown(name: string, edit: (users: Users) => Users): Promise<void> {
    const unknown = new OspError('unknown-user', `there is no user ${name} in ${this.#stored.path}`)
    // Looking for a user makes no directory.
    if ((await this.#stored.stamp()) === undefined) throw unknown
    await this.#stored.change((users) => {
      if (!users.has(name)) throw unknown
      return edit(users)
    })
  }
}

const orForce = 'choose another one, or add it all the same (--force)'

/** The users, with this one by this token. */
function granted(users: Users, name: string, token: string): Users {
  return new Map(users).set(name, { name, tokenSha256: hashToken(token), since: new Date().toISOString() })
}

/** What every token begins with, so that one is known for what it is wherever it turns up. */
const prefix = 'osp_'

const tokenBytes = 32

/** What the token of somebody who is not known is compared with. */
const nobodys = Buffer.alloc(32)

/** A new token: 256 random bits. */
export function newToken(): string {
  return prefix + randomBytes(tokenBytes).toString('base64url')
}

/**
 * What is kept of a token: its SHA-256, in hexadecimal. A slow hash would add nothing: it makes guessing dear where people
 * choose a secret, while nobody guesses 256 random bits.
 */
function hashToken(token: string): string {
  return digestOf(token).toString('hex')
}

/** Whether this is the token of that hash, found out in the same time for every token, also where there is no hash. */
function tokenMatches(hash: string | undefined, token: string): boolean {
  const isSame = timingSafeEqual(hash === undefined ? nobodys : Buffer.from(hash, 'hex'), digestOf(token))
  return isSame && hash !== undefined
}

const digestOf = (token: string) => createHash('sha256').update(token).digest()
