import type { PresenceMember } from '../../ports/presence.ts'
import type { ClusterMember } from './clusterMember.ts'
import { ignoreFailedStep } from './stepRetries.ts'
import type { PresenceChange } from './steps.ts'

/** Changes within this time are stored in one step. */
const gatherMs = 50

/** Publishes the listening links of this server to the other servers. */
export class PresenceFeed {
  readonly #member: ClusterMember
  /** The pending changes, by link. */
  #waiting = new Map<number, PresenceChange>()
  #running: Promise<void> | undefined
  /** The server whose part was stored last, and the version of that part. */
  #server = 0
  #version = 0

  constructor(member: ClusterMember) {
    this.#member = member
  }

  add({ node: link, user }: PresenceMember, isHere: boolean): void {
    this.#waiting.set(link, { link, user, isHere })
    this.#running ??= this.#run()
  }

  /** Discards the pending changes after this server was declared dead. */
  clear(): void {
    this.#waiting.clear()
  }

  async #run(): Promise<void> {
    try {
      while (this.#waiting.size > 0) {
        await this.#present()
        await this.#member.wait(gatherMs)
      }
    } catch (error) {
      // The server has left the cluster, which removes its part of the list.
      ignoreFailedStep(error)
    } finally {
      this.#running = undefined
    }
  }

  /** Stores the pending changes. Repeats the step until its outcome is known, since the next one depends on the version. */
  async #present(): Promise<void> {
    const { server } = this.#member
    if (this.#server !== server) this.#version = 0
    this.#server = server
    const changes = Array.from(this.#waiting.values())
    this.#waiting = new Map()
    const after = this.#version
    while (this.#member.server === server) {
      try {
        this.#version = await this.#member.run((steps) => steps.present(server, after, changes))
        this.#member.seen.addOf(server, { presenceVersion: this.#version })
        await this.#member.tell('all', { kind: 'presence', server, version: this.#version })
        return
      } catch (error) {
        ignoreFailedStep(error)
        await this.#member.wait(gatherMs)
      }
    }
  }
}
