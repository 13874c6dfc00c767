import type { Request } from '../core/link.ts'
import { OspError } from '../errors.ts'
import { KiB, type Limits } from '../limits.ts'
import { checkUserName } from '../names.ts'
import type { Authenticator } from '../ports/authenticator.ts'
import type { Platform } from '../ports/platform.ts'
import type { Socket } from '../ports/socket.ts'
import { hex } from '../runtime/hex.ts'
import { isOpenWay } from '../runtime/openWay.ts'
import { Peer } from '../runtime/peer.ts'
import type { Asked } from '../runtime/peerOptions.ts'
import type { Encoded, Message, NoticeName, RequestName } from '../wire/message.ts'
import { type App as AppName, events, version } from '../wire/protocol.ts'
import type { App, Caller } from './app.ts'
import type { ServerLog } from './logEvents.ts'
import { refusalOf } from './refusalOf.ts'
import { linkOf } from './serverLog.ts'
import { welcome } from './welcome.ts'

/** What a session needs of its server. */
export interface SessionHost {
  readonly platform: Platform
  readonly limits: Limits
  readonly authenticator: Authenticator
  /** Tokens are taken also where others could read them on the way. */
  readonly insecure: boolean
  readonly apps: ReadonlyMap<AppName, App>
  /** 16 bytes that name this run of the server. */
  readonly bootId: Uint8Array
  readonly log: ServerLog
  /** Throws OspError `rate-limited` where too many come at once. */
  admit(): void
  /** Up to which version of the online list everybody has been sent the changes. */
  listVersion(): number
  /** Ends the link of the same user and session, if one still lives; resolves when its apps know. */
  replaces(session: Session): Promise<void>
  closed(session: Session): void
  /** Bytes of requests, chunks above all, that one link may have waiting to be carried out. */
  unwrittenBytes(): number
}

/** What a request that waits takes of memory, besides its payload. */
const requestBytes = KiB

/** One link of a client: HELLO, then the client's requests, each to the app that it names. */
export class Session implements Caller {
  readonly node: number
  readonly #host: SessionHost
  readonly #peer: Peer
  readonly #greeting: Disposable
  #state: 'silent' | 'greeting' | 'open' | 'closed' = 'silent'
  #user = ''
  #session = ''
  /** How often somebody's right to come in has changed. */
  #changes = 0
  #unwritten = 0
  #paused = false

  constructor(host: SessionHost, socket: Socket, node: number) {
    this.#host = host
    this.node = node
    const { platform, limits } = host
    this.#greeting = platform.clock.alarm((socket.connectedAtMs ?? platform.clock.now()) + limits.handshakeMs, () =>
      this.#late(),
    )
    const { keepAliveMs, unsentBytes } = limits
    this.#peer = new Peer(
      {
        socket,
        platform,
        side: 'server',
        first: 'HelloReq',
        keepAliveMs,
        unsentBytes,
        listVersion: () => host.listVersion(),
      },
      {
        request: (request) => this.#request(request),
        notice: () => {},
        closed: (why) => this.#closed(why),
      },
    )
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

  get reliable(): boolean {
    return this.#peer.socket.reliable
  }

  /** Whether HELLO has been answered and the link lives. */
  get open(): boolean {
    return this.#state === 'open'
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

  #request(request: Request): void {
    const { message } = request
    if (this.#state === 'silent' && message.event === 'HelloReq') {
      this.#state = 'greeting'
      this.#greeting[Symbol.dispose]()
      void this.#greet(request, message)
    } else if (this.#state === 'open' && message.event !== 'HelloReq') {
      void this.#serve(request)
    } else {
      void this.#peer.close(
        new OspError('malformed', `${message.event} came at the wrong time: one HELLO_REQ is first`),
      )
    }
  }

  async #greet(request: Request, hello: Message<'HelloReq'>): Promise<void> {
    try {
      this.#host.admit()
      if (!hello.versions.includes(version)) {
        throw new OspError('unsupported-version', `this server speaks version ${version} of the protocol`)
      }
      let changes: number
      do {
        changes = this.#changes
        await this.#admit(hello)
        if (this.#state !== 'greeting') return
        // The answer may be older than what has changed: then it is asked for again.
      } while (changes !== this.#changes)
      const { limits, bootId } = this.#host
      const ack = welcome(limits, bootId, this.node)
      this.#peer.socket.maxPayload = ack.maxFrame
      this.#peer.reply(request, ack)
      this.#state = 'open'
      this.#host.log({ level: 'info', event: 'link-open', ...linkOf(this) })
    } catch (error) {
      const why = this.#refusalOf(error, request)
      const { code, message: text } = why
      this.#host.log({ level: 'warn', event: 'link-refused', ...linkOf(this), user: hello.userName, code, text })
      this.#peer.refuse(request, why)
      await this.#peer.closeQuietly(why)
    }
  }

  async #admit({ userName: user, token, session }: Message<'HelloReq'>): Promise<void> {
    checkUserName(user)
    if (token !== '') this.#checkWay()
    const admitted = await this.#host.authenticator.authenticate({ user, token, peer: this.#peer.socket.peer })
    this.#user = admitted.user
    this.#session = hex(session)
    await this.#host.replaces(this)
  }

  /** What others may have read proves nothing. */
  #checkWay(): void {
    if (this.#host.insecure || !isOpenWay(this.#peer.socket)) return
    throw new OspError(
      'unauthorized',
      'a token is not taken over a link that others can read: use TLS, and have this token replaced by another one',
    )
  }

  async #serve(request: Request): Promise<void> {
    const { message } = request
    const app = this.#host.apps.get(events[message.event].app)
    if (!app) {
      return this.#peer.close(new OspError('malformed', `this server has no app for ${message.event}`))
    }
    const bytes = requestBytes + request.payloadBytes
    this.#hold(bytes)
    try {
      const reply = await app.handle(this, request)
      if (reply) this.#peer.reply(request, reply)
    } catch (error) {
      const why = this.#refusalOf(error, request)
      if (why.code === 'malformed') await this.#peer.close(why)
      else this.#peer.refuse(request, why)
    } finally {
      this.#hold(-bytes)
    }
  }

  /** The link is read only as fast as what it asks for is done. */
  #hold(bytes: number): void {
    this.#unwritten += bytes
    const full = this.#unwritten > this.#host.unwrittenBytes()
    if (full === this.#paused) return
    this.#paused = full
    if (full) this.#peer.pause()
    else this.#peer.resume()
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
    if (greeted) {
      for (const app of this.#host.apps.values()) app.lost(this)
      this.#host.log({ level: 'info', event: 'link-closed', ...linkOf(this), code: why.code, text: why.message })
    }
    this.#host.closed(this)
  }
}
