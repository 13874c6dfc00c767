import { OspError } from '../../lib/errors.ts'
import type { Authenticator } from '../../lib/ports/authenticator.ts'
import type { SimulatedProcess } from './process.ts'
import type { VirtualTime } from './time.ts'

interface Token {
  /** What the server takes, and what it took before. */
  readonly now: string
  readonly before: string
  /** From when on the user's programs have the new one. */
  readonly knownAtMs: number
  readonly changes: number
}

/** The tokens of a world's users, and how its server and its programs learn of them. */
export class Tokens {
  readonly #time: VirtualTime
  readonly #lookingMs: number
  readonly #tokens = new Map<string, Token>()
  /** Users who were let in by some server. */
  readonly #seen = new Set<string>()
  /** How often everybody may have had another token. */
  #changesOfAll = 0
  readonly #watchers = new Map<(user: string | undefined) => void, SimulatedProcess>()

  /** `lookingMs`: the longest that it takes to find a token, or a user. */
  constructor(time: VirtualTime, lookingMs: number) {
    this.#time = time
    this.#lookingMs = lookingMs
  }

  /** What a program of this user says. */
  said(user: string): string {
    const { now, before, knownAtMs } = this.#of(user)
    return this.#time.now() < knownAtMs ? before : now
  }

  /** The token of before, which nobody is let in with. */
  stale(user: string): string {
    return this.#of(user).before
  }

  /** What the server takes. */
  now(user: string): string {
    return this.#of(user).now
  }

  /** How often the server was told that this user's right has changed. */
  changes(user: string): number {
    return this.#of(user).changes + this.#changesOfAll
  }

  /** Whether a program of this user may be refused: what it said may be old. */
  mayFail(user: string): boolean {
    return this.#of(user).changes > 0
  }

  /** The programs learn of it after `knownMs`; the server at once, with everybody's where `all` is set. */
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

  /** Every program knows its token from now on. */
  settle(): void {
    for (const [user, token] of this.#tokens) this.#tokens.set(user, { ...token, knownAtMs: 0 })
  }

  /** What the server of a process asks. */
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
