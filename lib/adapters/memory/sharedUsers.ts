import { OspError } from '../../errors.ts'
import { nameKey } from '../../names.ts'
import { raisedBy, type StoredUser, type UserSteps } from '../cluster/steps.ts'

/** The users of a shared store. */
export class SharedUsers implements UserSteps {
  readonly #wallTime: () => number
  readonly #users = new Map<string, StoredUser>()
  #version = 1

  constructor(wallTime: () => number) {
    this.#wallTime = wallTime
  }

  /** Makes every server read the users again. */
  async refresh(): Promise<void> {
    this.#version += raisedBy
  }

  async users(known: number): ReturnType<UserSteps['users']> {
    return known === this.#version ? undefined : { version: this.#version, users: [...this.#users.values()] }
  }

  async setUser(name: string, tokenHash: Uint8Array | undefined): Promise<void> {
    const key = nameKey(name)
    const alike = Array.from(this.#users.keys()).find((other) => other !== name && nameKey(other) === key)
    if (tokenHash && alike !== undefined) throw new OspError('usage', `the name ${name} looks like the user ${alike}`)
    if (tokenHash) this.#users.set(name, { name, tokenHash: Uint8Array.from(tokenHash), since: this.#wallTime() })
    else this.#users.delete(name)
    this.#version++
  }

  userNames(): readonly string[] {
    return [...this.#users.keys()]
  }

  /** Adds the users that do not exist. */
  add(users: readonly StoredUser[]): void {
    const keys = new Map(this.userNames().map((name) => [nameKey(name), name]))
    for (const { name } of users) {
      const alike = keys.get(nameKey(name)) ?? name
      if (alike !== name) throw new OspError('name-conflict', `the name ${name} looks like the user ${alike}`)
    }
    for (const user of users) if (!this.#users.has(user.name)) this.#users.set(user.name, user)
    this.#version++
  }
}
