import { OspError } from '../../../errors.ts'
import type { StoredUsersFile } from './stored.ts'
import type { Users } from './table.ts'

/** How often the file is looked at while somebody watches. */
const lookMs = 1_000

/** Told whose right has changed; with `undefined`, everybody's. */
type Changed = (user: string | undefined) => void

/** What has become of one user. */
export interface UserChange {
  readonly user: string
  readonly how: 'added' | 'rotated' | 'removed'
}

/** What is seen of a users' file, for whoever keeps a log. */
export type UsersNews =
  /** A version was read, or one can be read again. */
  | {
      readonly what: 'read'
      /** How many users there are; `undefined` where there never was a file. */
      readonly users: number | undefined
      /** What differs from the version before; nothing in the first one. */
      readonly changes: readonly UserChange[]
    }
  /** The file is gone or can't be read; told once until one can be read. */
  | { readonly what: 'unreadable'; readonly why: OspError }

/** What was seen of a users' file, and who is told when it has changed. */
export class UsersWatcher {
  readonly #stored: StoredUsersFile
  readonly #noticed: (news: UsersNews) => void
  readonly #watchers = new Set<{ readonly changed: Changed }>()
  #seen: { readonly stamp: string | undefined; readonly users: Users | undefined } | undefined
  /** Why the version with this stamp can't be understood. */
  #damage: { readonly stamp: string; readonly why: unknown } | undefined
  /** From the first file on, be it damaged, one that is missing is no leave to do without. */
  #wasThere = false
  #isUnreadable = false
  #last: Promise<unknown> = Promise.resolve()
  /** A look that has not begun: whoever asks until then shares it. */
  #next: Promise<Users | undefined> | undefined
  #timer: NodeJS.Timeout | undefined
  #looking = false

  constructor(stored: StoredUsersFile, noticed: (news: UsersNews) => void = () => {}) {
    this.#stored = stored
    this.#noticed = noticed
  }

  /** The users that could be read last, `undefined` where there never was a file. */
  get latest(): Users | undefined {
    return this.#seen?.users
  }

  /**
   * The users as they are now, `undefined` where there never was a file; what has changed is told before. Rejects where the
   * file can't be read, or is there no more: that changes nothing for whom it had let in.
   */
  look(): Promise<Users | undefined> {
    this.#next ??= this.#last.then(() => {
      this.#next = undefined
      return this.#look()
    })
    this.#last = this.#next.catch(() => {})
    return this.#next
  }

  watch(changed: Changed): Disposable {
    const watcher = { changed }
    this.#watchers.add(watcher)
    this.#timer ??= setInterval(() => void this.#lookAgain(), lookMs).unref()
    return {
      [Symbol.dispose]: () => {
        this.#watchers.delete(watcher)
        if (this.#watchers.size > 0) return
        clearInterval(this.#timer)
        this.#timer = undefined
      },
    }
  }

  async #lookAgain(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    // Whom a file that can't be read does not let in is told so then; who keeps a log has been told.
    await this.look().catch(() => {})
    this.#looking = false
  }

  async #look(): Promise<Users | undefined> {
    const former = this.#seen
    try {
      const users = await this.#current()
      if (this.#isUnreadable || this.#seen !== former) {
        const changes = former ? changesBetween(former.users, users) : []
        this.#noticed({ what: 'read', users: users?.size, changes })
      }
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
    if (stamp !== undefined && this.#damage?.stamp === stamp) throw this.#damage.why
    const found = await this.#stored.read().catch((why) => {
      // Anything else can pass without a change of the file.
      const isDamaged = why instanceof OspError && why.code === 'data-format'
      if (isDamaged && stamp !== undefined) this.#damage = { stamp, why }
      throw why
    })
    // It can have gone, or come, since.
    if (!found && this.#wasThere) throw this.#stored.gone()
    if (found) this.#wasThere = true
    this.#damage = undefined
    const former = this.#seen
    this.#seen = { stamp: found?.stamp, users: found?.users }
    if (former) this.#tell(former.users, found?.users)
    return found?.users
  }

  /** Whose right differs, of those whom the former version could have let in; everybody's, where there was none. */
  #tell(before: Users | undefined, now: Users | undefined): void {
    if (!before && !now) return
    const former = changesBetween(before, now).filter(({ how }) => how !== 'added')
    const changed = before ? former.map(({ user }) => user) : [undefined]
    for (const watcher of this.#watchers) for (const user of changed) watcher.changed(user)
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
