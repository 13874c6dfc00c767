import { clientLimits, fixed } from '../../limits.ts'

interface Waiting {
  readonly user: string
  readonly node: number
  /** When it counts as waiting no more, unless it asks again. */
  readonly untilMs: number
}

/**
 * Gives instances that become idle to the users who hold the fewest. An upload that found none waits: until it gets one, its
 * client leaves, or has not asked for longer than it would take to ask again. All of it is counted as it changes: a refusal
 * costs the same however many uploads wait.
 */
export class FairScheduler {
  readonly #waitMs: number
  /** By user and name, the longest unheard of first. */
  readonly #waiting = new Map<string, Waiting>()
  /** How many of them each user has. */
  readonly #byUser = new Map<string, number>()
  /** Keys of those that each link has. */
  readonly #byNode = new Map<number, Set<string>>()

  /** `mostRetryMs`: the longest time after which a refused client is asked to come back. */
  constructor(mostRetryMs: number) {
    // A client may wait longer than it was asked to: as long as this.
    this.#waitMs = mostRetryMs + clientLimits.reconnectMostMs
  }

  /** Uploads that wait. */
  get waiting(): number {
    return this.#waiting.size
  }

  /**
   * Whether `user` may take one of `idle` instances now: as many of them as others wait for who hold fewer are theirs, but none
   * that would give them more than `user` has. `held` are the instances that a user holds.
   */
  mayAssign(user: string, idle: number, held: (user: string) => number, now: number): boolean {
    this.#expire(now)
    const own = held(user)
    if (own === 0) return idle > 0
    let theirs = 0
    for (const [other, uploads] of this.#byUser) {
      if (theirs >= idle) break
      // The user's own count is no less than what it has.
      theirs += Math.min(uploads, Math.max(0, own - held(other)))
    }
    return idle > theirs
  }

  /** An upload has found no instance. */
  wait(user: string, name: string, node: number, now: number): void {
    const key = keyOf(user, name)
    this.#delete(key)
    this.#waiting.set(key, { user, node, untilMs: now + this.#waitMs })
    this.#byUser.set(user, (this.#byUser.get(user) ?? 0) + 1)
    const keys = this.#byNode.get(node) ?? new Set()
    this.#byNode.set(node, keys.add(key))
    const [oldest] = this.#waiting.keys()
    if (this.#waiting.size > fixed.waitingUploads && oldest !== undefined) this.#delete(oldest)
  }

  /** An upload has got an instance, or wants none any more. */
  assigned(user: string, name: string): void {
    this.#delete(keyOf(user, name))
  }

  /** A link has ended. */
  lost(node: number): void {
    for (const key of this.#byNode.get(node) ?? []) this.#delete(key)
  }

  #delete(key: string): void {
    const waiting = this.#waiting.get(key)
    if (!waiting) return
    const { user, node } = waiting
    this.#waiting.delete(key)
    const others = (this.#byUser.get(user) ?? 1) - 1
    if (others > 0) this.#byUser.set(user, others)
    else this.#byUser.delete(user)
    const keys = this.#byNode.get(node)
    keys?.delete(key)
    if (keys?.size === 0) this.#byNode.delete(node)
  }

  #expire(now: number): void {
    for (const [key, { untilMs }] of this.#waiting) {
      if (untilMs > now) return
      this.#delete(key)
    }
  }
}

const keyOf = (user: string, name: string) => `${user}/${name}`
