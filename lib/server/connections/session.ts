import type { LinkGauges } from '../../core/gauges.ts'
import type { Request } from '../../core/link.ts'
import { OspError } from '../../errors.ts'
import { KiB } from '../../limits.ts'
import { checkUserName } from '../../names.ts'
import { originOf } from '../../origins.ts'
import type { Socket } from '../../ports/socket.ts'
import { hex } from '../../runtime/hex.ts'
import { LinkDriver } from '../../runtime/linkDriver.ts'
import type { Asked } from '../../runtime/linkDriverOptions.ts'
import type { Encoded, Message, NoticeName, RequestName } from '../../wire/message.ts'
import { events, version } from '../../wire/protocol.ts'
import type { Connection } from '../app.ts'
import { linkOf } from '../serverLog.ts'
import type { CountedConnection } from './connectionCounts.ts'
import { IdleTimer } from './idleTimer.ts'
import { ReadGate } from './readGate.ts'
import { refusalOf } from './refusalOf.ts'
import { costs } from './requestCost.ts'
import type { SessionHost } from './sessionHost.ts'
import { checkTokenWay } from './tokenWay.ts'
import type { UserRateLimiter } from './userRateLimiters.ts'
import { welcome } from './welcome.ts'

/** What a request that waits takes of memory, besides its payload. */
const requestBytes = 4 * KiB

const stages = { silent: 'waiting', greeting: 'judged', open: 'open', closed: 'ended' } as const

/** One link of a client: HELLO, then the client's requests, each to the app that it names. */
export class Session implements Connection, CountedConnection {
  readonly node: number
  /** What it is counted by. */
  readonly origin: string
  readonly connectedAtMs: number
  readonly #host: SessionHost
  readonly #peer: LinkDriver
  readonly #reading: ReadGate
  readonly #greeting: Disposable
  #pace: UserRateLimiter | undefined
  #idleness: IdleTimer | undefined
  #state: 'silent' | 'greeting' | 'open' | 'closed' = 'silent'
  #user = ''
  #proven = false
  #session = ''
  #attempt = 0
  /** How often somebody's right to come in has changed. */
  #changes = 0

  constructor(host: SessionHost, socket: Socket, node: number) {
    this.#host = host
    this.node = node
    this.origin = originOf(socket.peer.host)
    const { platform, limits } = host
    this.connectedAtMs = socket.connectedAtMs ?? platform.clock.now()
    this.#greeting = platform.clock.alarm(this.connectedAtMs + limits.handshakeMs, () => this.#late())
    const { keepAliveMs, unsentBytes } = limits
    this.#peer = new LinkDriver(
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
          this.#pace?.took(bytes, this.#reading)
        },
        // Before HELLO_ACK a frame is short.
        begun: (bytes) => this.open && host.begunFrames.holds(this, bytes),
      },
      {
        request: (request) => this.#request(request),
        notice: () => {},
        closed: (why) => this.#closed(why),
      },
    )
    this.#reading = new ReadGate(this.#peer, () => host.unwrittenBytes())
  }

  get user(): string {
    return this.#user
  }

  get from(): string {
    return this.#peer.socket.peer.host
  }

  get session(): string {
    return this.#session
  }

  /** The attempt number of this link in its session. A later link has a higher number. */
  get attempt(): number {
    return this.#attempt
  }

  get reliable(): boolean {
    return this.#peer.socket.reliable
  }

  /** Whether HELLO has been answered and the link lives. */
  get open(): boolean {
    return this.#state === 'open'
  }

  get stage(): CountedConnection['stage'] {
    return stages[this.#state]
  }

  get proven(): boolean {
    return this.#proven
  }

  get holds(): boolean {
    return [...this.#host.apps.values()].some((app) => app.holds(this))
  }

  get askedAtMs(): number {
    return this.#idleness?.askedAtMs ?? this.connectedAtMs
  }

  reply(to: Request, message: Message | Encoded): void {
    this.#peer.reply(to, message)
  }

  notify(message: Message<NoticeName> | Encoded<NoticeName>): void {
    this.#peer.notify(message)
  }

  ask<K extends RequestName>(message: Message<K>, left?: () => void): Asked<K> {
    return this.#peer.ask(message, 0, 'requests', left)
  }

  repeat(seq: number, message: Message<RequestName>, left?: () => void): boolean {
    return this.#peer.repeat(seq, message, 0, left)
  }

  close(why: OspError): Promise<void> {
    return this.#peer.close(why)
  }

  pauseFrame(yes: boolean): void {
    this.#reading.pauseFrame(yes)
  }

  reset(why: OspError): void {
    this.#peer.reset(why)
  }

  /** Ends the link if it is this user's; with `undefined`, everybody's right to come in has changed. */
  rightChanged(user: string | undefined): void {
    this.#changes++
    if (!this.open || (user !== undefined && user !== this.#user)) return
    const why =
      user === undefined
        ? 'who may come in has changed: this server asks for other credentials now'
        : `${user} was removed from the server, or has a new token`
    void this.close(new OspError('unauthorized', why))
  }

  get gauges(): LinkGauges | undefined {
    return this.#peer.gauges
  }

  #request(request: Request): void {
    const { message } = request
    if (this.#state === 'silent' && message.event === 'HelloReq') {
      this.#state = 'greeting'
      this.#greeting[Symbol.dispose]()
      void this.#greet(request, message)
    } else if (this.#state === 'open' && message.event !== 'HelloReq') {
      this.#charge(message)
      void this.#serve(request)
    } else {
      void this.#peer.close(
        new OspError('malformed', `${message.event} came at the wrong time: one HELLO_REQ is first`),
      )
    }
  }

  /** A request that costs much is carried out at once; what follows it is read later. */
  #charge(message: Message<RequestName>): void {
    this.#pace?.works(costs.request(message, this.#host.members()), this.#reading)
    if (message.event === 'RegistReq') this.#pace?.registers(this.#reading)
  }

  async #greet(request: Request, hello: Message<'HelloReq'>): Promise<void> {
    const { admission, limits, bootId } = this.#host
    try {
      // What can't come in anyhow takes nobody's place.
      this.#check(hello)
      admission.checkRate(this.origin)
      let changes: number
      do {
        changes = this.#changes
        await this.#admit(hello)
        if (this.#state !== 'greeting') return
        // The answer may be older than what has changed: then it is asked for again.
      } while (changes !== this.#changes)
      admission.letIn(this)
      const ack = welcome(limits, bootId, this.node)
      this.#peer.socket.maxPayload = ack.maxFrame
      this.#peer.reply(request, ack)
      this.#open()
      this.#host.log({ level: 'info', event: 'link-open', ...linkOf(this) })
    } catch (error) {
      const { from, node, origin } = this
      const why = admission.refusal(origin, { user: hello.userName, node, from }, this.#refusalOf(error, request))
      this.#peer.refuse(request, why)
      await this.#peer.closeQuietly(why)
    }
  }

  /** Throws OspError `unsupported-version`, `bad-name` or `unauthorized` for what is wrong whoever it is. */
  #check({ versions, userName, token }: Message<'HelloReq'>): void {
    if (!versions.includes(version)) {
      throw new OspError('unsupported-version', `this server speaks version ${version} of the protocol`)
    }
    checkUserName(userName)
    checkTokenWay(token, this.#peer.socket, this.#host.insecure)
  }

  async #admit({ userName: user, token, session, attempt = 0 }: Message<'HelloReq'>): Promise<void> {
    const { peer } = this.#peer.socket
    const admitted = await this.#host.authenticator.authenticate({ user, token, peer })
    this.#user = admitted.user
    this.#proven = admitted.unproven !== true && (token !== '' || peer.certificateName !== undefined)
    this.#session = hex(session)
    this.#attempt = attempt
    await this.#host.replaces(this)
  }

  #open(): void {
    const { platform, limits, paces } = this.#host
    this.#state = 'open'
    this.#pace = paces.enter(this.#user)
    this.#pace.works(costs.link, this.#reading)
    this.#idleness = new IdleTimer(
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
      return this.#peer.close(new OspError('malformed', `this server has no app for ${message.event}`))
    }
    const bytes = requestBytes + request.payloadBytes
    this.#idleness?.asked()
    this.#reading.hold(bytes)
    try {
      const reply = await app.handle(this, request)
      this.#pace?.spares(costs.refusal)
      if (reply) this.#peer.reply(request, reply)
    } catch (error) {
      const why = this.#refusalOf(error, request)
      if (why.code === 'malformed') await this.#peer.close(why)
      else this.#peer.refuse(request, why)
    } finally {
      this.#reading.hold(-bytes)
      this.#idleness?.asked()
    }
  }

  #refusalOf(error: unknown, { message }: Request): OspError {
    const { log, limits } = this.#host
    return refusalOf(error, message.event, limits.retryAfterMs, (fault) =>
      log({ level: 'error', event: 'request-failed', ...linkOf(this), ...fault }),
    )
  }

  #late(): void {
    void this.#peer.close(new OspError('timed-out', 'no HELLO_REQ came in time'))
  }

  #closed(why: OspError): void {
    if (this.#state === 'closed') return
    const greeted = this.#state === 'open'
    this.#state = 'closed'
    this.#greeting[Symbol.dispose]()
    this.#host.begunFrames.holds(this, 0)
    if (greeted) {
      this.#idleness?.stop()
      this.#host.paces.leave(this.#user, this.#reading)
      for (const app of this.#host.apps.values()) app.lost(this)
      this.#host.log({ level: 'info', event: 'link-closed', ...linkOf(this), code: why.code, text: why.message })
    }
    this.#host.closed(this)
  }
}
