import type { LinkEvents, ListeningLink } from '../../lib/ports/links.ts'
import type { PresenceMember } from '../../lib/ports/presence.ts'
import { LocalLinks } from '../../lib/server/connections/localLinks.ts'
import { turn } from './turn.ts'

/** A directory with other servers, which a spec simulates, and whose calls can be held back. */
export class OtherServers extends LocalLinks {
  /** The events of the server. */
  events!: LinkEvents
  /** Calls of `listen` and `unlisten`, in the order in which they took effect. */
  readonly calls: string[] = []
  /** The seq up to which another server has sent messages. */
  handed = 0
  members: readonly PresenceMember[] = []
  /** Holds back the calls of `openSession`, `listen` and `unlisten` until `go`. */
  isHeld = false
  /** Rejects the next `listen`. */
  fault: Error | undefined
  readonly #held: (() => void)[] = []

  override watch(events: LinkEvents): Disposable {
    this.events = events
    return super.watch(events)
  }

  /** Number of calls that are held back. */
  get waiting(): number {
    return this.#held.length
  }

  /** Lets the calls that are held back take effect, and waits for the consequences. */
  async go(): Promise<void> {
    this.isHeld = false
    for (const go of this.#held.splice(0)) go()
    await turn()
  }

  override async openSession(...args: Parameters<LocalLinks['openSession']>): Promise<void> {
    await this.#pass()
    return super.openSession(...args)
  }

  override async listen(link: ListeningLink): Promise<{ readonly handed: number }> {
    await this.#pass()
    const { fault } = this
    this.fault = undefined
    if (fault) throw fault
    const { handed } = await super.listen(link)
    this.calls.push(`listen ${link.node}`)
    return { handed: Math.max(handed, this.handed) }
  }

  override async unlisten(link: ListeningLink, handed: number): Promise<void> {
    await this.#pass()
    this.calls.push(`unlisten ${link.node} ${handed}`)
    return super.unlisten(link, handed)
  }

  override others(): Iterable<PresenceMember> {
    return this.members
  }

  async #pass(): Promise<void> {
    if (this.isHeld) await new Promise<void>((go) => this.#held.push(go))
  }
}
