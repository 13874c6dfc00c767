import type { ClusterMember } from './clusterMember.ts'
import type { Wake } from './mailSteps.ts'

/** The maximum number of mailboxes in one notification. If there are more, one notification of kind `unknown` is sent instead. */
const mostUsers = 1_000

/**
 * Notifies other servers of new messages. Sends one notification to a server at a time. Mailboxes that are added meanwhile are
 * sent together in the next one.
 */
export class WakeUps {
  readonly #member: Pick<ClusterMember, 'tell'>
  /** The pending mailboxes, by server. A server with an empty set is being notified. */
  readonly #waiting = new Map<Wake['server'] | 'all', Set<string>>()

  constructor(member: Pick<ClusterMember, 'tell'>) {
    this.#member = member
  }

  add(wakes: readonly (Omit<Wake, 'server'> & { readonly server: Wake['server'] | 'all' })[]): void {
    for (const { server, user } of wakes) {
      const waiting = this.#waiting.get(server)
      if (waiting) waiting.add(user)
      else {
        this.#waiting.set(server, new Set([user]))
        void this.#notify(server)
      }
    }
  }

  async #notify(server: Wake['server'] | 'all'): Promise<void> {
    // Waits for further wakes in the same turn, which are sent together.
    await Promise.resolve()
    for (let users = this.#waiting.get(server); users && users.size > 0; users = this.#waiting.get(server)) {
      this.#waiting.set(server, new Set())
      const isMany = users.size > mostUsers
      await this.#member.tell(server, isMany ? { kind: 'unknown' } : { kind: 'mail', users: [...users] })
    }
    this.#waiting.delete(server)
  }
}
