import { frameWith } from '../../core/link.ts'
import { KeyedTokenBuckets, TokenBucket } from '../../core/tokenBucket.ts'
import { WindowCounter } from '../../core/windowCounter.ts'
import { OspError } from '../../errors.ts'
import { clientLimits, type Limits } from '../../limits.ts'
import { originOf } from '../../origins.ts'
import type { Clock } from '../../ports/platform.ts'
import type { Socket } from '../../ports/socket.ts'
import { goodbyeOf } from '../../runtime/refusal.ts'
import type { BoundedLog, Refused } from '../serverLog.ts'
import type { ServerGauges } from '../status.ts'
import { ConnectionCounts } from './connectionCounts.ts'
import type { Session } from './session.ts'

/** HELLOs are counted in windows of `recentMs`. A busy origin exceeds `leastBusy` and `hellosPerSecond / busyPart`. */
const recentMs = 60_000
const busyPart = 8
const leastBusy = 10

/** A connection that the server does not keep. */
interface Rejected {
  /** Sends the reason and closes the connection. Resolves when it is closed. */
  close(): Promise<void>
  destroy(): void
}

/** Decides which connections the server keeps, and how often a client may try to log in. */
export class Admission {
  readonly counts: ConnectionCounts
  readonly #clock: Clock
  readonly #limits: Limits
  /** Rejected connections to which the reason is being sent. */
  readonly #rejected = new Set<Rejected>()
  readonly #hellos: TokenBucket
  /** For origins that send many HELLOs, or invalid ones, so that they do not use up the rate of the others. */
  readonly #busyOrigins: TokenBucket
  readonly #recent: WindowCounter
  /** Limits each origin to half of the rate, so that one origin does not keep the others out. */
  readonly #byOrigin: KeyedTokenBuckets
  /** Failed HELLOs of each origin, and of each user from an origin. */
  readonly #failed: WindowCounter
  readonly #failedOfUsers: WindowCounter
  readonly #log: BoundedLog

  constructor(limits: Limits, clock: Clock, log: BoundedLog) {
    this.#clock = clock
    this.#limits = limits
    this.counts = new ConnectionCounts(limits)
    const { hellosPerSecond, rememberedAddresses } = limits
    // The server never asks a client to wait for longer than the client waits by itself.
    const { reconnectMostMs: mostMs } = clientLimits
    const half = Math.max(1, hellosPerSecond / 2)
    this.#hellos = new TokenBucket(hellosPerSecond, mostMs, clock.now())
    this.#busyOrigins = new TokenBucket(half, mostMs, clock.now())
    this.#byOrigin = new KeyedTokenBuckets(half, mostMs, rememberedAddresses)
    this.#recent = new WindowCounter(recentMs, rememberedAddresses)
    this.#failed = new WindowCounter(recentMs, rememberedAddresses)
    this.#failedOfUsers = new WindowCounter(recentMs, rememberedAddresses)
    this.#log = log
  }

  /** Makes room for a new connection. Returns false, and closes the socket, if there is none. */
  enter(socket: Socket): boolean {
    const { host: from } = socket.peer
    const origin = originOf(from)
    const room = this.counts.roomBefore(origin, this.#clock.now())
    if (room instanceof OspError) {
      this.#log.refused(origin, { from }, room)
      void this.#reject({ close: () => socket.close(frameWith(goodbyeOf(room))), destroy: () => socket.destroy() })
      return false
    }
    if (room) this.#dismiss(room, 'the link has not sent HELLO, and the server needs its slot for another link')
    return true
  }

  /** Counts a link as one of its user. Throws OspError `rate-limited` if there is no room for it. */
  letIn(link: Session): void {
    const room = this.counts.roomAfter(link)
    if (room instanceof OspError) throw room
    if (room) this.#dismiss(room, `${room.user} has the most links, and the server needs one for another user`)
    this.counts.opened(link)
  }

  /** Throws OspError `rate-limited` if a HELLO_REQ exceeds a rate. */
  checkRate(origin: string): void {
    const now = this.#clock.now()
    const isBusy = this.#recent.add(origin, now) > Math.max(leastBusy, this.#limits.hellosPerSecond / busyPart)
    const common = isBusy || this.#failed.of(origin, now).number > 0 ? this.#busyOrigins : this.#hellos
    const retryAfterMs = this.#byOrigin.take(origin, now) || common.take(now)
    if (retryAfterMs > 0)
      throw new OspError('rate-limited', 'too many clients connect at the same time', { retryAfterMs })
  }

  /** Returns the error for a HELLO_REQ that failed with `reason`. Logs it, unless this origin has too many log lines. */
  refusal(origin: string, refused: Required<Refused>, reason: OspError): OspError {
    const answer = this.#answer(origin, refused.user, reason)
    this.#log.refused(origin, refused, answer)
    return answer
  }

  /**
   * Returns the error for a failed HELLO: `reason`, or `rate-limited` with the time to wait after too many failures. A
   * valid HELLO is never refused: otherwise strangers, or a program of the same user, could lock the user out.
   */
  #answer(origin: string, user: string, reason: OspError): OspError {
    // A temporary error is no failed login.
    if (reason.retry !== 'never') return reason
    const now = this.#clock.now()
    const { failedHellosPerAddress, failedHellosPerUser } = this.#limits
    const counts = [{ recent: this.#failed, key: origin, most: failedHellosPerAddress, of: '' }]
    if (reason.code === 'unauthorized') {
      // A valid user name has no slash, so the keys are unique.
      counts.push({
        recent: this.#failedOfUsers,
        key: `${user}/${origin}`,
        most: failedHellosPerUser,
        of: ` of ${user}`,
      })
    }
    let longest = { of: '', leftMs: 0 }
    for (const { recent, key, most, of } of counts) {
      const { number, leftMs } = recent.of(key, now)
      if (number >= most && leftMs > longest.leftMs) longest = { of, leftMs }
    }
    const { of, leftMs: retryAfterMs } = longest
    if (retryAfterMs > 0) {
      const text = `too many failed logins${of} from ${origin}; try again in ${Math.ceil(retryAfterMs / 1_000)} s`
      return new OspError('rate-limited', text, { retryAfterMs })
    }
    for (const { recent, key } of counts) recent.add(key, now)
    return reason
  }

  get gauges(): Pick<ServerGauges, 'links' | 'pendingLinks' | 'rejectedLinks' | 'rememberedAddresses'> {
    const sizes = [this.#byOrigin, this.#recent, this.#failed, this.#failedOfUsers].map(({ size }) => size)
    return {
      links: this.counts.open,
      pendingLinks: this.counts.pending,
      rejectedLinks: this.#rejected.size,
      rememberedAddresses: Math.max(...sizes, this.#log.remembered),
    }
  }

  /** Closes rejected connections at once. */
  close(): void {
    for (const rejected of this.#rejected) rejected.destroy()
  }

  /** Ends a link to make room for another one. */
  #dismiss(link: Session, text: string): void {
    this.counts.remove(link)
    const reason = new OspError('rate-limited', text, { retryAfterMs: this.#limits.retryAfterMs })
    const { origin, stage } = link
    const destroy = () => link.reset(reason)
    // A link that has ended only waits for its peer to close the socket.
    if (stage === 'closed') destroy()
    else void this.#reject({ close: () => link.close(reason), destroy })
    if (stage === 'silent' || stage === 'authenticating') this.#log.refused(origin, { from: origin }, reason)
  }

  /** Sends the reason to a rejected connection. While too many others receive theirs, closes it at once without a reason. */
  async #reject(rejected: Rejected): Promise<void> {
    if (this.#rejected.size >= this.#limits.refusedLinks) return rejected.destroy()
    this.#rejected.add(rejected)
    await rejected.close()
    this.#rejected.delete(rejected)
  }
}
