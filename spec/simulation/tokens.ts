import { OspError } from '../../lib/errors.ts'
import type { Authenticator } from '../../lib/ports/authenticator.ts'
import type { SimulatedProcess } from './process.ts'
import type { VirtualTime } from './time.ts'

interface Token {
  /** The current and the previous token of a user. */
  readonly now: string
  readonly before: string
  /** The time from which the user's programs have the new token. */
  readonly knownAtMs: number
  readonly changes: number
}

/** The tokens of a world's users, and how its server and its programs learn of changes. */
export class Tokens {
  readonly #time: VirtualTime
  readonly #lookingMs: number
  readonly #tokens = new Map<string, Token>()
  /** Users who have logged in to some server. */
  readonly #seen = new Set<string>()
  /** Number of times that all tokens may have changed. */
  #changesOfAll = 0
  readonly #watchers = new Map<(user: string | undefined) => void, SimulatedProcess>()

  /** `lookingMs`: maximum time of looking up a token or a user. */
  constructor(time: VirtualTime, lookingMs: number) {
    this.#time = time
    this.#lookingMs = lookingMs
  }

  /** The token that a program of this user sends. */
  said(user: string): string {
    const { now, before, knownAtMs } = this.#of(user)
    return this.#time.now() < knownAtMs ? before : now
  }

  /** The previous token, which is refused. */
  stale(user: string): string {
    return this.#of(user).before
  }

  /** The token that the server accepts. */
  now(user: string): string {
    return this.#of(user).now
  }

  /** Number of times that the server was informed of a change of this user's rights. */
  changes(user: string): number {
    return this.#of(user).changes + this.#changesOfAll
  }

  /** Whether a program of this user may be refused, because it may have sent an old token. */
  mayFail(user: string): boolean {
    return this.#of(user).changes > 0
  }

  /**
   * Changes a token. The programs learn of it after `knownMs`; the server learns of it immediately, and for all users
   * if `all` is set.
   */
  change(user: string, knownMs: number, all: boolean): void {
    const { now, changes } = this.#of(user)
    const next = {
      now: `${user} ${changes + 1}`,
      before: now,
      knownAtMs: this.#time.now() + knownMs,
      changes: changes + 1,
    }
    this.#tokens.set(user, next)
    if (all) this.#changesOfAll++
    for (const [changed, process] of this.#watchers) {
      if (process.alive) process.awake(() => changed(all ? undefined : user))
    }
  }

  /** From now on every program knows its token. */
  settle(): void {
    for (const [user, token] of this.#tokens) this.#tokens.set(user, { ...token, knownAtMs: 0 })
  }

  /** The authenticator of a server process. */
  authenticatorOf(process: SimulatedProcess): Authenticator {
    return {
      authenticate: ({ user, token }) =>
        process.effect(this.#lookingMs, 'time to look at a token', () => {
          if (token === this.#of(user).now) {
            this.#seen.add(user)
            return { user }
          }
          throw new OspError('unauthorized', `this is not the token of ${user}`)
        }),
      knows: (user) =>
        process.effect(this.#lookingMs, 'time to know a user', () => (this.#seen.has(user) ? 'unlisted' : 'unseen')),
      watch: (changed) => {
        this.#watchers.set(changed, process)
        return { [Symbol.dispose]: () => this.#watchers.delete(changed) }
      },
    }
  }

  #of(user: string): Token {
    return this.#tokens.get(user) ?? { now: `${user} 0`, before: 'none', knownAtMs: 0, changes: 0 }
  }
}
