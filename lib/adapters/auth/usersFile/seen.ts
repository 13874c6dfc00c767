import { OspError } from '../../../errors.ts'
import { Mutex } from '../../../runtime/mutex.ts'
import type { StoredUsersFile, Users } from './stored.ts'

/** The interval at which the file is checked while there are watchers. */
const lookMs = 1_000

/** Called with a user that was removed or has a new token, or with `undefined` if this applies to every user. */
type Changed = (user: string | undefined) => void

/** A change of one user. */
export interface UserChange {
  readonly user: string
  readonly how: 'added' | 'rotated' | 'removed'
}

/** News about a users' file, for logging. */
export type UsersNews =
  /** A new version was read, or the file can be read again. */
  | {
      readonly what: 'read'
      /** The number of users; `undefined` if there never was a file. */
      readonly users: number | undefined
      /** The differences from the previous version. For the first version there are none. */
      readonly changes: readonly UserChange[]
    }
  /** The file is missing or cannot be read. Reported once until it can be read again. */
  | { readonly what: 'unreadable'; readonly why: OspError }

/** Caches the last version of a users' file and notifies watchers of changes. */
export class UsersWatcher {
  readonly #stored: StoredUsersFile
  readonly #noticed: (news: UsersNews) => void
  readonly #watchers = new Set<{ readonly changed: Changed }>()
  #seen: { readonly stamp: string | undefined; readonly users: Users | undefined } | undefined
  /** The fault of the version with this stamp. */
  #damage: { readonly stamp: string; readonly error: unknown } | undefined
  /** Whether the file has existed, even damaged. From then on a missing file is an error. */
  #wasThere = false
  #isUnreadable = false
  readonly #checks = new Mutex()
  /** A check that has not started. All callers until then share it. */
  #next: Promise<Users | undefined> | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(stored: StoredUsersFile, noticed: (news: UsersNews) => void = () => {}) {
    this.#stored = stored
    this.#noticed = noticed
  }

  /** The users of the last version that could be read; `undefined` if there never was a file. */
  get latest(): Users | undefined {
    return this.#seen?.users
  }

  /** Resolves with the users after it has notified watchers; `undefined` if there never was a file. */
  look(): Promise<Users | undefined> {
    this.#next ??= this.#checks.run(() => {
      this.#next = undefined
      return this.#look()
    })
    return this.#next
  }

  watch(changed: Changed): Disposable {
    const watcher = { changed }
    this.#watchers.add(watcher)
    // A fault is logged, and reported to the clients that log in.
    this.#timer ??= setInterval(() => void this.look().catch(() => {}), lookMs).unref()
    return {
      [Symbol.dispose]: () => {
        this.#watchers.delete(watcher)
        if (this.#watchers.size > 0) return
        clearInterval(this.#timer)
        this.#timer = undefined
      },
    }
  }

  async #look(): Promise<Users | undefined> {
    const former = this.#seen
    try {
      const users = await this.#current()
      const changes = former && this.#seen !== former ? changesBetween(former.users, users) : []
      // The first file affects all users.
      const isFirst = former !== undefined && !former.users && users !== undefined
      const affected = isFirst ? [undefined] : changes.filter(({ how }) => how !== 'added').map(({ user }) => user)
      for (const watcher of this.#watchers) for (const user of affected) watcher.changed(user)
      if (this.#isUnreadable || this.#seen !== former) this.#noticed({ what: 'read', users: users?.size, changes })
      this.#isUnreadable = false
      return users
    } catch (error) {
      const why = OspError.from(error)
      if (!this.#isUnreadable) this.#noticed({ what: 'unreadable', why })
      this.#isUnreadable = true
      throw why
    }
  }

  async #current(): Promise<Users | undefined> {
    const stamp = await this.#stored.stamp()
    if (stamp === undefined && this.#wasThere) throw this.#stored.gone()
    if (stamp !== undefined) this.#wasThere = true
    if (this.#seen && this.#seen.stamp === stamp) return this.#seen.users
    if (stamp !== undefined && this.#damage?.stamp === stamp) throw this.#damage.error
    const found = await this.#stored.read().catch((error) => {
      // Anything else can pass without a change of the file.
      const isDamaged = error instanceof OspError && error.code === 'data-format'
      if (isDamaged && stamp !== undefined) this.#damage = { stamp, error }
      throw error
    })
    // The file can have been removed or created in the meantime.
    if (!found && this.#wasThere) throw this.#stored.gone()
    if (found) this.#wasThere = true
    this.#damage = undefined
    this.#seen = { stamp: found?.stamp, users: found?.users }
    return found?.users
  }
}

function changesBetween(before: Users = new Map(), now: Users = new Map()): readonly UserChange[] {
  const gone = [...before.keys()].filter((user) => !now.has(user))
  const others = [...now.values()].filter(({ name, tokenSha256 }) => before.get(name)?.tokenSha256 !== tokenSha256)
  return [
    ...gone.map((user) => ({ user, how: 'removed' as const })),
    ...others.map(({ name: user }) => ({ user, how: before.has(user) ? ('rotated' as const) : ('added' as const) })),
  ]
}
