import type { LinkGauges } from '../../core/gauges.ts'
import type { Request } from '../../core/link.ts'
import { errors, OspError } from '../../errors.ts'
import { fixed, KiB, type Limits } from '../../limits.ts'
import { checkUserName } from '../../names.ts'
import { originOf } from '../../origins.ts'
import type { Authenticator } from '../../ports/authenticator.ts'
import type { Clock, Platform } from '../../ports/platform.ts'
import type { Socket } from '../../ports/socket.ts'
import { Alarm } from '../../runtime/alarm.ts'
import { hex } from '../../runtime/hex.ts'
import { LinkDriver } from '../../runtime/linkDriver.ts'
import type { Asked } from '../../runtime/linkDriverOptions.ts'
import { isTokenExposed } from '../../runtime/tokenBinding.ts'
import type { Encoded, Message, NoticeName, RequestName } from '../../wire/message.ts'
import { type App as AppName, events, version } from '../../wire/protocol.ts'
import type { App, Connection } from '../app.ts'
import type { ServerLog } from '../logEvents.ts'
import { linkOf } from '../serverLog.ts'
import type { Admission } from './admission.ts'
import type { BegunFrames } from './begunFrames.ts'
import type { CountedConnection } from './connectionCounts.ts'
import { costs } from './requestCost.ts'
import { ReadGate, type UserRateLimiter, type UserRateLimiters } from './userRateLimiters.ts'

/** Memory that a running request takes in addition to its payload. */
const requestBytes = 4 * KiB

/** A payload that every request except a chunk fits in. */
const leastFrameBytes = fixed.messageBytes + 4 * KiB

/** What a session needs of its server. */
export interface SessionHost {
  readonly platform: Platform
  readonly limits: Limits
  readonly authenticator: Authenticator
  /** Accept tokens also over connections that others can read. */
  readonly allowPlaintext: boolean
  readonly apps: ReadonlyMap<AppName, App>
  /** 16 bytes that name this run of the server. */
  readonly bootId: Uint8Array
  readonly log: ServerLog
  readonly admission: Admission
  readonly rateLimiters: UserRateLimiters
  readonly begunFrames: BegunFrames
  /** Returns the version of the presence list whose changes every client has been sent. */
  listVersion(): number
  /** Returns the number of entries of the presence list. */
  members(): number
  /**
   * Ends the earlier link of the same user and session, if it is still open, and resolves when its apps have been
   * informed. Rejects with OspError `link-replaced` if a later link is open.
   */
  replaces(session: Session): Promise<void>
  closed(session: Session): void
  /** Returns how many bytes of requests, mostly chunks, one link may have in progress. */
  maxPendingBytes(): number
}

/** One link of a client: HELLO, then the client's requests, each to the app that it names. */
export class Session implements Connection, CountedConnection {
  readonly node: number
  readonly origin: string
  readonly connectedAtMs: number
  readonly #host: SessionHost
  readonly #driver: LinkDriver
  readonly #readGate: ReadGate
  readonly #helloTimeout: Disposable
  #rateLimiter: UserRateLimiter | undefined
  #idleTimer: IdleTimer | undefined
  #stage: CountedConnection['stage'] = 'silent'
  #user = ''
  #proven = false
  #session = ''
  #attempt = 0
  /** Number of calls of `accessChanged`. */
  #accessChanges = 0

  constructor(host: SessionHost, socket: Socket, node: number) {
    this.#host = host
    this.node = node
    this.origin = originOf(socket.peer.host)
    const { platform, limits } = host
    this.connectedAtMs = socket.connectedAtMs ?? platform.clock.now()
    this.#helloTimeout = platform.clock.alarm(this.connectedAtMs + limits.handshakeMs, () => this.#helloTimedOut())
    const { keepAliveMs, unsentBytes } = limits
    this.#driver = new LinkDriver(
      {
        socket,
        platform,
        side: 'server',
        first: 'HelloReq',
        keepAliveMs,
        unsentBytes,
        listVersion: () => host.listVersion(),
        arrived: (bytes) => {
          host.begunFrames.holds(this, 0)
          this.#rateLimiter?.countFrame(bytes, this.#readGate)
        },
        // Frames before HELLO_ACK are short.
        begun: (bytes) => this.open && host.begunFrames.holds(this, bytes),
      },
      {
        request: (request) => this.#request(request),
        notice: () => {},
        closed: (why) => this.#closed(why),
      },
    )
    this.#readGate = new ReadGate(this.#driver, () => host.maxPendingBytes())
  }

  get user(): string {
    return this.#user
  }

  get from(): string {
    return this.#driver.socket.peer.host
  }

  get session(): string {
    return this.#session
  }

  /** The attempt number of this link in its session. A later link has a higher number. */
  get attempt(): number {
    return this.#attempt
  }

  get reliable(): boolean {
    return this.#driver.socket.reliable
  }

  /** Whether HELLO has been answered and the link lives. */
  get open(): boolean {
    return this.#stage === 'open'
  }

  get stage(): CountedConnection['stage'] {
    return this.#stage
  }

  get proven(): boolean {
    return this.#proven
  }

  get holds(): boolean {
    return [...this.#host.apps.values()].some((app) => app.holds(this))
  }

  get askedAtMs(): number {
    return this.#idleTimer?.restartedAtMs ?? this.connectedAtMs
  }

  reply(to: Request, message: Message | Encoded): void {
    this.#driver.reply(to, message)
  }

  notify(message: Message<NoticeName> | Encoded<NoticeName>): void {
    this.#driver.notify(message)
  }

  ask<K extends RequestName>(message: Message<K>, onFlushed?: () => void): Asked<K> {
    return this.#driver.ask(message, 0, 'requests', onFlushed)
  }

  repeat(seq: number, message: Message<RequestName>, onFlushed?: () => void): boolean {
    return this.#driver.repeat(seq, message, 0, onFlushed)
  }

  close(why: OspError): Promise<void> {
    return this.#driver.close(why)
  }

  pauseFrame(isPaused: boolean): void {
    this.#readGate.pauseFrame(isPaused)
  }

  reset(why: OspError): void {
    this.#driver.reset(why)
  }

  /** Ends the link if `user` is its user or `undefined`: the access of that user, or of all users, has changed. */
  accessChanged(user: string | undefined): void {
    this.#accessChanges++
    if (!this.open || (user !== undefined && user !== this.#user)) return
    const text =
      user === undefined
        ? 'access to this server has changed: it asks for other credentials now'
        : `${user} was removed from the server, or has a new token`
    void this.close(new OspError('unauthorized', text))
  }

  get gauges(): LinkGauges | undefined {
    return this.#driver.gauges
  }

  #request(request: Request): void {
    const { message } = request
    if (this.#stage === 'silent' && message.event === 'HelloReq') {
      this.#stage = 'authenticating'
      this.#helloTimeout[Symbol.dispose]()
      void this.#greet(request, message)
    } else if (this.#stage === 'open' && message.event !== 'HelloReq') {
      this.#charge(message)
      void this.#serve(request)
    } else {
      void this.#driver.close(
        new OspError('malformed', `${message.event} came at the wrong time: a link begins with one HELLO_REQ`),
      )
    }
  }

  /** Charges the user with the request. It is carried out at once, and the frames after it may be read later. */
  #charge(message: Message<RequestName>): void {
    this.#rateLimiter?.countWork(costs.request(message, this.#host.members()), this.#readGate)
    if (message.event === 'RegistReq') this.#rateLimiter?.countRegistration(this.#readGate)
  }

  async #greet(request: Request, hello: Message<'HelloReq'>): Promise<void> {
    const { admission, limits, bootId } = this.#host
    try {
      // A HELLO that cannot succeed takes no place.
      this.#check(hello)
      admission.checkRate(this.origin)
      let changes: number
      do {
        changes = this.#accessChanges
        await this.#admit(hello)
        if (this.#stage !== 'authenticating') return
        // Ask again if the access changed in the meantime.
      } while (changes !== this.#accessChanges)
      admission.letIn(this)
      const ack = helloAck(limits, bootId, this.node)
      this.#driver.socket.maxPayload = ack.maxFrame
      this.#driver.reply(request, ack)
      this.#open()
      this.#host.log({ level: 'info', event: 'link-open', ...linkOf(this) })
    } catch (error) {
      const { from, node, origin } = this
      const why = admission.refusal(origin, { user: hello.userName, node, from }, this.#refusalOf(error, request))
      this.#driver.refuse(request, why)
      await this.#driver.closeQuietly(why)
    }
  }

  /** Throws OspError `unsupported-version`, `bad-name` or `unauthorized` for a HELLO that no authenticator can make valid. */
  #check({ versions, userName, token }: Message<'HelloReq'>): void {
    if (!versions.includes(version)) {
      throw new OspError('unsupported-version', `this server speaks version ${version} of the protocol`)
    }
    checkUserName(userName)
    if (isTokenExposed(token, this.#driver.socket, this.#host.allowPlaintext)) {
      throw new OspError(
        'unauthorized',
        'the server accepts no token over a connection that others can read: use TLS, and replace this token by a new one',
      )
    }
  }

  async #admit({ userName: user, token, session, attempt = 0 }: Message<'HelloReq'>): Promise<void> {
    const { peer } = this.#driver.socket
    const admitted = await this.#host.authenticator.authenticate({ user, token, peer })
    this.#user = admitted.user
    this.#proven = admitted.unproven !== true && (token !== '' || peer.certificateName !== undefined)
    this.#session = hex(session)
    this.#attempt = attempt
    await this.#host.replaces(this)
  }

  #open(): void {
    const { platform, limits, rateLimiters } = this.#host
    this.#stage = 'open'
    this.#rateLimiter = rateLimiters.enter(this.#user)
    this.#rateLimiter.countWork(costs.link, this.#readGate)
    this.#idleTimer = new IdleTimer(
      platform.clock,
      limits.idleMs,
      () => this.holds,
      () => {
        const idleS = limits.idleMs / 1_000
        void this.close(new OspError('timed-out', `nothing was asked for ${idleS} s, and nothing was under way`))
      },
    )
  }

  async #serve(request: Request): Promise<void> {
    const { message } = request
    const app = this.#host.apps.get(events[message.event].app)
    if (!app) {
      return this.#driver.close(new OspError('malformed', `this server has no app for ${message.event}`))
    }
    const bytes = requestBytes + request.payloadBytes
    this.#idleTimer?.restart()
    this.#readGate.hold(bytes)
    try {
      const reply = await app.handle(this, request)
      this.#rateLimiter?.giveBackWork(costs.refusal)
      if (reply) this.#driver.reply(request, reply)
    } catch (error) {
      const why = this.#refusalOf(error, request)
      if (why.code === 'malformed') await this.#driver.close(why)
      else this.#driver.refuse(request, why)
    } finally {
      this.#readGate.hold(-bytes)
      this.#idleTimer?.restart()
    }
  }

  /**
   * Returns the refusal of a request for its client. A fault of the server is logged, unless its public text says that it is
   * logged already, and the client receives only a general text, since the details may name paths.
   */
  #refusalOf(error: unknown, { message: { event } }: Request): OspError {
    const { log, limits } = this.#host
    const reason = OspError.from(error)
    const { code, progress, recipients, publicText } = reason
    const isInternal = code === 'internal'
    if (isInternal && publicText === undefined) {
      const stack = error instanceof OspError ? undefined : (error as Error).stack
      log({ level: 'error', event: 'request-failed', ...linkOf(this), text: `${event}: ${reason.message}`, stack })
    }
    const text = publicText ?? (isInternal || code === 'disk-full' ? errors[code].text : reason.message)
    return new OspError(code, text, {
      cause: reason,
      retryAfterMs: reason.retry === 'later' ? reason.retryAfterMs || limits.retryAfterMs : 0,
      ...(progress !== undefined && { progress }),
      ...(recipients && { recipients }),
    })
  }

  #helloTimedOut(): void {
    void this.#driver.close(new OspError('timed-out', 'no HELLO_REQ came in time'))
  }

  #closed(why: OspError): void {
    if (this.#stage === 'closed') return
    const greeted = this.#stage === 'open'
    this.#stage = 'closed'
    this.#helloTimeout[Symbol.dispose]()
    this.#host.begunFrames.holds(this, 0)
    if (greeted) {
      this.#idleTimer?.stop()
      this.#host.rateLimiters.leave(this.#user, this.#readGate)
      for (const app of this.#host.apps.values()) app.lost(this)
      this.#host.log({ level: 'info', event: 'link-closed', ...linkOf(this), code: why.code, text: why.message })
    }
    this.#host.closed(this)
  }
}

/** Returns the answer to a valid HELLO_REQ. */
function helloAck(limits: Limits, bootId: Uint8Array, node: number): Message<'HelloAck'> {
  return {
    event: 'HelloAck',
    version,
    node,
    bootId,
    maxFrame: Math.max(leastFrameBytes, limits.chunkBytes + 8),
    keepAlive: limits.keepAliveMs,
    maxUploads: limits.uploadsPerLink,
    maxRecipients: limits.recipients,
    features: 0,
    messageIdFor: Math.floor(limits.messageIdMs / 1_000),
  }
}

/** Ends a link that has sent no request for `idleMs` and holds nothing. */
class IdleTimer {
  readonly #clock: Clock
  readonly #idleMs: number
  readonly #holds: () => boolean
  readonly #alarm: Alarm
  #restartedAtMs: number

  /** `holds` returns whether the link holds an upload or a registration; `expired` runs once. */
  constructor(clock: Clock, idleMs: number, holds: () => boolean, expired: () => void) {
    this.#clock = clock
    this.#idleMs = idleMs
    this.#holds = holds
    this.#restartedAtMs = clock.now()
    this.#alarm = new Alarm(clock, () => {
      if (this.#holds()) this.restart()
      if (this.#endMs > clock.now()) this.#alarm.by(this.#endMs)
      else expired()
    })
    this.#alarm.by(this.#endMs)
  }

  /** When the link last sent a request or was answered. */
  get restartedAtMs(): number {
    return this.#restartedAtMs
  }

  restart(): void {
    this.#restartedAtMs = this.#clock.now()
  }

  stop(): void {
    this.#alarm.stop()
  }

  get #endMs(): number {
    return this.#restartedAtMs + this.#idleMs
  }
}
