import { fixed } from '../../limits.ts'

/** The sessions whose registration another of the same user has taken over, so that they do not take it back in turn. */
export class Superseded {
  /** By user, the one who was added longest ago first; their sessions the same. */
  readonly #sessions = new Map<string, readonly string[]>()

  add(user: string, session: string): void {
    const others = (this.#sessions.get(user) ?? []).filter((other) => other !== session)
    this.#sessions.delete(user)
    this.#sessions.set(user, [...others, session].slice(-fixed.supersededSessions))
    const [oldest] = this.#sessions.keys()
    if (this.#sessions.size > fixed.rememberedUsers && oldest !== undefined) this.#sessions.delete(oldest)
  }

  has(user: string, session: string): boolean {
    return this.#sessions.get(user)?.includes(session) ?? false
  }
}
