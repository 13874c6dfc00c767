import { BoundedMap } from '../../core/boundedMap.ts'
import { clientLimits, fixed } from '../../limits.ts'
import type { ServerUpload } from './serverUpload.ts'

type Named = Pick<ServerUpload, 'user' | 'name'>

interface WaitingUpload {
  readonly user: string
  readonly node: number
  /** When it stops waiting, unless its client asks again. */
  readonly untilMs: number
}

/**
 * Assigns instances that become idle to the users who hold the fewest. An upload that was refused an instance waits until it gets
 * one, its link ends, or its client does not ask again in time. The counts are kept up to date, so that a refusal takes the
 * same time however many uploads wait.
 */
export class FairScheduler {
  readonly #waitMs: number
  /** By user and name, in the order in which their clients last asked. */
  readonly #waiting = new BoundedMap<string, WaitingUpload>(fixed.waitingUploads, (key) => this.#delete(key))
  /** Number of waiting uploads of each user. */
  readonly #byUser = new Map<string, number>()
  /** Keys of the waiting uploads of each link. */
  readonly #byNode = new Map<number, Set<string>>()

  /** `maxRetryMs`: the longest time after which a refused client is asked to come back. */
  constructor(maxRetryMs: number) {
    // A client may reconnect first.
    this.#waitMs = maxRetryMs + clientLimits.reconnectMostMs
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /**
   * Returns whether `user` may take one of `idle` instances. Instances are kept for waiting uploads of users who hold fewer,
   * until these users hold as many as `user`. `held` returns the number of instances that a user holds.
   */
  mayAssign(user: string, idle: number, held: (user: string) => number, now: number): boolean {
    this.#expire(now)
    const own = held(user)
    if (own === 0) return idle > 0
    let kept = 0
    for (const [other, uploads] of this.#byUser) {
      if (kept >= idle) break
      // This adds 0 for the user itself.
      kept += Math.min(uploads, Math.max(0, own - held(other)))
    }
    return idle > kept
  }

  /** Adds an upload that was refused an instance. */
  wait(upload: Named, node: number, now: number): void {
    const { user } = upload
    const key = keyOf(upload)
    this.#delete(key)
    this.#byUser.set(user, (this.#byUser.get(user) ?? 0) + 1)
    const keys = this.#byNode.get(node) ?? new Set()
    this.#byNode.set(node, keys.add(key))
    this.#waiting.set(key, { user, node, untilMs: now + this.#waitMs })
  }

  /** Removes an upload that got an instance, or that needs none. */
  remove(upload: Named): void {
    this.#delete(keyOf(upload))
  }

  /** Removes the uploads of a link that has ended. */
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

const keyOf = ({ user, name }: Named) => `${user}/${name}`
