import { OspError } from '../../errors.ts'
import type { StoredUsers } from './stored.ts'
import type { Users } from './table.ts'

/** How often the file is looked at while somebody watches. */
const lookMs = 1_000

/** Told whose right has changed; with `undefined`, everybody's. */
type Changed = (user: string | undefined) => void

/** What was seen of a users' file, and who is told when it has changed. */
export class SeenUsers {
  readonly #stored: StoredUsers
  readonly #watchers = new Set<{ readonly changed: Changed }>()
  #seen: { readonly stamp: string | undefined; readonly users: Users | undefined } | undefined
  /** Why the version with this stamp can't be understood. */
  #damage: { readonly stamp: string; readonly why: unknown } | undefined
  #last: Promise<unknown> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined
  #looking = false

  constructor(stored: StoredUsers) {
    this.#stored = stored
  }

  /** The users that could be read last, `undefined` where there was no file. */
  get latest(): Users | undefined {
    return this.#seen?.users
  }

  /**
   * The users as they are now, `undefined` where there is no file; what has changed is told before. Rejects where the file
   * can't be read: that changes nothing for whom it had let in.
   */
  look(): Promise<Users | undefined> {
    const result = this.#last.then(() => this.#look())
    this.#last = result.catch(() => {})
    return result
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
    // Whom a file that can't be read does not let in is told so then.
    await this.look().catch(() => {})
    this.#looking = false
  }

  async #look(): Promise<Users | undefined> {
    const stamp = await this.#stored.stamp()
    if (this.#seen && this.#seen.stamp === stamp) return this.#seen.users
    if (stamp !== undefined && this.#damage?.stamp === stamp) throw this.#damage.why
    const found = await this.#stored.read().catch((why) => {
      // Anything else can pass without a change of the file.
      const isDamaged = why instanceof OspError && why.code === 'data-format'
      if (isDamaged && stamp !== undefined) this.#damage = { stamp, why }
      throw why
    })
    this.#damage = undefined
    const former = this.#seen
    this.#seen = { stamp: found?.stamp, users: found?.users }
    if (former) this.#tell(former.users, found?.users)
    return found?.users
  }

  #tell(before: Users | undefined, now: Users | undefined): void {
    const changed = changesBetween(before, now)
    for (const watcher of this.#watchers) for (const user of changed) watcher.changed(user)
  }
}

/** Whose right differs, of those whom the former version could have let in. */
function changesBetween(before: Users | undefined, now: Users | undefined): readonly (string | undefined)[] {
  if (!before && !now) return []
  if (!before || !now) return [undefined]
  const rows = [...before.values()]
  return rows.filter(({ name, tokenSha256 }) => now.get(name)?.tokenSha256 !== tokenSha256).map(({ name }) => name)
}
