import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import type { LinkDirectory, LinkEvents, ListeningLink, SessionLink } from '../../ports/links.ts'
import type { PresenceMember } from '../../ports/presence.ts'
import { KeyedMutex } from '../../runtime/mutex.ts'
import { PendingWork } from '../../runtime/pendingWork.ts'
import type { ClusterMember, Polled } from './clusterMember.ts'
import type { ListenedMailbox } from './mailSteps.ts'
import { OtherMembers } from './otherMembers.ts'
import { PresenceFeed } from './presenceFeed.ts'
import { ignoreFailedStep } from './stepRetries.ts'
import { type ClusterLink, type ClusterSessionLink, linkBlockSize, type Notice, type Steps } from './steps.ts'

/** The time between two attempts to end a registration while the store is unreachable. */
const retryMs = 1_000
/** The number of a link at another server that has ended a link: it is not known here. */
const unknownNode = 0

/** A registration of this server in the shared store. */
interface ClusterRegistration {
  readonly link: ListeningLink
  readonly server: number
  /** Its number in the store. */
  readonly epoch: number
  /** As `ListenResult.handed`. */
  readonly handed: number
  /** The number of polls that had begun when the step returned. A later poll finds the registration, unless it has ended. */
  readonly sincePoll: number
  /** Another registration has replaced it, or it is being ended. */
  hasEnded: boolean
}

/** A link whose session has another link, or whose registration for a device was replaced. */
interface ReplacedLink extends Pick<ClusterLink, 'link'> {
  readonly why: 'superseded' | 'closed'
  readonly device: string
}

/** The links of a server of a cluster, and of the other servers. */
export class ClusterLinks implements LinkDirectory {
  readonly #member: ClusterMember
  readonly #feed: PresenceFeed
  readonly #others: OtherMembers
  /** By link and device (`keyOf`), until the store has recorded their end. */
  readonly #registrations = new Map<string, ClusterRegistration>()
  /** The links and devices whose registration is in progress. */
  readonly #listening = new Set<string>()
  /** Serializes the calls for each link. */
  readonly #calls = new KeyedMutex()
  readonly #pending = new PendingWork()
  #events: LinkEvents | undefined
  /** The servers that were alive at the latest poll. */
  #living: ReadonlySet<number> = new Set()
  #nextNode = 0
  /** Links with lower numbers ended when the server was declared dead. */
  #firstNode = 0
  /** The first number after the present block, and the next block. */
  #endNode = 0
  #nextBlock: number | undefined
  #isFetching = false

  /** The member must be open before `open` is called. */
  constructor(member: ClusterMember) {
    this.#member = member
    this.#feed = new PresenceFeed(member)
    this.#others = new OtherMembers(member, () => this.#events)
    member.listen({
      heard: (notice) => this.#heard(notice),
      polled: (found) => this.#polled(found),
      declaredDead: () => this.#declaredDead(),
    })
  }

  async open(): Promise<void> {
    this.#member.checkOpen()
    this.#nextNode = await this.#linkBlock()
    this.#endNode = this.#nextNode + linkBlockSize
  }

  watch(events: LinkEvents): Disposable {
    this.#events = events
    const dispose = () => {
      this.#events = undefined
    }
    return { [Symbol.dispose]: dispose }
  }

  nextNode(): number {
    if (this.#endNode - this.#nextNode < linkBlockSize / 2) this.#pending.track(this.#fetchBlock())
    if (this.#nextNode === this.#endNode) {
      if (this.#nextBlock === undefined)
        throw new OspError('overloaded', 'no link number is available, because the shared store does not answer')
      this.#nextNode = this.#nextBlock
      this.#endNode = this.#nextNode + linkBlockSize
      this.#nextBlock = undefined
    }
    return this.#nextNode++
  }

  async openSession(link: SessionLink, attempt: number): Promise<void> {
    const former = await this.#inOrder(link, () => this.#runAs(link, (steps, own) => steps.openSession(own, attempt)))
    this.#member.links.add(link.node)
    if (former) this.#endOther({ ...former, why: 'closed', device: '' }, link.node)
  }

  closeSession(link: SessionLink): void {
    const own = clusterLink(link, this.#member.server)
    this.#member.links.delete(link.node)
    // If this fails, the next link of the session replaces the entry.
    const closed = this.#inOrder(link, () => this.#member.run((steps) => steps.closeSession(own))).catch(
      ignoreFailedStep,
    )
    this.#pending.track(closed)
  }

  listen(link: ListeningLink): Promise<{ readonly handed: number }> {
    return this.#inOrder(link, async () => {
      if (this.#registrations.size + this.#others.size >= fixed.clientsMost) {
        throw new OspError('clients-full', `the presence list has ${fixed.clientsMost} clients, its maximum`)
      }
      const key = keyOf(link)
      this.#listening.add(key)
      try {
        const { epoch, handed, former, server } = await this.#runAs(link, async ({ mail }, own) => ({
          ...(await mail.listen({ ...own, device: link.device })),
          server: own.server,
        }))
        const sincePoll = this.#member.polls
        this.#registrations.set(key, { link, server, epoch, handed, sincePoll, hasEnded: false })
        this.#feed.add(link, true)
        if (former) this.#endOther({ ...former, why: 'superseded', device: link.device }, link.node)
        return { handed }
      } finally {
        this.#listening.delete(key)
      }
    })
  }

  unlisten(link: ListeningLink, handed: number): Promise<void> {
    return this.#inOrder(link, async () => {
      const registration = this.#registrations.get(keyOf(link))
      if (registration?.link.epoch !== link.epoch) return
      registration.hasEnded = true
      if (!this.#listensFurther(link)) this.#feed.add(link, false)
      const { server, epoch } = registration
      // If this server was declared dead, its registrations have ended already.
      while (this.#member.server === server && !this.#member.closing.aborted) {
        try {
          const highest = Math.max(handed, registration.handed)
          await this.#member.run(({ mail }) => mail.unlisten(link, epoch, highest))
          break
        } catch {
          await this.#member.wait(retryMs).catch(ignoreFailedStep)
        }
      }
      this.#registrations.delete(keyOf(link))
    })
  }

  /** Returns whether a link that was registered for a device now listens for another one. */
  #listensFurther({ node }: ListeningLink): boolean {
    return Array.from(this.#registrations.values()).some(({ link, hasEnded }) => link.node === node && !hasEnded)
  }

  /** Returns the number of a registration in the store, unless it has ended. */
  epochOf(link: ListeningLink): number | undefined {
    const registration = this.#registrations.get(keyOf(link))
    return registration?.link.epoch === link.epoch && !registration.hasEnded ? registration.epoch : undefined
  }

  others(): Iterable<PresenceMember> {
    return this.#others
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pending.settled()
  }

  /** Runs a step for a link under the number of this server. Rejects with `link-lost` if the link ended when that was given up. */
  #runAs<T>(link: SessionLink, step: (steps: Steps, own: ClusterSessionLink) => Promise<T>): Promise<T> {
    return this.#member.runAs((steps, server) => {
      if (link.node < this.#firstNode) throw new OspError('link-lost')
      return step(steps, clusterLink(link, server))
    })
  }

  #inOrder<T>({ node }: SessionLink, call: () => Promise<T>): Promise<T> {
    return this.#calls.run(`${node}`, call)
  }

  /** Ends a link, or its registration, that the link `by` of this server has replaced. */
  #endOther({ server, ...end }: ReplacedLink & ClusterLink, by: number): void {
    if (server === this.#member.server) this.#ended(end, by)
    else void this.#member.tell(server, { kind: 'ended', ...end })
  }

  #ended({ link: node, why, device }: ReplacedLink, by: number): void {
    if (why === 'superseded') this.#superseded({ node, device }, by)
    else {
      this.#member.links.delete(node)
      this.#events?.ended(node, 'link-replaced', by)
    }
  }

  /** Reports the end of a registration once, even if both a notification and a poll detect it. */
  #superseded(link: Pick<ListeningLink, 'node' | 'device'>, by: number): void {
    const { node } = link
    const key = keyOf(link)
    const registration = this.#registrations.get(key)
    if (registration ? registration.hasEnded : !this.#listening.has(key)) return
    if (registration) registration.hasEnded = true
    this.#events?.ended(node, 'superseded', by)
  }

  async #fetchBlock(): Promise<void> {
    if (this.#isFetching || this.#nextBlock !== undefined) return
    this.#isFetching = true
    try {
      this.#nextBlock = await this.#linkBlock()
    } catch (error) {
      ignoreFailedStep(error)
    } finally {
      this.#isFetching = false
    }
  }

  async #linkBlock(): Promise<number> {
    const linkBlock = await this.#member.run((steps) => steps.linkBlock())
    this.#member.seen.add({ linkBlock })
    return linkBlock
  }

  #heard(notice: Notice): void {
    if (notice.kind === 'ended') this.#ended({ ...notice, device: notice.device ?? '' }, unknownNode)
    if (notice.kind === 'presence') this.#pending.track(this.#others.refresh(notice.server, notice.version))
  }

  async #polled({ poll, listened, replaced, servers }: Polled): Promise<void> {
    // A notification may already have ended the link.
    for (const node of replaced)
      if (this.#member.links.has(node)) this.#ended({ link: node, why: 'closed', device: '' }, unknownNode)
    const present = new Map(listened.map(({ link: node, device, epoch }) => [keyOf({ node, device }), epoch]))
    for (const registration of this.#registrations.values()) {
      const { link, epoch, sincePoll, hasEnded } = registration
      if (hasEnded || sincePoll >= poll || present.get(keyOf(link)) === epoch) continue
      this.#superseded(link, unknownNode)
    }
    for (const mailbox of listened) await this.#endUnknown(mailbox)
    await this.#others.update(servers)
    const dead = servers.filter(({ isDead }) => isDead)
    const isLost = dead.some(({ server }) => this.#living.has(server))
    this.#living = new Set(servers.flatMap(({ server, isDead }) => (isDead ? [] : server)))
    if (isLost) this.#events?.serverLost()
  }

  /** Ends a registration that this server does not know, because the answer of the store was lost when it was made. */
  async #endUnknown(mailbox: ListenedMailbox): Promise<void> {
    const { link: node, device, epoch, lastSeq } = mailbox
    const key = keyOf({ node, device })
    // The server itself attends a mailbox without a link.
    if (node === 0 || this.#registrations.has(key) || this.#listening.has(key)) return
    await this.#member.run(({ mail }) => mail.unlisten(mailbox, epoch, lastSeq))
  }

  #declaredDead(): void {
    this.#firstNode = this.#nextNode
    this.#member.links.clear()
    // Their links end now. No other registration has replaced them.
    for (const registration of this.#registrations.values()) registration.hasEnded = true
    this.#feed.clear()
    this.#events?.declaredDead()
  }
}

const keyOf = ({ node, device }: Pick<ListeningLink, 'node' | 'device'>) => `${node}/${device}`

function clusterLink({ user, session, node }: SessionLink, server: number): ClusterSessionLink {
  return { server, link: node, user, session }
}
