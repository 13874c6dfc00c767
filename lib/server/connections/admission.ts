import { KeyedTokenBuckets, TokenBucket } from '../../core/tokenBucket.ts'
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

/** An origin is busy if it sends more HELLOs in `recentMs` than `leastBusy` and `hellosPerSecond / busyPart`. */
const recentMs = 60_000
const busyPart = 8
const leastBusy = 10

/** Decides which connections the server keeps, and how often a client may try to log in. */
export class Admission {
  readonly #clock: Clock
  readonly #limits: Limits
  readonly #counts: ConnectionCounts
  readonly #rejected: RejectedConnections
  readonly #hellos: TokenBucket
  /** For origins that send many HELLOs, or invalid ones, so that they do not use up the rate of the others. */
  readonly #busyOrigins: TokenBucket
  readonly #recent: WindowCounter
  /** Limits each origin to half of the rate, so that one origin does not keep the others out. */
  readonly #byOrigin: KeyedTokenBuckets
  readonly #failed: FailedLoginLimiter
  readonly #log: BoundedLog

  constructor(limits: Limits, clock: Clock, log: BoundedLog) {
    this.#clock = clock
    this.#limits = limits
    this.#counts = new ConnectionCounts(limits)
    this.#rejected = new RejectedConnections(limits.refusedLinks)
    const { hellosPerSecond, rememberedAddresses } = limits
    // The server never asks a client to wait for longer than the client waits by itself.
    const { reconnectMostMs: mostMs } = clientLimits
    this.#hellos = new TokenBucket(hellosPerSecond, mostMs, clock.now())
    this.#busyOrigins = new TokenBucket(Math.max(1, hellosPerSecond / 2), mostMs, clock.now())
    this.#byOrigin = new KeyedTokenBuckets(Math.max(1, hellosPerSecond / 2), mostMs, rememberedAddresses)
    this.#recent = new WindowCounter(recentMs, rememberedAddresses)
    this.#failed = new FailedLoginLimiter(limits, clock)
    this.#log = log
  }

  /** Number of logged-in connections. */
  get open(): number {
    return this.#counts.open
  }

  /** Makes room for a new connection. Returns false, and closes the socket, if there is none. */
  enter(socket: Socket): boolean {
    const { host: from } = socket.peer
    const origin = originOf(from)
    const room = this.#counts.roomBefore(origin, this.#clock.now())
    if (room instanceof OspError) {
      this.#log.refused(origin, { from }, room)
      void this.#rejected.add({ close: () => socket.close(goodbyeFrame(room)), destroy: () => socket.destroy() })
      return false
    }
    if (room) this.#dismiss(room, 'the link has not sent HELLO, and the server needs its slot for another link')
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
    if (room) this.#dismiss(room, `${room.user} has the most links, and the server needs one for another user`)
    this.#counts.opened(connection)
  }

  /** Removes a connection from the counts after its socket is closed. */
  left(connection: CountedConnection): void {
    this.#counts.remove(connection)
  }

  /** Throws OspError `rate-limited` if a HELLO_REQ exceeds a rate. */
  checkRate(origin: string): void {
    const now = this.#clock.now()
    const isBusy = this.#recent.add(origin, now) > Math.max(leastBusy, this.#limits.hellosPerSecond / busyPart)
    const common = isBusy || this.#failed.hasFailed(origin) ? this.#busyOrigins : this.#hellos
    const retryAfterMs = this.#byOrigin.take(origin, now) || common.take(now)
    if (retryAfterMs > 0)
      throw new OspError('rate-limited', 'too many clients connect at the same time', { retryAfterMs })
  }

  /** Returns the error for a HELLO_REQ that was refused for `why`. Logs it, unless this origin has too many log lines. */
  refusal(origin: string, refused: Required<Refused>, why: OspError): OspError {
    const answer = this.#failed.answer(origin, refused.user, why)
    this.#log.refused(origin, refused, answer)
    return answer
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

  /** Closes rejected connections at once. */
  close(): void {
    this.#rejected.end()
  }

  /** Ends a connection to make room for another one. */
  #dismiss(connection: CountedConnection, text: string): void {
    this.#counts.remove(connection)
    const why = new OspError('rate-limited', text, { retryAfterMs: this.#limits.retryAfterMs })
    const { origin, stage } = connection
    const destroy = () => connection.reset(why)
    // A connection that has ended only waits for its peer to close the socket.
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
  /** Sends the reason and closes the connection. Resolves when it is closed. */
  close(): Promise<void>
  /** Closes the connection at once. */
  destroy(): void
}

/** Up to `most` connections that receive the reason for their rejection. Further ones are closed at once, without a reason. */
export class RejectedConnections {
  readonly #most: number
  readonly #leaving = new Set<Rejected>()

  constructor(most: number) {
    this.#most = most
  }

  /** Number of connections that are not closed yet. */
  get size(): number {
    return this.#leaving.size
  }

  async add(connection: Rejected): Promise<void> {
    if (this.#leaving.size >= this.#most) return connection.destroy()
    this.#leaving.add(connection)
    await connection.close()
    this.#leaving.delete(connection)
  }

  /** Closes all connections at once. */
  end(): void {
    for (const connection of this.#leaving) connection.destroy()
  }
}

const spanMs = 60_000

type Bounds = Pick<Limits, 'failedHellosPerAddress' | 'failedHellosPerUser' | 'rememberedAddresses'>

/**
 * Limits how many failed HELLOs are answered with the reason: from one origin, and for one user from one origin. It never
 * refuses a valid HELLO: otherwise strangers, or a program of the same user, could lock the user out.
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

  /** Number of remembered addresses, or of remembered users of addresses if there are more of them. */
  get remembered(): number {
    return Math.max(this.#byOrigin.size, this.#byUser.size)
  }

  /** Whether a HELLO from this origin has failed in the last minute. */
  hasFailed(origin: string): boolean {
    return this.#byOrigin.of(origin, this.#clock.now()).number > 0
  }

  /** Returns the error for a HELLO that was refused for `why`: `why` itself, or `rate-limited` after too many failures. */
  answer(origin: string, user: string, why: OspError): OspError {
    // An error that passes by itself is no failed login.
    if (why.retry !== 'never') return why
    const now = this.#clock.now()
    const { failedHellosPerAddress, failedHellosPerUser } = this.#limits
    const counts = [
      { recent: this.#byOrigin, key: origin, most: failedHellosPerAddress, subject: 'too many failed logins' },
    ]
    // A valid user name has no slash, so the keys are unique.
    if (why.code === 'unauthorized') {
      counts.push({
        recent: this.#byUser,
        key: `${user}/${origin}`,
        most: failedHellosPerUser,
        subject: `too many failed logins of ${user}`,
      })
    }
    let longest = { subject: '', leftMs: 0 }
    for (const { recent, key, most, subject } of counts) {
      const { number, leftMs } = recent.of(key, now)
      if (number >= most && leftMs > longest.leftMs) longest = { subject, leftMs }
    }
    if (longest.leftMs > 0) return tooMany(longest.subject, origin, longest.leftMs)
    for (const { recent, key } of counts) recent.add(key, now)
    return why
  }
}

/** Returns the error for the client and the log. It names the address and the time to wait. */
function tooMany(subject: string, origin: string, retryAfterMs: number): OspError {
  const text = `${subject} from ${origin}; try again in ${Math.ceil(retryAfterMs / 1_000)} s`
  return new OspError('rate-limited', text, { retryAfterMs })
}
