import { OspError } from '../../errors.ts'
import { KeyedMutex } from '../../runtime/mutex.ts'
import type { ClusterLink, ClusterSessionLink, SessionSteps } from '../cluster/steps.ts'
import type { SharedServers } from './sharedServers.ts'

/** The link of a session. */
interface SessionEntry extends ClusterLink {
  readonly user: string
  readonly attempt: number
  /** Increases with each link that is opened. */
  readonly opened: number
}

/** The links of sessions in a shared store in memory. */
export class SharedSessions implements SessionSteps {
  readonly #servers: SharedServers
  readonly #links = new Map<string, SessionEntry>()
  #opened = 0
  /** Runs the steps of one user one after another, so that none takes effect while a claim is decided. */
  readonly turns = new KeyedMutex()

  constructor(servers: SharedServers) {
    this.#servers = servers
  }

  /** Returns whether this link is that of its session. */
  has(link: ClusterSessionLink): boolean {
    const present = this.#links.get(sessionKey(link))
    return present !== undefined && isSameLink(present, link)
  }

  /** Returns the links of a server that are the current links of their sessions. */
  linksOf(server: number): ReadonlySet<number> {
    const links = Array.from(this.#links.values())
    return new Set(links.flatMap((entry) => (entry.server === server ? [entry.link] : [])))
  }

  /** Returns the number with which a link was opened, if it is that of its session. */
  openedOf(link: ClusterSessionLink): number | undefined {
    return this.has(link) ? this.#links.get(sessionKey(link))?.opened : undefined
  }

  /** Returns whether a session of this user has a link that was opened with a lower number. */
  hasOlder(user: string, opened: number): boolean {
    return Array.from(this.#links.values()).some((link) => link.user === user && link.opened < opened)
  }

  /** Throws OspError `link-lost` unless this link is the link of its session. */
  check(by: ClusterSessionLink): void {
    if (!this.#links.has(sessionKey(by))) throw new OspError('link-lost', `the session of ${by.user} has no link`)
    this.checkNotReplaced(by)
  }

  /** Throws OspError `link-lost` if the session has another link. */
  checkNotReplaced(by: ClusterSessionLink): void {
    const present = this.#links.get(sessionKey(by))
    if (!present || isSameLink(present, by)) return
    throw new OspError('link-lost', `a newer link of the same program of ${by.user} has replaced this one`)
  }

  openSession(link: ClusterSessionLink, attempt: number): Promise<ClusterLink | undefined> {
    return this.turns.run(link.user, async () => {
      if (this.#servers.isDead(link.server)) throw new OspError('link-lost', 'this server was declared dead')
      const former = this.#links.get(sessionKey(link))
      const isOther = former !== undefined && !isSameLink(former, link)
      if (isOther && former.attempt > attempt) throw new OspError('link-replaced')
      const { user, server, link: number } = link
      this.#links.set(sessionKey(link), { user, server, link: number, attempt, opened: ++this.#opened })
      return isOther ? { server: former.server, link: former.link } : undefined
    })
  }

  closeSession(link: ClusterSessionLink): Promise<void> {
    return this.turns.run(link.user, async () => {
      const present = this.#links.get(sessionKey(link))
      if (present && isSameLink(present, link)) this.#links.delete(sessionKey(link))
    })
  }

  /** Returns a function that restores the current state. */
  saved(): () => void {
    const links = [...this.#links]
    const opened = this.#opened
    return () => {
      this.#links.clear()
      for (const [key, link] of links) this.#links.set(key, link)
      this.#opened = opened
    }
  }

  /** Removes the links of a dead server from their sessions. */
  died(server: number): void {
    for (const [key, link] of this.#links) if (link.server === server) this.#links.delete(key)
  }
}

const sessionKey = ({ user, session }: ClusterSessionLink) => `${user}\0${session}`

const isSameLink = (a: ClusterLink, b: ClusterLink) => a.server === b.server && a.link === b.link
