import { clientLimits, fixed } from '../limits.ts'

interface Waiting {
  readonly user: string
  readonly node: number
  /** When it counts as waiting no more, unless it asks again. */
  readonly untilMs: number
}

/**
 * Sees to it that instances which become idle go to the users who hold the fewest. An upload that found none waits: until it
 * gets one, its client leaves, or is not heard of for longer than it would take to ask again.
 */
export class FairShare {
  readonly #waitMs: number
  /** By user and name, the longest unheard of first. */
  readonly #waiting = new Map<string, Waiting>()

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
   * that would give them more than he has. `held` are the instances that each user holds.
   */
  mayTake(user: string, idle: number, held: ReadonlyMap<string, number>, now: number): boolean {
    this.#expire(now)
    const own = held.get(user) ?? 0
    let theirs = 0
    for (const [other, uploads] of this.#byUser()) {
      // His own count is no less than what he has.
      theirs += Math.min(uploads, Math.max(0, own - (held.get(other) ?? 0)))
    }
    return idle > theirs
  }

  /** An upload has found no instance. */
  wait(user: string, name: string, node: number, now: number): void {
    this.took(user, name)
    this.#waiting.set(keyOf(user, name), { user, node, untilMs: now + this.#waitMs })
    const [oldest] = this.#waiting.keys()
    if (this.#waiting.size > fixed.waitingUploads && oldest !== undefined) this.#waiting.delete(oldest)
  }

  /** An upload has got an instance, or wants none any more. */
  took(user: string, name: string): void {
    this.#waiting.delete(keyOf(user, name))
  }

  /** A link has ended. */
  lost(node: number): void {
    for (const [key, waiting] of this.#waiting) if (waiting.node === node) this.#waiting.delete(key)
  }

  #byUser(): Map<string, number> {
    const uploads = new Map<string, number>()
    for (const { user } of this.#waiting.values()) uploads.set(user, (uploads.get(user) ?? 0) + 1)
    return uploads
  }

  #expire(now: number): void {
    for (const [key, { untilMs }] of this.#waiting) {
      if (untilMs > now) return
      this.#waiting.delete(key)
    }
  }
}

const keyOf = (user: string, name: string) => `${user}/${name}`
