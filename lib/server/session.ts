import type { Request } from '../core/link.ts'
import { OspError } from '../errors.ts'
import { KiB, type Limits } from '../limits.ts'
import { checkUserName } from '../names.ts'
import type { Authenticator } from '../ports/authenticator.ts'
import type { Log, LogEntry } from '../ports/log.ts'
import type { Platform } from '../ports/platform.ts'
import type { Socket } from '../ports/socket.ts'
import { hex } from '../runtime/hex.ts'
import { Peer } from '../runtime/peer.ts'
import type { Asked } from '../runtime/peerOptions.ts'
import type { Encoded, Message, NoticeName, RequestName } from '../wire/message.ts'
import { type App as AppName, events, version } from '../wire/protocol.ts'
import type { App, Caller } from './app.ts'
import type { Door } from './door.ts'
import { Idleness } from './idleness.ts'
import { originOf } from './originOf.ts'
import { Reading } from './reading.ts'
import { refusalOf } from './refusalOf.ts'
import type { UserPace, UserPaces } from './userPaces.ts'
import { welcome } from './welcome.ts'

/** What a session needs of its server. */
export interface SessionHost {
  readonly platform: Platform
  readonly limits: Limits
  readonly authenticator: Authenticator
  readonly apps: ReadonlyMap<AppName, App>
  /** 16 bytes that name this run of the server. */
  readonly bootId: Uint8Array
  readonly log: Log
  readonly door: Door
  readonly paces: UserPaces
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
  /** What it is counted by. */
  readonly origin: string
  readonly #host: SessionHost
  readonly #peer: Peer
  readonly #reading: Reading
  readonly #greeting: Disposable
  #pace: UserPace | undefined
  #idleness: Idleness | undefined
  #state: 'silent' | 'greeting' | 'open' | 'closed' = 'silent'
  #user = ''
  #session = ''

  constructor(host: SessionHost, socket: Socket, node: number) {
    this.#host = host
    this.node = node
    this.origin = originOf(socket.peer.host)
    const { platform, limits } = host
    this.#greeting = platform.clock.alarm(platform.clock.now() + limits.handshakeMs, () => this.#late())
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
        arrived: (bytes) => this.#pace?.took(bytes, this.#reading),
      },
      {
        request: (request) => this.#request(request),
        notice: () => {},
        closed: (why) => this.#closed(why),
      },
    )
    this.#reading = new Reading(this.#peer, () => host.unwrittenBytes())
  }

  get user(): string {
    return this.#user
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
    const { door, authenticator, limits, bootId } = this.#host
    try {
      door.admit(this.origin, hello.userName)
      if (!hello.versions.includes(version)) {
        throw new OspError('unsupported-version', `this server speaks version ${version} of the protocol`)
      }
      const { userName: user, token } = hello
      checkUserName(user)
      const { peer } = this.#peer.socket
      const authenticate = () => authenticator.authenticate({ user, token, peer })
      const admitted = await door.judge(this.origin, user, authenticate)
      this.#user = admitted.user
      this.#session = hex(hello.session)
      await this.#host.replaces(this)
      if (this.#state !== 'greeting') return
      const ack = welcome(limits, bootId, this.node)
      this.#peer.socket.maxPayload = ack.maxFrame
      this.#peer.reply(request, ack)
      this.#open()
      this.#log('info', 'link-open', {})
    } catch (error) {
      const why = this.#refusalOf(error, request)
      const { host: from } = this.#peer.socket.peer
      door.refused(this.origin, { user: hello.userName, node: this.node, from }, why)
      this.#peer.refuse(request, why)
      await this.#peer.closeQuietly(why)
    }
  }

  #open(): void {
    const { platform, limits, apps, paces } = this.#host
    this.#state = 'open'
    this.#pace = paces.enter(this.#user)
    const holds = () => [...apps.values()].some((app) => app.holds(this))
    this.#idleness = new Idleness(platform.clock, limits.idleMs, holds, () => {
      const idleS = limits.idleMs / 1_000
      void this.close(new OspError('timed-out', `nothing was asked for ${idleS} s, and nothing was under way`))
    })
  }

  #log(level: LogEntry['level'], event: string, fields: Omit<LogEntry, 'level' | 'event'>): void {
    const { user, node } = this
    this.#host.log({ level, event, user, node, from: this.#peer.socket.peer.host, ...fields })
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
    const log = (fields: Omit<LogEntry, 'level' | 'event'>) => this.#log('error', 'request-failed', fields)
    return refusalOf(error, message.event, this.#host.limits.retryAfterMs, log)
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
      this.#idleness?.stop()
      this.#host.paces.leave(this.#user, this.#reading)
      for (const app of this.#host.apps.values()) app.lost(this)
      this.#log('info', 'link-closed', { code: why.code, text: why.message })
    }
    this.#host.closed(this)
  }
}
