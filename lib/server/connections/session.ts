import type { LinkGauges, Request } from '../../core/link.ts'
import { OspError } from '../../errors.ts'
import { fixed, KiB, type Limits } from '../../limits.ts'
import { checkUserName } from '../../names.ts'
import { originOf } from '../../origins.ts'
import type { Authenticator } from '../../ports/authenticator.ts'
import type { Socket } from '../../ports/socket.ts'
import { Alarm } from '../../runtime/alarm.ts'
import { hex } from '../../runtime/hex.ts'
import { type Asked, LinkDriver, type LinkDriverEvents, type LinkDriverOptions } from '../../runtime/linkDriver.ts'
import { isTokenExposed } from '../../runtime/tokenBinding.ts'
import { putHeadBytes } from '../../wire/frame.ts'
import type { Encoded, NoticeName, RequestName, WireMessage } from '../../wire/message.ts'
import { type AppName, events, features, version } from '../../wire/protocol.ts'
import type { Connection, ServerApp, ServerContext } from '../app.ts'
import type { PresenceList } from '../messages/presenceList.ts'
import { publicError } from '../publicError.ts'
import { linkOf } from '../serverLog.ts'
import type { Admission } from './admission.ts'
import type { IncompleteFrames } from './incompleteFrames.ts'
import { costs } from './requestCost.ts'
import { ReadGate, type UserRateLimiters } from './userRateLimiters.ts'
import type { WorkSlices } from './workSlices.ts'

/** Memory that a running request takes in addition to its payload. */
const requestBytes = 4 * KiB
/** Additional memory that each message of a request takes. */
const messageBytes = KiB
/** The requests whose reply can have `fixed.listedBytes` of content. */
const listRequests: ReadonlySet<RequestName> = new Set<RequestName>(['ListFilesReq', 'ListMsgReq'])
/** An upper bound of the size of the parts of a message other than its content. */
const attributeBytes = 20 * KiB

/** A payload that every request except a chunk fits in. */
const leastFrameBytes = fixed.messageBytes + attributeBytes + 4 * KiB

/** Time after which an alarm counts as late and by which it extends the time for HELLO_REQ: bytes are read after alarms. */
const lateMs = 500

/** What a session needs of its server. */
export interface SessionHost extends Pick<ServerContext, 'platform' | 'limits' | 'log'> {
  readonly links: LinkDriverOptions
  readonly authenticator: Authenticator
  /** Accept tokens also over connections that others can read. */
  readonly allowPlaintext: boolean
  readonly apps: ReadonlyMap<AppName, ServerApp>
  /** 16 bytes that name this run of the server. */
  readonly bootId: Uint8Array
  readonly admission: Admission
  readonly rateLimiters: UserRateLimiters
  readonly incompleteFrames: IncompleteFrames
  readonly registrations: WorkSlices
  readonly presence: Pick<PresenceList, 'size'>
  /** Returns the maximum number of bytes that the running requests of a link may take. */
  readonly requestBytes: () => number
  /** Whether the storage has a catalogue of the stored files. */
  readonly hasCatalogue: boolean
  /** Ends an earlier link of the session that is open. Rejects with OspError `link-replaced` if a later one is open. */
  openSession(session: Session): Promise<void>
  closed(session: Session): void
}

/** One link of a client: HELLO, then the client's requests, each to the app that it names. Only the session sets its fields. */
export class Session implements Connection, LinkDriverEvents {
  readonly node: number
  /** The address or network by which the link is counted. */
  readonly origin: string
  readonly connectedAtMs: number
  readonly #host: SessionHost
  readonly #driver: LinkDriver
  readonly #readGate: ReadGate
  readonly #alarm: Alarm
  #rateLimiter: ReturnType<UserRateLimiters['enter']> | undefined
  /** `silent` before HELLO_REQ, `authenticating` before its answer, `closed` while only the socket is left. */
  stage: 'silent' | 'authenticating' | 'open' | 'closed' = 'silent'
  /** Empty until the user is authenticated, as `session` is. */
  user = ''
  session = ''
  /** The attempt number of this link in its session. A later link has a higher number. */
  attempt = 0
  /** Whether the user has shown a token or a certificate. */
  proven = false
  /** When the link last sent a request, was answered, or held an upload or a registration. */
  askedAtMs: number
  /** Whether the time for HELLO_REQ was extended. */
  #isReprieved = false
  /** Number of calls of `accessChanged`. */
  #accessChanges = 0

  constructor(host: SessionHost, socket: Socket, node: number) {
    this.#host = host
    this.node = node
    this.origin = originOf(socket.peer.host)
    const { platform, limits, links } = host
    this.connectedAtMs = socket.connectedAtMs ?? platform.clock.now()
    this.askedAtMs = this.connectedAtMs
    this.#alarm = new Alarm(platform.clock, () => {
      if (this.open) this.#checkIdle()
      else this.#checkHandshake()
    })
    this.#alarm.by(this.connectedAtMs + limits.handshakeMs)
    this.#driver = new LinkDriver(socket, links, this)
    this.#readGate = new ReadGate(this.#driver, host.requestBytes)
  }

  get from(): string {
    return this.#driver.socket.peer.host
  }

  get reliable(): boolean {
    return this.#driver.socket.reliable
  }

  get open(): boolean {
    return this.stage === 'open'
  }

  /** Whether the link has an upload, or listens for messages. */
  get holds(): boolean {
    return [...this.#host.apps.values()].some((app) => app.holds(this))
  }

  reply(to: Request, message: WireMessage | Encoded, onFlushed?: () => void): void {
    this.#driver.reply(to, message, onFlushed)
  }

  notify(message: WireMessage<NoticeName> | Encoded<NoticeName>): void {
    this.#driver.notify(message)
  }

  ask<K extends RequestName>(message: WireMessage<K> | Encoded<K>, onFlushed?: () => void): Asked<K> {
    return this.#driver.ask(message, 0, 'requests', onFlushed)
  }

  repeat(seq: number, message: WireMessage<RequestName> | Encoded<RequestName>, onFlushed?: () => void): boolean {
    return this.#driver.repeat(seq, message, 0, onFlushed)
  }

  close(why: OspError): Promise<void> {
    return this.#driver.close(why)
  }

  /** Stops reading the incomplete frame of the link, or continues. */
  pauseFrame(isPaused: boolean): void {
    this.#readGate.pauseFrame(isPaused)
  }

  /** Ends the link at once, without a reason. */
  reset(why: OspError): void {
    this.#driver.reset(why)
  }

  /** Ends the link if `user` is its user or `undefined`: the access of that user, or of all users, has changed. */
  accessChanged(user: string | undefined): void {
    this.#accessChanges++
    if (!this.open || (user !== undefined && user !== this.user)) return
    const text =
      user === undefined
        ? 'access to this server has changed; log in again'
        : `${user} was removed from the server, or has a new token`
    void this.close(new OspError('unauthorized', text))
  }

  get gauges(): LinkGauges | undefined {
    return this.#driver.gauges
  }

  arrived(bytes: number): void {
    this.#host.incompleteFrames.update(this, 0)
    this.#rateLimiter?.countFrame(bytes, this.#readGate)
  }

  begun(heldBytes: number): void {
    // Frames before HELLO_ACK are short, and are not counted.
    if (this.open) this.#host.incompleteFrames.update(this, heldBytes)
  }

  charge(costMs: number): void {
    this.#rateLimiter?.countWork(costMs, this.#readGate)
  }

  notice(message: WireMessage<NoticeName>): void {
    if (this.open) this.#host.apps.get(events[message.event].app)?.notice?.(this, message)
  }

  request(request: Request): void {
    const { message } = request
    if (this.stage === 'silent' && message.event === 'HelloReq') {
      this.stage = 'authenticating'
      this.#alarm.stop()
      void this.#greet(request, message)
    } else if (this.stage === 'open' && message.event !== 'HelloReq') {
      // The request runs at once. If it exceeds a limit of the user, later frames wait.
      this.#rateLimiter?.countWork(costs.request(message, this.#host.presence.size), this.#readGate)
      if (message.event === 'RegistReq') this.#rateLimiter?.countRegistration(this.#readGate)
      void this.#serve(request)
    } else {
      const text = `${message.event} arrived at the wrong time: a link begins with one HELLO_REQ`
      void this.close(new OspError('malformed', text))
    }
  }

  async #greet(request: Request, hello: WireMessage<'HelloReq'>): Promise<void> {
    const { admission, limits, bootId, hasCatalogue } = this.#host
    try {
      // A HELLO that cannot succeed does not count against the rate.
      this.#check(hello)
      admission.checkRate(this.origin)
      let changes: number
      do {
        changes = this.#accessChanges
        await this.#admit(hello)
        if (this.stage !== 'authenticating') return
        // Ask again if the access changed in the meantime.
      } while (changes !== this.#accessChanges)
      admission.letIn(this)
      const { socket } = this.#driver
      const offered =
        (socket.reliable ? features.uncheckedContent : 0) |
        (hasCatalogue ? features.storedFiles : 0) |
        features.putFiles
      const agreed = hello.features & offered
      const ack = helloAck(limits, bootId, this.node, agreed)
      socket.maxPayload = ack.maxFrame
      socket.checksContent = (agreed & features.uncheckedContent) === 0
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
  #check({ versions, userName, token }: WireMessage<'HelloReq'>): void {
    if (!versions.includes(version)) {
      throw new OspError('unsupported-version', `this server speaks version ${version} of the protocol`)
    }
    checkUserName(userName)
    if (isTokenExposed(token, this.#driver.socket, this.#host.allowPlaintext)) {
      throw new OspError(
        'unauthorized',
        'the server accepts no token over a connection that others can read: use TLS, and replace this token with a new one',
      )
    }
  }

  async #admit({ userName: user, token, session, attempt = 0 }: WireMessage<'HelloReq'>): Promise<void> {
    const { peer } = this.#driver.socket
    const admitted = await this.#host.authenticator.authenticate({ user, token, peer })
    this.user = admitted.user
    this.proven = admitted.unproven !== true && (token !== '' || peer.certificateName !== undefined)
    this.session = hex(session)
    this.attempt = attempt
    await this.#host.openSession(this)
  }

  #open(): void {
    const { platform, rateLimiters } = this.#host
    this.stage = 'open'
    this.#rateLimiter = rateLimiters.enter(this.user)
    this.#rateLimiter.countWork(costs.link, this.#readGate)
    this.askedAtMs = platform.clock.now()
    this.#checkIdle()
  }

  /** Ends a link without HELLO_REQ, unless the alarm is late: then the server was busy, and HELLO_REQ may only be unread. */
  #checkHandshake(): void {
    const { platform, limits } = this.#host
    const now = platform.clock.now()
    const isLate = now > this.connectedAtMs + limits.handshakeMs + lateMs
    if (isLate && !this.#isReprieved) {
      this.#isReprieved = true
      this.#alarm.by(now + lateMs)
      return
    }
    void this.close(new OspError('timed-out', 'no HELLO_REQ arrived in time'))
  }

  /** Ends a link that has sent no request for `idleMs` and holds nothing. Otherwise checks again later. */
  #checkIdle(): void {
    const { platform, limits } = this.#host
    const now = platform.clock.now()
    if (this.holds) this.askedAtMs = now
    const endMs = this.askedAtMs + limits.idleMs
    const text = `the link sent no request for ${limits.idleMs / 1_000} s and has no upload and no registration`
    if (endMs > now) this.#alarm.by(endMs)
    else void this.close(new OspError('timed-out', text))
  }

  async #serve(request: Request): Promise<void> {
    const { message } = request
    const app = this.#host.apps.get(events[message.event].app)
    if (!app) {
      return this.#driver.close(new OspError('malformed', `this server has no app for ${message.event}`))
    }
    const messages = message.event === 'PostMsgReq' ? message.messages.length : 0
    const listed = listRequests.has(message.event) ? fixed.listedBytes : 0
    const bytes = requestBytes + messages * messageBytes + request.payloadBytes + listed
    this.askedAtMs = this.#host.platform.clock.now()
    this.#readGate.hold(bytes)
    try {
      const turn = message.event === 'RegistReq' && this.#turnOf(message)
      if (turn) {
        await turn
        if (!this.open) return
      }
      const reply = await app.handle(this, request)
      this.#rateLimiter?.giveBackWork(costs.refusal)
      if (reply) this.#driver.reply(request, reply)
    } catch (error) {
      const why = this.#refusalOf(error, request)
      if (why.code === 'malformed') await this.#driver.close(why)
      // The session has another link or, after the directory has lost it, none. The client repeats the request on that link.
      else if (why.code === 'link-lost') await this.#driver.close(new OspError('link-replaced'))
      else this.#driver.refuse(request, why)
    } finally {
      this.#readGate.hold(-bytes)
      request.release?.()
      this.askedAtMs = this.#host.platform.clock.now()
    }
  }

  #turnOf(message: WireMessage<'RegistReq'>): Promise<void> | undefined {
    const { registrations, presence } = this.#host
    return registrations.turn(costs.request(message, presence.size))
  }

  #refusalOf(error: unknown, { message: { event } }: Request): OspError {
    return publicError(error, event, this, this.#host)
  }

  closed(why: OspError): void {
    if (this.stage === 'closed') return
    const greeted = this.stage === 'open'
    this.stage = 'closed'
    this.#alarm.stop()
    this.#host.incompleteFrames.update(this, 0)
    if (greeted) {
      this.#host.rateLimiters.leave(this.user, this.#readGate)
      for (const app of this.#host.apps.values()) app.lost(this)
      this.#host.log({ level: 'info', event: 'link-closed', ...linkOf(this), code: why.code, text: why.message })
    }
    this.#host.closed(this)
  }
}

/** Returns the answer to a valid HELLO_REQ. */
function helloAck(limits: Limits, bootId: Uint8Array, node: number, agreed: number): WireMessage<'HelloAck'> {
  return {
    event: 'HelloAck',
    version,
    node,
    bootId,
    maxFrame: Math.max(leastFrameBytes, limits.chunkBytes + 8, limits.smallFileBytes + putHeadBytes),
    keepAlive: limits.keepAliveMs,
    maxUploads: limits.uploadsPerLink,
    maxRecipients: limits.recipients,
    features: agreed,
    messageIdFor: Math.floor(limits.messageIdMs / 1_000),
    maxPut: limits.smallFileBytes,
  }
}
