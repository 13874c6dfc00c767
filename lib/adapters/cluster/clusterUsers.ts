import { OspError } from '../../errors.ts'
import { nameKey } from '../../names.ts'
import type { Admitted, Authenticator, Credentials } from '../../ports/authenticator.ts'
import { hex } from '../../runtime/hex.ts'
import { admit, hashOf, newToken } from '../auth/tokens.ts'
import type { KnownUser, UserList } from '../auth/usersFile.ts'
import { checkNewName, checkNewUser } from '../auth/usersFile.ts'
import type { ClusterMember } from './clusterMember.ts'
import type { StoredUser, UserSteps } from './steps.ts'

/** The version of a table of users that was never changed. */
const firstVersion = 1

type Users = ReadonlyMap<string, StoredUser>

/**
 * Authenticates the users of a shared store by their tokens. Until the first user is added, `otherwise` decides. All users are
 * kept in memory. They are read again after a notification, at the next poll, and when a token is not accepted.
 */
export class ClusterUsers implements Authenticator {
  readonly #member: ClusterMember
  readonly #otherwise: Authenticator
  readonly #watchers = new Set<(user: string | undefined) => void>()
  #version = 0
  #users: Users = new Map()
  #refreshing: Promise<void> | undefined

  constructor(member: ClusterMember, otherwise: Authenticator) {
    this.#member = member
    this.#otherwise = otherwise
    member.listen({
      heard: ({ kind }) => (kind === 'users' || kind === 'unknown' ? void this.#refresh().catch(() => {}) : undefined),
      polled: () => this.#refresh(),
    })
  }

  async authenticate(credentials: Credentials): Promise<Admitted> {
    if (this.#version === 0) await this.#refresh()
    if (!this.#isListed) return await this.#otherwise.authenticate(credentials)
    try {
      return this.#admit(credentials)
    } catch {
      // The user may have been added a moment ago.
      await this.#refresh()
      return this.#admit(credentials)
    }
  }

  async knows(user: string): ReturnType<Authenticator['knows']> {
    if (this.#version === 0) await this.#refresh()
    return this.#isListed ? this.#users.has(user) : await this.#otherwise.knows(user)
  }

  watch(changed: (user: string | undefined) => void): Disposable {
    this.#watchers.add(changed)
    return { [Symbol.dispose]: () => void this.#watchers.delete(changed) }
  }

  get #isListed(): boolean {
    return this.#version > firstVersion
  }

  #admit(credentials: Credentials): Admitted {
    return admit(this.#users.get(credentials.user)?.tokenHash, credentials)
  }

  #refresh(): Promise<void> {
    this.#refreshing ??= this.#read().finally(() => {
      this.#refreshing = undefined
    })
    return this.#refreshing
  }

  async #read(): Promise<void> {
    const found = await this.#member.run((steps) => steps.users(this.#version))
    if (!found) return
    const [former, wasListed, wasRead] = [this.#users, this.#isListed, this.#version > 0]
    this.#version = found.version
    this.#users = byName(found.users)
    if (!wasRead) return
    if (!wasListed) this.#changed(undefined)
    else
      for (const { name, tokenHash } of former.values()) {
        const { tokenHash: latest } = this.#users.get(name) ?? {}
        if (!latest || hex(latest) !== hex(tokenHash)) this.#changed(name)
      }
  }

  #changed(user: string | undefined): void {
    for (const watcher of this.#watchers) watcher(user)
  }
}

const byName = (users: readonly StoredUser[]): Users => new Map(users.map((user) => [user.name, user]))

/** The users of a shared store, for operators. Changes reach all servers. */
export class ClusterUserList implements UserList {
  readonly #steps: UserSteps
  readonly #told: () => Promise<void>

  /** `told` notifies the servers of a change. */
  constructor(steps: UserSteps, told: () => Promise<void>) {
    this.#steps = steps
    this.#told = told
  }

  async exists(): Promise<boolean> {
    return ((await this.#steps.users(0))?.version ?? 0) > firstVersion
  }

  async add(name: string, { force = false }: { readonly force?: boolean } = {}): Promise<string> {
    checkNewName(name, force)
    checkNewUser(await this.#read(), name, force)
    return await this.#grant(name)
  }

  async rotate(name: string): Promise<string> {
    await this.#checkKnown(name)
    return await this.#grant(name)
  }

  async remove(name: string): Promise<void> {
    await this.#checkKnown(name)
    await this.#steps.setUser(name, undefined)
    await this.#told()
  }

  async list(): Promise<readonly KnownUser[]> {
    const users = [...(await this.#read()).values()]
    return users
      .sort((a, b) => (nameKey(a.name) < nameKey(b.name) ? -1 : 1))
      .map(({ name, since }) => ({ name, since: new Date(since) }))
  }

  async #read(): Promise<Users> {
    return byName((await this.#steps.users(0))?.users ?? [])
  }

  async #checkKnown(name: string): Promise<void> {
    if (!(await this.#read()).has(name)) throw new OspError('unknown-user', `the cluster has no user ${name}`)
  }

  async #grant(name: string): Promise<string> {
    const token = newToken()
    await this.#steps.setUser(name, hashOf(token))
    await this.#told()
    return token
  }
}
