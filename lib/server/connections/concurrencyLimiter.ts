import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import type { Connection } from '../app.ts'

interface Link {
  running: number
  readonly waiting: Deferred<void>[]
}

interface User {
  running: number
  /** The links with requests by node, in the order in which they take turns. */
  readonly links: Map<number, Link>
}

/**
 * Limits how many requests of each link, and of each user, run at the same time. The others wait: those of a link in the
 * order in which they arrived, and the links of a user in turn. A batch of small files counts each file, but waits only
 * once. All running requests can finish in one turn of the event loop, in which no other link is served.
 */
export class ConcurrencyLimiter {
  readonly #users = new Map<string, User>()

  /** Settles as `job` does. Rejects with OspError `link-lost` if the link ends before `job` starts. */
  run<T>(caller: Connection, job: () => Promise<T>): Promise<T> {
    const start = () => {
      const done = job()
      const ended = () => this.leave(caller)
      // The reply does not wait for this.
      done.then(ended, ended)
      return done
    }
    const turn = this.enter(caller)
    return turn ? turn.then(start) : start()
  }

  /**
   * Counts a request as running until `leave`. If the limits are reached, returns a promise that resolves when the request may
   * start, and rejects with OspError `link-lost` if the link ends first.
   */
  enter({ user: name, node }: Connection): Promise<void> | undefined {
    const user = this.#users.get(name) ?? { running: 0, links: new Map() }
    this.#users.set(name, user)
    const link = user.links.get(node) ?? { running: 0, waiting: [] }
    user.links.set(node, link)
    if (user.running < fixed.requestsPerUserAtOnce && link.running < fixed.requestsAtOnce) {
      user.running++
      link.running++
      return undefined
    }
    const turn = deferred<void>()
    link.waiting.push(turn)
    return turn.promise
  }

  /**
   * Counts `requests` more requests as running, as part of a batch whose first request has already entered. This may exceed the
   * limits; nothing else starts until the count is below them again.
   */
  join({ user, node }: Connection, requests: number): void {
    const counts = this.#users.get(user)
    const link = counts?.links.get(node)
    if (!counts || !link) return
    counts.running += requests
    link.running += requests
  }

  /** Ends running requests. */
  leave({ user: name, node }: Connection, requests = 1): void {
    const user = this.#users.get(name)
    const link = user?.links.get(node)
    if (!user || !link) return
    user.running -= requests
    link.running -= requests
    while (user.running < fixed.requestsPerUserAtOnce && this.#startNext(user)) {}
    this.#forget(name, user, node, link)
  }

  /** Drops the waiting requests of a link that has ended. */
  lost({ user: name, node }: Connection): void {
    const user = this.#users.get(name)
    const link = user?.links.get(node)
    if (!user || !link) return
    for (const turn of link.waiting.splice(0)) turn.reject(new OspError('link-lost'))
    this.#forget(name, user, node, link)
  }

  /** Starts the next request that waits. Returns false if there is none. */
  #startNext(user: User): boolean {
    for (const [node, link] of user.links) {
      if (link.running >= fixed.requestsAtOnce) continue
      const turn = link.waiting.shift()
      if (!turn) continue
      user.running++
      link.running++
      user.links.delete(node)
      user.links.set(node, link)
      turn.resolve()
      return true
    }
    return false
  }

  #forget(name: string, user: User, node: number, link: Link): void {
    if (link.running === 0 && link.waiting.length === 0 && user.links.get(node) === link) user.links.delete(node)
    if (user.links.size === 0 && this.#users.get(name) === user) this.#users.delete(name)
  }
}
