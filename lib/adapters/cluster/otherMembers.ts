import type { LinkEvents } from '../../ports/links.ts'
import type { PresenceMember } from '../../ports/presence.ts'
import { KeyedMutex } from '../../runtime/mutex.ts'
import type { ClusterMember } from './clusterMember.ts'
import { ignoreFailedStep } from './stepRetries.ts'
import type { PresenceChange, ServerState } from './steps.ts'

/** The part of another server in the presence list, as it was last read. */
interface Part {
  version: number
  /** The links that listen. */
  readonly members: Map<number, PresenceMember>
}

/** The links that listen at other servers. */
export class OtherMembers implements Iterable<PresenceMember> {
  readonly #member: ClusterMember
  readonly #events: () => LinkEvents | undefined
  readonly #parts = new Map<number, Part>()
  /** Serializes the reads for each server. */
  readonly #turns = new KeyedMutex()
  size = 0

  constructor(member: ClusterMember, events: () => LinkEvents | undefined) {
    this.#member = member
    this.#events = events
  }

  *[Symbol.iterator](): Iterator<PresenceMember> {
    for (const { members } of this.#parts.values()) yield* members.values()
  }

  /** Reads the changes of all live servers, and removes the members of all other servers. */
  async update(servers: readonly ServerState[]): Promise<void> {
    const living = new Map(servers.map((state) => [state.server, state.isDead ? undefined : state]))
    for (const server of this.#parts.keys()) if (!living.get(server)) this.#remove(server)
    for (const state of living.values()) if (state) await this.refresh(state.server, state.presenceVersion)
  }

  /** Reads the changes of a server up to this version. The next poll repeats a failed attempt. */
  async refresh(server: number, version: number): Promise<void> {
    if (server === this.#member.server) return
    try {
      await this.#turns.run(`${server}`, () => this.#read(server, version))
    } catch (error) {
      ignoreFailedStep(error)
    }
  }

  async #read(server: number, version: number): Promise<void> {
    const after = this.#parts.get(server)?.version ?? 0
    if (version <= after) return
    const found = await this.#member.run((steps) => steps.presence(server, after))
    const part = this.#parts.get(server) ?? { version: 0, members: new Map() }
    this.#parts.set(server, part)
    part.version = found.version
    if (found.isWhole) this.#keep(part, new Set(found.changes.map(({ link }) => link)))
    for (const change of found.changes) this.#apply(part, change)
  }

  /** Removes the members that are not among these links. */
  #keep(part: Part, links: ReadonlySet<number>): void {
    for (const { node, user } of part.members.values()) {
      if (!links.has(node)) this.#apply(part, { link: node, user, isHere: false })
    }
  }

  #apply({ members }: Part, { link: node, user, isHere }: PresenceChange): void {
    if (members.has(node) === isHere) return
    const member = { node, user }
    if (isHere) members.set(node, member)
    else members.delete(node)
    this.size += isHere ? 1 : -1
    if (isHere) this.#events()?.here(member)
    else this.#events()?.gone(member)
  }

  #remove(server: number): void {
    const part = this.#parts.get(server)
    if (part) this.#keep(part, new Set())
    this.#parts.delete(server)
  }
}
