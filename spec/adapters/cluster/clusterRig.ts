import { ClusterLinks } from '../../../lib/adapters/cluster/clusterLinks.ts'
import { ClusterMailboxes } from '../../../lib/adapters/cluster/clusterMailboxes.ts'
import { ClusterMember } from '../../../lib/adapters/cluster/clusterMember.ts'
import type { Steps } from '../../../lib/adapters/cluster/steps.ts'
import { MemorySharedStore } from '../../../lib/adapters/memory/sharedStore.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { Log, LogEntry } from '../../../lib/ports/log.ts'
import { pass, turn } from '../../support/turn.ts'
import { VirtualClock } from '../../support/virtualClock.ts'
import type { SharedDirectory } from './sharedDirectory.ts'

/** Servers that share a store in memory, with a clock that advances on request. */
export class ClusterRig implements AsyncDisposable {
  readonly clock = new VirtualClock()
  readonly platform = { ...nodePlatform(), clock: this.clock }
  readonly store = new MemorySharedStore(this.platform)
  readonly #members: AsyncDisposable[] = []

  /** Adds a server, whose steps `alter` can change. */
  async member(alter: (steps: Steps) => Steps = (steps) => steps, log?: Log): Promise<ClusterMember> {
    const member = new ClusterMember(alter(this.store.steps()), { name: 'a', version: '3', address: '' }, log)
    this.#members.push(member)
    return member
  }

  /** Adds a server. `seen` gets the events of its directory of links as texts. */
  async server(alter?: (steps: Steps) => Steps) {
    const seen: string[] = []
    const logged: LogEntry[] = []
    const member = await this.member(alter, (entry) => logged.push(entry))
    const links = new ClusterLinks(member)
    const mailboxes = new ClusterMailboxes(member, links)
    links.watch({
      here: ({ node, user }) => seen.push(`here ${user} ${node}`),
      gone: ({ node, user }) => seen.push(`gone ${user} ${node}`),
      ended: (node, reason, by) => seen.push(`${node} ${reason} by ${by}`),
      serverLost: () => seen.push('a server is lost'),
      declaredDead: () => seen.push('declared dead'),
    })
    await this.passing(member.open(this.platform))
    await this.passing(links.open())
    return { member, links, mailboxes, seen, logged }
  }

  /** Adds a server that also shares a directory of files. `ended` gets the claims that other servers have ended, as texts. */
  async fileServer(directory: SharedDirectory, alter: (steps: Steps) => Steps = (steps) => steps) {
    const storage = directory.storage(alter(this.store.steps()))
    this.#members.push(storage)
    const ended: string[] = []
    storage.transfers.watch(({ user, name }, reason) => ended.push(`${user} ${name} ${reason}`))
    await this.passing(storage.open(this.platform))
    await this.passing(storage.links.open())
    return { storage, ended, transfers: storage.transfers, files: storage.files, links: storage.links }
  }

  /** Advances the clock until `work` has settled. */
  async passing<T>(work: PromiseLike<T>): Promise<T> {
    let isSettled = false
    const settled = () => {
      isSettled = true
    }
    work.then(settled, settled)
    for (await turn(); !isSettled; ) await pass(this.clock, 10)
    return work
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const member of this.#members) await this.passing(member[Symbol.asyncDispose]())
  }
}
