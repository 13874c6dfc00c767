import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { checkUserName } from '../../names.ts'
import { checkArgument, checkOptions, kinds, optional } from '../../options.ts'
import type { Admitted, Authenticator, Credentials } from '../../ports/authenticator.ts'
import { admit, hashOf, newToken } from './tokens.ts'
import { denyAll } from './unverified.ts'
import { mixedScripts } from './usersFile/lookalikes.ts'
import { type UsersNews, UsersWatcher } from './usersFile/seen.ts'
import { lookalikeUser, StoredUsersFile, sameKeyUser, sorted, type Users } from './usersFile/stored.ts'

/** A user in the list of `UsersFile.list`. */
export interface KnownUser {
  readonly name: string
  /** When the user was added or received the current token. */
  readonly since: Date
}

/**
 * The users of a server, each with a token. A token is returned once, by the call that creates it; only its hash is stored.
 * A change is durable when its promise resolves.
 */
export interface UserList {
  /** Resolves with whether the list exists, even if it is empty or damaged. From then on every login requires a token. */
  exists(): Promise<boolean>
  /**
   * Adds a user. Resolves with the token. Creates the list if necessary. Rejects with OspError `bad-name`, with
   * `name-conflict` if the name is in use or differs from such a name only in case or compatibility form, and with
   * `too-large` if the maximum number of users is reached. Unless `force` is set, also rejects with `name-conflict` for a
   * name that looks like one in use, and with `bad-name` for a name that mixes scripts (UTS 39).
   */
  add(name: string, options?: AddUserOptions): Promise<string>
  /** Replaces the token of a user. Resolves with the new token. Rejects with OspError `unknown-user`. */
  rotate(name: string): Promise<string>
  /** Removes a user, but not the files and waiting messages of the user. Rejects with OspError `unknown-user`. */
  remove(name: string): Promise<void>
  /** Resolves with all users, sorted by name. */
  list(): Promise<readonly KnownUser[]>
}

/**
 * The users of a server in a file. `list` and every change reject with OspError `data-format` if the file is damaged, and changes
 * with `data-locked` if another process keeps it locked.
 */
export interface UsersFile extends Authenticator, UserList {
  watch(changed: (user: string | undefined) => void): Disposable
}

export interface AddUserOptions {
  /** Accepts a name that can be mistaken for that of another user. */
  readonly force?: boolean
}

export interface UsersFileOptions {
  /** Called for each new version of the file, and when it becomes unreadable. Used for logging. */
  readonly noticed?: (news: UsersNews) => void
}

/**
 * Returns an authenticator that accepts the users in `DIRECTORY/users.json` with their tokens. As long as there never was
 * such a file, `otherwise` decides (by default it rejects every user). After the first user was added, every login requires
 * a token, even if all users are removed. If the file cannot be read or is missing, all logins are rejected and existing
 * connections continue. Other processes can change the users: the next login uses the change, and watchers are notified
 * within about a second.
 */
export function usersFile(
  directory: string,
  otherwise: Authenticator = denyAll(),
  options: UsersFileOptions = {},
): UsersFile {
  checkArgument('usersFile', 'the directory', kinds.path, directory)
  checkArgument('usersFile', 'the second argument', kinds.authenticator, otherwise)
  checkOptions('usersFile', { noticed: optional(kinds.function) }, options)
  return new FileOfUsers(new StoredUsersFile(directory), otherwise, options)
}

class FileOfUsers implements UsersFile {
  readonly #stored: StoredUsersFile
  readonly #seen: UsersWatcher
  readonly #otherwise: Authenticator

  constructor(stored: StoredUsersFile, otherwise: Authenticator, { noticed }: UsersFileOptions) {
    this.#stored = stored
    this.#seen = new UsersWatcher(stored, noticed)
    this.#otherwise = otherwise
  }

  async authenticate(credentials: Credentials): Promise<Admitted> {
    const users = await this.#users()
    if (!users) return await this.#otherwise.authenticate(credentials)
    const hash = users.get(credentials.user)?.tokenSha256
    return admit(hash === undefined ? hash : Buffer.from(hash, 'hex'), credentials)
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
    // Records the current version for later comparisons. Ignores whether it can be read.
    await this.#seen.look().catch(() => {})
    return isThere
  }

  async add(name: string, { force = false }: AddUserOptions = {}): Promise<string> {
    checkNewName(name, force)
    const token = newToken()
    await this.#stored.change((users) => {
      checkNewUser(users, name, force)
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

  /** Resolves with the current users. Rejects with OspError `internal`, so that clients do not learn the fault of the file. */
  async #users(): Promise<Users | undefined> {
    try {
      return await this.#seen.look()
    } catch (cause) {
      throw new OspError('internal', `logins are not possible: ${(cause as Error).message}`, { cause })
    }
  }

  async #changeKnown(name: string, edit: (users: Users) => Users): Promise<void> {
    const unknown = new OspError('unknown-user', `there is no user ${name} in ${this.#stored.path}`)
    // Creates no directory for an unknown user.
    if ((await this.#stored.stamp()) === undefined) throw unknown
    await this.#stored.change((users) => {
      if (!users.has(name)) throw unknown
      return edit(users)
    })
  }
}

/** Throws OspError `bad-name` if the name cannot be that of a new user, whatever other users there are. */
export function checkNewName(name: string, force: boolean): void {
  checkUserName(name)
  const mixed = force ? undefined : mixedScripts(name)
  if (mixed === undefined) return
  const text = `${name} mixes characters of different scripts (${mixed}) and can be mistaken for another name`
  throw new OspError('bad-name', `${text}; ${orForce}`)
}

/** Throws OspError `name-conflict` or `too-large` if no user of this name can be added to these users. */
export function checkNewUser(users: ReadonlyMap<string, unknown>, name: string, force: boolean): void {
  const conflict = conflictOf(users, name, force)
  if (conflict !== undefined) throw new OspError('name-conflict', `${name} ${conflict}`)
  if (users.size >= fixed.users)
    throw new OspError('too-large', `the maximum of ${fixed.users} users has been reached; remove users first`)
}

/** Returns why a new user cannot have this name, if another user prevents it. */
function conflictOf(users: ReadonlyMap<string, unknown>, name: string, force: boolean): string | undefined {
  const other = sameKeyUser(users, name)
  if (other === name) return 'is already a user; use "rotate" for a new token'
  if (other !== undefined) return `is too similar to the user ${other}; choose another name`
  const looks = force ? undefined : lookalikeUser(users, name)
  return looks && `can be mistaken for the user ${looks}; ${orForce}`
}

const orForce = 'choose another name, or accept this name with --force'

function granted(users: Users, name: string, token: string): Users {
  return new Map(users).set(name, { name, tokenSha256: hashOf(token).toString('hex'), since: new Date().toISOString() })
}
