import { type ErrorCode, OspError } from '../../errors.ts'
import { clientLimits, defaultLimits, fixed, MiB } from '../../limits.ts'
import type { Log } from '../../ports/log.ts'
import type { Platform } from '../../ports/platform.ts'
import type { Transport } from '../../ports/socket.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { LinkDriver } from '../../runtime/linkDriver.ts'
import type { LinkDriverEvents } from '../../runtime/linkDriverOptions.ts'
import { assertTokenAllowed, type GivenToken } from '../../runtime/tokenBinding.ts'
import { unlessAborted, wait } from '../../runtime/wait.ts'
import type { Message } from '../../wire/message.ts'
import { version } from '../../wire/protocol.ts'
import type { Trouble } from '../uploads/taskStatus.ts'
import { checkWelcome } from './answers.ts'
import { Loss } from './loss.ts'
import { tokenOf } from './token.ts'

export type ClientStatus = 'connecting' | 'online' | 'waiting' | 'refused' | 'closed'

/** What an app hears on its link. What it throws ends the link. */
export type AppEvents = Required<Omit<LinkDriverEvents, 'closed'>>

/** A link that has been let in. */
export interface OnlineLink {
  readonly peer: LinkDriver
  readonly welcome: Message<'HelloAck'>
  readonly loss: Loss
  /** Where the server has requests and news of its own; without it a request is a fault, and news is nobody's. */
  readonly app?: AppEvents
}

/** `L` is what the session's app makes of a link. */
export interface SessionOptions<L extends OnlineLink> {
  readonly to: Transport
  readonly platform: Platform
  readonly user: string
  readonly token: () => Promise<GivenToken>
  /** The token may go where others can read it on the way. */
  readonly insecure: boolean
  /** How long an unreachable server is tried before the session gives up. */
  readonly retryForMs: number
  readonly software: string
  readonly log: Log
  /** Gives a link that was let in what the app needs on it. */
  readonly equip: (link: OnlineLink) => L
  /** It is online with this link. */
  readonly opened: (link: L) => void
  /** `why` it is waiting or refused, and in how many milliseconds the next try is. */
  readonly changed: (status: ClientStatus, why?: OspError, retryMs?: number) => void
}

/** After these the session does not come back by itself. */
const final: readonly ErrorCode[] = ['unauthorized', 'unsupported-version', 'superseded', 'bad-name']

/** Who may come in has changed since HELLO was answered: the next one tells whether this user still may. */
function afterGoodbye(why: OspError): OspError {
  return why.code === 'unauthorized' ? new OspError('link-lost', why.message) : why
}

/** One logical link of a client: dials, says HELLO, and reconnects by itself (docs/protocol.md, "Delivery", 6). */
export class ClientSession<L extends OnlineLink = OnlineLink> {
  readonly #options: SessionOptions<L>
  readonly #id: Uint8Array
  readonly #closing = new AbortController()
  #status: ClientStatus = 'connecting'
  #online: Deferred<L> = deferred()
  #current: L | undefined
  #over: OspError | undefined
  #running: Promise<void> | undefined
  #tries = 0
  /** The number of dialled links, so that the server knows which HELLO_REQ is the latest. */
  #attempt = 0
  #lastOnlineMs: number
  /** Why there is no link, while there is none. */
  trouble: Trouble | undefined

  constructor(options: SessionOptions<L>) {
    this.#options = options
    this.#id = options.platform.random.bytes(16, 'session')
    this.#lastOnlineMs = options.platform.clock.now()
  }

  get status(): ClientStatus {
    return this.#status
  }

  /** Whether it has begun to connect. */
  get begun(): boolean {
    return this.#running !== undefined
  }

  /** Why it was refused for good, or closed. */
  get over(): OspError | undefined {
    return this.#over
  }

  /** Begins to connect, if it has not. */
  start(): void {
    if (this.#running) return
    this.#lastOnlineMs = this.#now()
    this.#running = this.#run().catch((error: unknown) => this.#end('refused', OspError.from(error)))
    this.#options.changed(this.#status)
  }

  /** Resolves with the link once there is one; rejects when the session has been refused or closed. */
  async online(signal?: AbortSignal): Promise<L> {
    if (this.#over) throw this.#over
    return signal ? unlessAborted(this.#online.promise, signal) : this.#online.promise
  }

  /** Says GOODBYE and stays away, since `why` can't be helped. */
  async refuse(why: OspError): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    this.#end('refused', why)
    await this.#leave()
  }

  /** Says GOODBYE and stays away. Idempotent. */
  async close(): Promise<void> {
    if (!this.#closing.signal.aborted) {
      this.#closing.abort()
      await this.#leave()
      this.#end('closed', new OspError('closed', 'the client was closed'))
    }
    await this.#running
  }

  async #leave(): Promise<void> {
    await this.#current?.peer.close(new OspError('shutting-down', 'the client has ended'))
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      const why = await this.#once()
      if (signal.aborted) return
      if (final.includes(why.code)) return this.#end('refused', why)
      const offlineMs = this.#now() - this.#lastOnlineMs
      if (offlineMs >= this.#options.retryForMs) return this.#end('refused', why)
      // The last try is when the time is up, not a long wait later.
      const waitMs = Math.min(this.#backoffMs(why), this.#options.retryForMs - offlineMs)
      this.#tries++
      this.#set('waiting', why, waitMs)
      await wait(this.#options.platform.clock, waitMs, signal).catch(() => {})
    }
  }

  /** Connects, and resolves with why that failed or why the link has ended. */
  async #once(): Promise<OspError> {
    this.#set('connecting')
    try {
      const link = await this.#connect()
      // Closed while it was let in: nobody else knows of this link.
      if (this.#closing.signal.aborted) await link.peer.close(new OspError('shutting-down', 'the client has ended'))
      const since = this.#now()
      this.#current = link
      this.#online.resolve(link)
      this.#options.opened(link)
      this.#set('online')
      const why = await link.loss.why
      const now = this.#now()
      const wasGood = now - since >= clientLimits.goodLinkMs
      if (wasGood) this.#tries = 0
      // HELLO_REQ alone does not count: a server can let the client in again and again and then break the protocol or the link.
      const isUseful = link.peer.answered > 1 && why.code !== 'malformed'
      if (wasGood || isUseful) this.#lastOnlineMs = now
      return afterGoodbye(why)
    } catch (error) {
      return OspError.from(error)
    } finally {
      if (this.#current) {
        this.#current = undefined
        this.#online = deferred()
      }
    }
  }

  async #connect(): Promise<L> {
    const { to, platform } = this.#options
    const { signal } = this.#closing
    const late = new AbortController()
    const alarm = platform.clock.alarm(this.#now() + clientLimits.handshakeMs, () => late.abort())
    let stage: 'token' | 'dialling' | 'hello' = 'token'
    let app: AppEvents | undefined
    const loss = new Loss()
    try {
      const either = AbortSignal.any([signal, late.signal])
      // Before dialling: the server waits for HELLO only so long.
      const given = await tokenOf(this.#options.token, either)
      stage = 'dialling'
      const attempt = ++this.#attempt
      const socket = await to.dial({ platform, maxPayload: fixed.clientFrameBytes }, either)
      stage = 'hello'
      assertTokenAllowed(given, socket, this.#options.insecure)
      const { token } = given
      const { keepAliveMs } = defaultLimits
      const peer = new LinkDriver(
        { socket, platform, side: 'client', keepAliveMs, unsentBytes: 64 * MiB },
        {
          request: (request) => (app ? app.request(request) : peer.refuse(request, new OspError('malformed'))),
          notice: (message) => app?.notice(message),
          pong: (listVersion) => app?.pong(listVersion),
          closed: (why) => loss.happen(why),
        },
      )
      const welcome = await this.#greet(peer, loss, { token, attempt }, either)
      const link = this.#options.equip({ peer, welcome, loss })
      app = link.app
      return link
    } catch (error) {
      if (!late.signal.aborted || signal.aborted) throw error
      const asked = stage === 'token' ? 'the function that gives the token' : 'the server'
      // The transport's error names the addresses that it tried.
      const tried = stage === 'dialling' ? `: ${OspError.from(error).message}` : ''
      throw new OspError('timed-out', `${asked} has not answered in time${tried}`, { cause: error })
    } finally {
      alarm[Symbol.dispose]()
    }
  }

  async #greet(
    peer: LinkDriver,
    loss: Loss,
    { token, attempt }: { readonly token: string; readonly attempt: number },
    signal: AbortSignal,
  ): Promise<Message<'HelloAck'>> {
    const { user: userName, software } = this.#options
    try {
      const who = { userName, token, session: this.#id, software }
      const hello = { event: 'HelloReq', versions: [version], ...who, features: 0, attempt } as const
      const welcome = checkWelcome(await unlessAborted(peer.ask(hello).reply, signal))
      peer.keepAliveMs = welcome.keepAlive
      return welcome
    } catch (error) {
      // On sockets that reorder, a GOODBYE can come before the answer to HELLO.
      if (loss.happened && loss.happened === error) throw afterGoodbye(loss.happened)
      // A HELLO_REQ in transit must not arrive after the HELLO_REQ of a later attempt.
      peer.reset(OspError.from(error))
      throw error
    }
  }

  #backoffMs(why: OspError): number {
    const { reconnectFirstMs, reconnectMostMs } = clientLimits
    const most = Math.min(reconnectMostMs, reconnectFirstMs * 2 ** this.#tries)
    // Behind what the server asks for, and not in its place: or all whom it has asked would come back at once.
    return why.retryAfterMs + this.#options.platform.random.fraction('reconnect') * most
  }

  #end(status: 'refused' | 'closed', why: OspError): void {
    if (this.#status === 'refused' || this.#status === 'closed') return
    this.#over = why
    this.#online.reject(why)
    this.#set(status, why)
  }

  #set(status: ClientStatus, why?: OspError, retryMs?: number): void {
    if (this.#status === status && !why) return
    this.#status = status
    if (why) this.trouble = { why, retryAtMs: retryMs && this.#now() + retryMs }
    if (status === 'online') this.trouble = undefined
    this.#options.changed(status, why, retryMs)
  }

  #now(): number {
    return this.#options.platform.clock.now()
  }
}
