import { KeyedTokenBuckets } from '../../core/keyedTokenBuckets.ts'
import { TokenBucket } from '../../core/tokenBucket.ts'
import { WindowCounter } from '../../core/windowCounter.ts'
import { OspError } from '../../errors.ts'
import { clientLimits, type Limits } from '../../limits.ts'
import { originOf } from '../../origins.ts'
import type { Clock } from '../../ports/platform.ts'
import type { Socket } from '../../ports/socket.ts'
import { goodbyeOf } from '../../runtime/refusal.ts'
import { encode } from '../../wire/message.ts'
import { apps, events, version } from '../../wire/protocol.ts'
import type { BoundedLog, Refused } from '../serverLog.ts'
import type { ServerGauges } from '../status.ts'
import { ConnectionCounts, type CountedConnection } from './connectionCounts.ts'

/** An origin is busy if it sends more HELLOs in this time than this part of those that are judged in a second. */
const recentMs = 60_000
const busyPart = 8
const leastBusy = 10

/** Decides which connections the server keeps, and how often a client may try to log in. */
export class Admission {
  readonly #clock: Clock
  readonly #limits: Limits
  readonly #counts: ConnectionCounts
  readonly #rejected: RejectedConnections
  readonly #turnstile: TokenBucket
  /** For origins that send many HELLOs, or wrong ones, so that they take no turns of the others. */
  readonly #busyOrigins: TokenBucket
  readonly #recent: WindowCounter
  /** Of each origin: half of what comes in, so that none keeps the others out. */
  readonly #byOrigin: KeyedTokenBuckets
  readonly #failed: FailedLoginLimiter
  readonly #log: BoundedLog

  constructor(limits: Limits, clock: Clock, log: BoundedLog) {
    this.#clock = clock
    this.#limits = limits
    this.#counts = new ConnectionCounts(limits)
    this.#rejected = new RejectedConnections(limits.refusedLinks)
    const { hellosPerSecond, rememberedAddresses } = limits
    // Nobody is told to stay away for longer than a client waits by itself.
    const { reconnectMostMs: mostMs } = clientLimits
    this.#turnstile = new TokenBucket(hellosPerSecond, mostMs, clock.now())
    this.#busyOrigins = new TokenBucket(Math.max(1, hellosPerSecond / 2), mostMs, clock.now())
    this.#byOrigin = new KeyedTokenBuckets(Math.max(1, hellosPerSecond / 2), mostMs, rememberedAddresses)
    this.#recent = new WindowCounter(recentMs, rememberedAddresses)
    this.#failed = new FailedLoginLimiter(limits, clock)
    this.#log = log
  }

  /** Connections that have been let in. */
  get open(): number {
    return this.#counts.open
  }

  /** Makes room for a new connection. Returns false if there is none: the socket is closed then. */
  enter(socket: Socket): boolean {
    const { host: from } = socket.peer
    const origin = originOf(from)
    const room = this.#counts.roomBefore(origin, this.#clock.now())
    if (room instanceof OspError) {
      this.#log.refused(origin, { from }, room)
      void this.#rejected.add({ close: () => socket.close(goodbyeFrame(room)), destroy: () => socket.destroy() })
      return false
    }
    if (room) this.#dismiss(room, 'the link has not said HELLO, and the server needs its place for another one')
    return true
  }

  /** Counts a connection for which `enter` made room. */
  add(connection: CountedConnection): void {
    this.#counts.add(connection)
  }

  /** Counts a connection as one of its user. Throws OspError `rate-limited` if there is no room for it. */
  letIn(connection: CountedConnection): void {
    const room = this.#counts.roomAfter(connection)
    if (room instanceof OspError) throw room
    if (room) this.#dismiss(room, `${room.user} has most of the links, and the server needs one for another user`)
    this.#counts.opened(connection)
  }

  /** The socket of a connection is gone. */
  left(connection: CountedConnection): void {
    this.#counts.remove(connection)
  }

  /** Throws OspError `rate-limited` where a HELLO_REQ comes too early. */
  checkRate(origin: string): void {
    const now = this.#clock.now()
    const isBusy = this.#recent.add(origin, now) > Math.max(leastBusy, this.#limits.hellosPerSecond / busyPart)
    const common = isBusy || this.#failed.hasFailed(origin) ? this.#busyOrigins : this.#turnstile
    const retryAfterMs = this.#byOrigin.take(origin, now) || common.take(now)
    if (retryAfterMs > 0) throw new OspError('rate-limited', 'too many clients come at once', { retryAfterMs })
  }

  /** What a HELLO_REQ is told that was refused for `why`. It is logged, unless there were many from there. */
  refusal(origin: string, refused: Required<Refused>, why: OspError): OspError {
    const told = this.#failed.answer(origin, refused.user, why)
    this.#log.refused(origin, refused, told)
    return told
  }

  get gauges(): Pick<ServerGauges, 'links' | 'pendingLinks' | 'rejectedLinks' | 'rememberedAddresses'> {
    const remembered = [this.#byOrigin.size, this.#recent.size, this.#failed.remembered, this.#log.remembered]
    return {
      links: this.#counts.open,
      pendingLinks: this.#counts.pending,
      rejectedLinks: this.#rejected.size,
      rememberedAddresses: Math.max(...remembered),
    }
  }

  /** Waits no more for rejected connections. */
  close(): void {
    this.#rejected.end()
  }

  /** Ends a connection in favour of another one. */
  #dismiss(connection: CountedConnection, text: string): void {
    this.#counts.remove(connection)
    const why = new OspError('rate-limited', text, { retryAfterMs: this.#limits.retryAfterMs })
    const { origin, stage } = connection
    const destroy = () => connection.reset(why)
    // One that has ended only waits for its peer to close the socket.
    if (stage === 'closed') destroy()
    else void this.#rejected.add({ close: () => connection.close(why), destroy })
    if (stage === 'silent' || stage === 'authenticating') this.#log.refused(origin, { from: origin }, why)
  }
}

function goodbyeFrame(why: OspError) {
  const { number: event, app } = events.GoodbyeNtf
  return { version, flags: 0, event, seq: 0, app: apps[app], instance: 0, payload: encode(goodbyeOf(why)) }
}

/** A connection that the server does not keep. */
export interface Rejected {
  /** Tells it why and closes it. Resolves when it is gone. */
  close(): Promise<void>
  /** Closes it at once. */
  destroy(): void
}

/** Connections that are told why the server does not keep them, up to a bound; further ones are closed without a word. */
export class RejectedConnections {
  readonly #most: number
  readonly #leaving = new Set<Rejected>()

  constructor(most: number) {
    this.#most = most
  }

  /** Those that have not gone yet. */
  get size(): number {
    return this.#leaving.size
  }

  async add(connection: Rejected): Promise<void> {
    if (this.#leaving.size >= this.#most) return connection.destroy()
    this.#leaving.add(connection)
    await connection.close()
    this.#leaving.delete(connection)
  }

  /** Waits for none of them any more. */
  end(): void {
    for (const connection of this.#leaving) connection.destroy()
  }
}

const spanMs = 60_000

type Bounds = Pick<Limits, 'failedHellosPerAddress' | 'failedHellosPerUser' | 'rememberedAddresses'>

/**
 * Bounds how often HELLOs that fail are told why: from one origin, and as one user from one origin. It keeps out nobody who
 * comes with what holds: by such a bound strangers, or a program of the user's own, could lock that user out.
 */
export class FailedLoginLimiter {
  readonly #limits: Bounds
  readonly #clock: Clock
  readonly #byOrigin: WindowCounter
  readonly #byUser: WindowCounter

  constructor(limits: Bounds, clock: Clock) {
    this.#limits = limits
    this.#clock = clock
    this.#byOrigin = new WindowCounter(spanMs, limits.rememberedAddresses)
    this.#byUser = new WindowCounter(spanMs, limits.rememberedAddresses)
  }

  /** Addresses, or users of addresses, that are remembered: whichever are more. */
  get remembered(): number {
    return Math.max(this.#byOrigin.size, this.#byUser.size)
  }

  /** Whether a HELLO from this origin has failed lately. */
  hasFailed(origin: string): boolean {
    return this.#byOrigin.of(origin, this.#clock.now()).number > 0
  }

  /** What a HELLO that was refused for `why` is told: that, or `rate-limited` where too many have failed. */
  answer(origin: string, user: string, why: OspError): OspError {
    // What passes by itself is no failure of who came.
    if (why.retry !== 'never') return why
    const now = this.#clock.now()
    const { failedHellosPerAddress, failedHellosPerUser } = this.#limits
    const counts = [{ recent: this.#byOrigin, key: origin, most: failedHellosPerAddress, who: 'too many have' }]
    // No user name that is looked up has a slash.
    if (why.code === 'unauthorized') {
      counts.push({
        recent: this.#byUser,
        key: `${user}/${origin}`,
        most: failedHellosPerUser,
        who: `${user} has too often`,
      })
    }
    let longest = { who: '', leftMs: 0 }
    for (const { recent, key, most, who } of counts) {
      const { number, leftMs } = recent.of(key, now)
      if (number >= most && leftMs > longest.leftMs) longest = { who, leftMs }
    }
    if (longest.leftMs > 0) return tooMany(longest.who, origin, longest.leftMs)
    for (const { recent, key } of counts) recent.add(key, now)
    return why
  }
}

/** Is told to who came, and logged: so it names the address, and says how long it lasts. */
function tooMany(who: string, origin: string, retryAfterMs: number): OspError {
  const text = `${who} failed to come in from ${origin}; try again in ${Math.ceil(retryAfterMs / 1_000)} s`
  return new OspError('rate-limited', text, { retryAfterMs })
}
