import { Multiset } from '../../core/multiset.ts'
import { OspError } from '../../errors.ts'
import type { Limits } from '../../limits.ts'

/** A connection as the rules of admission see it. */
export interface CountedConnection {
  /** The address or network that it is counted by. */
  readonly origin: string
  readonly connectedAtMs: number
  /** `waiting`: HELLO_REQ has not come; `judged`: its answer is not known; `ended`: only its socket is left. */
  readonly stage: 'silent' | 'authenticating' | 'open' | 'closed'
  /** Empty until the user is authenticated. */
  readonly user: string
  /** The user has shown a token or a certificate. */
  readonly proven: boolean
  /** It has an upload, or listens for messages. */
  readonly holds: boolean
  /** When it last asked for something. */
  readonly askedAtMs: number
  /** Ends it with this reason. Resolves when its socket is gone. */
  close(why: OspError): Promise<void>
  /** Ends it at once, without a word. */
  reset(why: OspError): void
}

type Bounds = Pick<Limits, 'links' | 'linksPerAddress' | 'linksPerUser' | 'pendingLinks' | 'retryAfterMs'>

/** Clients send HELLO_REQ as soon as they are connected: after this time a silent connection gives way first. */
const promptMs = 1_000

/**
 * The connections of a server, before and after HELLO. Each of the two groups has its own bound, so that strangers cannot
 * take the places of users. Where a bound is reached, a method returns the connection that gives way to the newcomer, or
 * the error for the newcomer if none must.
 */
export class ConnectionCounts {
  readonly #limits: Bounds
  /** Before HELLO_ACK. Those that connected first come first. */
  readonly #pending = new Set<CountedConnection>()
  readonly #pendingByOrigin = new Multiset()
  readonly #open = new Set<CountedConnection>()
  readonly #openByOrigin = new Multiset()
  readonly #openByUser = new Multiset()

  constructor(limits: Bounds) {
    this.#limits = limits
  }

  get pending(): number {
    return this.#pending.size
  }

  get open(): number {
    return this.#open.size
  }

  /** Counts a connection that has not sent HELLO_REQ. */
  add(connection: CountedConnection): void {
    this.#pending.add(connection)
    this.#pendingByOrigin.add(connection.origin)
  }

  /** Counts a connection as one of its user. */
  opened(connection: CountedConnection): void {
    this.remove(connection)
    this.#open.add(connection)
    this.#openByOrigin.add(connection.origin)
    this.#openByUser.add(connection.user)
  }

  /** Idempotent. */
  remove(connection: CountedConnection): void {
    const { origin, user } = connection
    if (this.#pending.delete(connection)) this.#pendingByOrigin.remove(origin)
    if (!this.#open.delete(connection)) return
    this.#openByOrigin.remove(origin)
    this.#openByUser.remove(user)
  }

  /** For a newcomer of this origin, before its HELLO. */
  roomBefore(origin: string, now: number): CountedConnection | OspError | undefined {
    const { pendingLinks } = this.#limits
    if (this.#pending.size < pendingLinks) return undefined
    const ended = findEnded(this.#pending)
    if (ended) return ended
    const own = this.#pendingByOrigin.of(origin)
    const silent = [...this.#pending].filter(({ stage }) => stage === 'silent')
    const late = silent.filter(({ connectedAtMs }) => connectedAtMs + promptMs <= now)
    const victim = this.#ofFullestOrigin(late, 0) ?? this.#ofFullestOrigin(silent, own)
    // A HELLO_REQ that is being judged gives way only to an origin that has clearly fewer connections.
    const judged = victim ?? this.#ofFullestOrigin(this.#pending, own + 2)
    return judged ?? this.#refused(`the server has ${pendingLinks} links that have not said HELLO, as many as it takes`)
  }

  /** For a connection whose HELLO_REQ is valid. */
  roomAfter(newcomer: CountedConnection): CountedConnection | OspError | undefined {
    const { links, linksPerAddress, linksPerUser } = this.#limits
    const { user, origin } = newcomer
    if (this.#openByUser.of(user) >= linksPerUser) {
      const own = [...this.#open].filter((other) => other.user === user)
      return findEnded(own) ?? this.#refused(`${user} has ${linksPerUser} links, as many as the server allows one user`)
    }
    if (this.#openByOrigin.of(origin) >= linksPerAddress) {
      const there = [...this.#open].filter((other) => other.origin === origin)
      const text = `the server has ${linksPerAddress} links from ${origin}, as many as it takes from one address`
      return unfair(there, newcomer) ?? this.#refused(text)
    }
    if (this.#open.size < links) return undefined
    return unfair([...this.#open], newcomer) ?? this.#refused(`the server has ${links} links, as many as it takes`)
  }

  /** The first of `connections` from the origin that has the most connections before HELLO, if that has `least` or more. */
  #ofFullestOrigin(connections: Iterable<CountedConnection>, least: number): CountedConnection | undefined {
    let fullest: CountedConnection | undefined
    let most = Math.max(0, least - 1)
    for (const connection of connections) {
      const count = this.#pendingByOrigin.of(connection.origin)
      if (count <= most) continue
      most = count
      fullest = connection
    }
    return fullest
  }

  #refused(text: string): OspError {
    return new OspError('rate-limited', text, { retryAfterMs: this.#limits.retryAfterMs })
  }
}

function findEnded(connections: Iterable<CountedConnection>): CountedConnection | undefined {
  for (const connection of connections) if (connection.stage === 'closed') return connection
  return undefined
}

/**
 * The connection that gives way to `newcomer` where `connections` take all places: one of the user that has the most, if
 * the newcomer's user has fewer even with the newcomer. Names that were not proven can be chosen at will, so among those the
 * origin counts as well.
 */
function unfair(connections: readonly CountedConnection[], newcomer: CountedConnection): CountedConnection | undefined {
  const ended = findEnded(connections)
  if (ended) return ended
  const ofUser = ofFullest(connections, ({ user }) => user, newcomer.user)
  if (ofUser) return leastUsed(ofUser)
  const unproven = connections.filter(({ proven }) => !proven)
  const ofOrigin = ofFullest(unproven, ({ origin }) => origin, newcomer.proven ? undefined : newcomer.origin)
  return ofOrigin && leastUsed(ofOrigin)
}

/** Those of the key that has the most, if that is at least two more than the newcomer's key has. */
function ofFullest(
  connections: readonly CountedConnection[],
  keyOf: (connection: CountedConnection) => string,
  own: string | undefined,
): readonly CountedConnection[] | undefined {
  const groups = new Map<string, CountedConnection[]>()
  for (const connection of connections) {
    const group = groups.get(keyOf(connection))
    if (group) group.push(connection)
    else groups.set(keyOf(connection), [connection])
  }
  const least = (own === undefined ? 0 : (groups.get(own)?.length ?? 0)) + 2
  let fullest: CountedConnection[] | undefined
  for (const group of groups.values()) {
    if (group.length >= Math.max(least, (fullest?.length ?? 0) + 1)) fullest = group
  }
  return fullest
}

/** One that holds nothing before one that does; of those the one that has asked nothing for the longest time. */
function leastUsed(connections: readonly CountedConnection[]): CountedConnection | undefined {
  let least: CountedConnection | undefined
  for (const connection of connections) {
    const isLess =
      !least ||
      (connection.holds === least.holds ? connection.askedAtMs < least.askedAtMs : !connection.holds && least.holds)
    if (isLess) least = connection
  }
  return least
}
