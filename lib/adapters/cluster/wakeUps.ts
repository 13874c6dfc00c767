import type { ClusterMember } from './clusterMember.ts'
import type { Wake } from './steps.ts'

/** The maximum number of mailboxes in one notification. More become one notification about all. */
const mostUsers = 1_000

/** Notifies other servers of new messages. One notification of a server is under way at a time; later ones are gathered. */
export class WakeUps {
  readonly #member: Pick<ClusterMember, 'tell'>
  /** The mailboxes that wait, by server. A server with an empty set is being notified. */
  readonly #waiting = new Map<number, Set<string>>()

  constructor(member: Pick<ClusterMember, 'tell'>) {
    this.#member = member
  }

  add(wakes: readonly Wake[]): void {
    for (const { server, user } of wakes) {
      const waiting = this.#waiting.get(server)
      if (waiting) waiting.add(user)
      else {
        this.#waiting.set(server, new Set([user]))
        void this.#notify(server)
      }
    }
  }

  async #notify(server: number): Promise<void> {
    // Wakes that are added in the same turn belong together.
    await Promise.resolve()
    for (let users = this.#waiting.get(server); users && users.size > 0; users = this.#waiting.get(server)) {
      this.#waiting.set(server, new Set())
      const isMany = users.size > mostUsers
      await this.#member.tell(server, isMany ? { kind: 'unknown' } : { kind: 'mail', users: [...users] })
    }
    this.#waiting.delete(server)
  }
}
