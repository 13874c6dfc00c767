import { Multiset } from '../../core/multiset.ts'
import { OspError } from '../../errors.ts'
import type { Limits } from '../../limits.ts'
import type { Session } from './session.ts'

type Bounds = Pick<Limits, 'links' | 'linksPerAddress' | 'linksPerUser' | 'pendingLinks' | 'retryAfterMs'>

/** Clients send HELLO_REQ as soon as they are connected. A link that is silent for longer is the first to be closed. */
const promptMs = 1_000

/**
 * The links of a server, before and after HELLO. Each of the two groups has its own limit, so that strangers cannot use up
 * the links of users. If a limit is reached, a method returns the link to close for a new one, or the error for the new one.
 */
export class ConnectionCounts {
  readonly #limits: Bounds
  /** Links before HELLO_ACK, in the order in which they connected. */
  readonly #pending = new Set<Session>()
  readonly #pendingByOrigin = new Multiset()
  readonly #open = new Set<Session>()
  readonly #openByOrigin = new Multiset()
  readonly #openByUser = new Multiset()

  constructor(limits: Bounds) {
    this.#limits = limits
  }

  /** Number of links before HELLO_ACK. */
  get pending(): number {
    return this.#pending.size
  }

  /** Number of logged-in links. */
  get open(): number {
    return this.#open.size
  }

  /** Counts a link that has not sent HELLO_REQ. */
  add(link: Session): void {
    this.#pending.add(link)
    this.#pendingByOrigin.add(link.origin)
  }

  /** Counts a link as one of its user. */
  opened(link: Session): void {
    this.remove(link)
    this.#open.add(link)
    this.#openByOrigin.add(link.origin)
    this.#openByUser.add(link.user)
  }

  /** Stops counting a link. Idempotent. */
  remove(link: Session): void {
    if (this.#pending.delete(link)) this.#pendingByOrigin.remove(link.origin)
    if (!this.#open.delete(link)) return
    this.#openByOrigin.remove(link.origin)
    this.#openByUser.remove(link.user)
  }

  /** Makes room for a new link of this origin, before its HELLO. */
  roomBefore(origin: string, now: number): Session | OspError | undefined {
    const { pendingLinks } = this.#limits
    if (this.#pending.size < pendingLinks) return undefined
    const pending = [...this.#pending]
    const own = this.#pendingByOrigin.of(origin)
    const silent = pending.filter(({ stage }) => stage === 'silent')
    const late = silent.filter(({ connectedAtMs }) => connectedAtMs + promptMs <= now)
    return (
      pending.find(isClosed) ??
      this.#ofFullestOrigin(late, 0) ??
      this.#ofFullestOrigin(silent, own) ??
      // A link that is being authenticated is closed only for an origin with clearly fewer links.
      this.#ofFullestOrigin(pending, own + 2) ??
      this.#refused(`the server already has ${pendingLinks} links that have not sent HELLO, its maximum`)
    )
  }

  /** Makes room for a link whose HELLO_REQ is valid. */
  roomAfter(newcomer: Session): Session | OspError | undefined {
    const { links, linksPerAddress, linksPerUser } = this.#limits
    const { user, origin } = newcomer
    if (this.#openByUser.of(user) >= linksPerUser) {
      const closed = [...this.#open].find((other) => other.user === user && isClosed(other))
      return closed ?? this.#refused(`${user} already has ${linksPerUser} links, the maximum for one user`)
    }
    if (this.#openByOrigin.of(origin) >= linksPerAddress) {
      const text = `the server already has ${linksPerAddress} links from ${origin}, the maximum for one address`
      const ofOrigin = [...this.#open].filter((other) => other.origin === origin)
      return dispensable(ofOrigin, newcomer) ?? this.#refused(text)
    }
    if (this.#open.size < links) return undefined
    return dispensable([...this.#open], newcomer) ?? this.#refused(`the server already has ${links} links, its maximum`)
  }

  /** Returns the first of `links` from the origin with the most links before HELLO, if it has at least `least`. */
  #ofFullestOrigin(links: readonly Session[], least: number): Session | undefined {
    const counts = links.map(({ origin }) => this.#pendingByOrigin.of(origin))
    const most = counts.reduce((highest, count) => Math.max(highest, count), Math.max(least, 1))
    return links[counts.indexOf(most)]
  }

  #refused(text: string): OspError {
    return new OspError('rate-limited', text, { retryAfterMs: this.#limits.retryAfterMs })
  }
}

const isClosed = ({ stage }: Session) => stage === 'closed'

/**
 * Returns which of too many `links` to close for `newcomer`: one of the user with the most, if the newcomer's user has fewer
 * even with it. A client can choose an unproven name at will, so among links of unproven users the origin counts as well.
 */
function dispensable(links: readonly Session[], newcomer: Session): Session | undefined {
  const unproven = links.filter(({ proven }) => !proven)
  return (
    links.find(isClosed) ??
    leastUsed(ofFullest(links, ({ user }) => user, newcomer.user)) ??
    leastUsed(ofFullest(unproven, ({ origin }) => origin, newcomer.proven ? undefined : newcomer.origin))
  )
}

/** Returns the links of the key with the most, if it has at least two more than the newcomer's key `own`. */
function ofFullest(links: readonly Session[], keyOf: (link: Session) => string, own?: string): readonly Session[] {
  const groups = new Map<string | undefined, Session[]>()
  for (const link of links) {
    const group = groups.get(keyOf(link)) ?? []
    group.push(link)
    groups.set(keyOf(link), group)
  }
  const none: readonly Session[] = []
  const fullest = [...groups.values()].reduce((most, group) => (group.length > most.length ? group : most), none)
  return fullest.length >= (groups.get(own)?.length ?? 0) + 2 ? fullest : none
}

/** Returns a link that holds nothing, or else any, without a request for the longest time. */
function leastUsed(links: readonly Session[]): Session | undefined {
  return links.reduce<Session | undefined>((least, link) => {
    if (!least || (link.holds === least.holds ? link.askedAtMs < least.askedAtMs : least.holds)) return link
    return least
  }, undefined)
}
