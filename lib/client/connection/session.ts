import { type ErrorCode, OspError } from '../../errors.ts'
import { clientLimits, fixed, MiB } from '../../limits.ts'
import type { Platform } from '../../ports/platform.ts'
import type { Socket, Transport } from '../../ports/socket.ts'
import { Backoff } from '../../runtime/backoff.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { LinkDriver, type LinkDriverEvents } from '../../runtime/linkDriver.ts'
import { assertTokenAllowed, type BoundToken, type GivenToken } from '../../runtime/tokenBinding.ts'
import { unlessAborted, wait, whenAborted } from '../../runtime/wait.ts'
import type { Frame } from '../../wire/frame.ts'
import type { WireMessage } from '../../wire/message.ts'
import { features, version } from '../../wire/protocol.ts'
import { Buffers } from './buffers.ts'
import { ReceivedSequences } from './receivedSequences.ts'

/** Returns an OspError `malformed`: the server violates the protocol, as `text` describes. */
export const protocolViolation = (text: string) =>
  new OspError('malformed', `the server violates the protocol: ${text}`)

/** Returns the waits between the tries of a request that the server refuses for a limited time. */
export function refusalBackoff({ clock, random }: Pick<Platform, 'clock' | 'random'>, retryForMs: number): Backoff {
  const { reconnectFirstMs: firstMs, reconnectMostMs: mostMs } = clientLimits
  const fraction = () => random.fraction('refused upload')
  return new Backoff({ clock, firstMs, mostMs, retryForMs, fraction, automaticAtOnce: true })
}

export type ClientStatus = 'connecting' | 'online' | 'waiting' | 'refused' | 'closed'

/** The handlers of requests and notices on a link. An error that one throws ends the link. */
export type AppEvents = Required<Pick<LinkDriverEvents, 'request' | 'notice' | 'pong'>>

/** A link after HELLO. */
export interface OnlineLink {
  readonly peer: LinkDriver
  readonly welcome: WireMessage<'HelloAck'>
  /** The time from HELLO_REQ to HELLO_ACK. */
  readonly roundTripMs: number
  /** Aborts when the link has ended; the reason is an OspError. */
  readonly closed: AbortSignal
  readonly buffers: Buffers
  /** The REQs that have arrived, if the socket can lose or reorder frames. */
  readonly arrivals: ReceivedSequences | undefined
}

/** Why a session has no link, and when it connects again, by the clock of its platform. */
export interface ConnectionFailure {
  readonly error: OspError
  readonly retryAtMs: number | undefined
}

export interface SessionOptions {
  readonly to: Transport
  readonly platform: Platform
  readonly user: string
  readonly software: string
  readonly token: () => Promise<GivenToken>
  readonly allowPlaintext: boolean
  readonly retryForMs: number
  /** Handles the server's requests and notices. Without it a request is an error of the server, and a notice is ignored. */
  readonly app?: AppEvents
  readonly opened: (link: OnlineLink) => void
  /** Called with the `error` for which it waits or is refused, and the milliseconds until the next try. */
  readonly changed: (status: ClientStatus, error?: OspError, retryMs?: number) => void
}

/** Errors after which the session does not connect again. */
const final: readonly ErrorCode[] = ['unauthorized', 'unsupported-version', 'superseded', 'bad-name']

/** The users may have changed since HELLO: the next HELLO shows whether the server still accepts this user. */
function afterGoodbye(error: OspError): OspError {
  return error.code === 'unauthorized' ? new OspError('link-lost', error.message) : error
}

/** A logical link of a client. It dials, says HELLO, and reconnects automatically (docs/protocol.md, "Delivery", 6). */
export class ClientSession {
  readonly #options: SessionOptions
  readonly #id: Uint8Array
  readonly #closing = new AbortController()
  readonly #backoff: Backoff
  status: ClientStatus = 'connecting'
  link: OnlineLink | undefined
  /** The final error that ended it; code `closed` after `close`. */
  over: OspError | undefined
  /** Set while there is no link. */
  failure: ConnectionFailure | undefined
  #online: Deferred<OnlineLink> = deferred()
  #running: Promise<void> | undefined
  /** The number of dialled links, by which the server finds the latest HELLO_REQ. */
  #attempt = 0

  constructor(options: SessionOptions) {
    const { platform, retryForMs } = options
    const { reconnectFirstMs: firstMs, reconnectMostMs: mostMs } = clientLimits
    const fraction = () => platform.random.fraction('reconnect')
    this.#options = options
    this.#id = platform.random.bytes(16, 'session')
    this.#backoff = new Backoff({ clock: platform.clock, firstMs, mostMs, retryForMs, fraction })
  }

  get begun(): boolean {
    return this.#running !== undefined
  }

  /** Begins to connect. Idempotent. */
  start(): void {
    if (this.#running) return
    this.#backoff.restartTime()
    this.#running = this.#run().catch((error: unknown) => this.#end('refused', OspError.from(error)))
    this.#options.changed(this.status)
  }

  /** Resolves with the link when it is online; rejects when the session is refused or closed. */
  async online(signal?: AbortSignal): Promise<OnlineLink> {
    if (this.over) throw this.over
    if (this.link && !signal?.aborted) return this.link
    return signal ? unlessAborted(this.#online.promise, signal) : this.#online.promise
  }

  /** Says GOODBYE and does not connect again, because of `error`. */
  async refuse(error: OspError): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    this.#end('refused', error)
    await this.#leave()
  }

  /** Says GOODBYE and does not connect again. Idempotent. */
  async close(): Promise<void> {
    if (!this.#closing.signal.aborted) {
      this.#closing.abort()
      await this.#leave()
      this.#end('closed', new OspError('closed', 'the client was closed'))
    }
    await this.#running
  }

  async #leave(link = this.link): Promise<void> {
    await link?.peer.close(new OspError('shutting-down', 'the client has ended'))
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      const error = await this.#once()
      if (signal.aborted) return
      if (final.includes(error.code)) throw error
      const waitMs = this.#backoff.next(error)
      this.#set('waiting', error, waitMs)
      await wait(this.#options.platform.clock, waitMs, signal).catch(() => {})
    }
  }

  /** Connects. Resolves with the error that prevented it or that ended the link. */
  async #once(): Promise<OspError> {
    this.#set('connecting')
    try {
      const link = await this.#connect()
      // A session that was closed meanwhile did not know this link.
      if (this.#closing.signal.aborted) await this.#leave(link)
      const since = this.#now()
      this.link = link
      this.#online.resolve(link)
      this.#options.opened(link)
      this.#set('online')
      const error = OspError.from(await whenAborted(link.closed))
      // HELLO_REQ alone does not count: a server can accept the client again and again and then break the protocol or the link.
      const isUseful = link.peer.answered > 1 && error.code !== 'malformed'
      const { usefulLinkMs, goodLinkMs } = clientLimits
      if (this.#now() - since >= (isUseful ? usefulLinkMs : goodLinkMs)) this.#backoff.reset()
      else if (isUseful) this.#backoff.restartTime()
      return afterGoodbye(error)
    } catch (error) {
      return OspError.from(error)
    } finally {
      if (this.link) {
        this.link = undefined
        this.#online = deferred()
      }
    }
  }

  async #connect(): Promise<OnlineLink> {
    const { to, platform, token, allowPlaintext } = this.#options
    const late = new AbortController()
    const alarm = platform.clock.alarm(this.#now() + clientLimits.handshakeMs, () => late.abort())
    const signal = AbortSignal.any([this.#closing.signal, late.signal])
    let stage: 'token' | 'dialling' | 'hello' = 'token'
    try {
      // Before dialling: the server waits for HELLO for a limited time only.
      const given = await tokenOf(token, signal)
      stage = 'dialling'
      const attempt = ++this.#attempt
      const socket = await to.dial({ platform, maxPayload: fixed.clientFrameBytes }, signal)
      stage = 'hello'
      assertTokenAllowed(given, socket, allowPlaintext)
      return await this.#greet(socket, { token: given.token, attempt }, signal)
    } catch (error) {
      if (!late.signal.aborted || this.#closing.signal.aborted) throw error
      const asked = stage === 'token' ? 'the token function' : 'the server'
      // The transport's error names the addresses that it tried.
      const tried = stage === 'dialling' ? `: ${OspError.from(error).message}` : ''
      throw new OspError('timed-out', `${asked} did not answer in time${tried}`, { cause: error })
    } finally {
      alarm[Symbol.dispose]()
    }
  }

  /** Says HELLO. The app handles nothing before the answer. */
  async #greet(
    socket: Socket,
    { token, attempt }: { readonly token: string; readonly attempt: number },
    signal: AbortSignal,
  ): Promise<OnlineLink> {
    const { platform, user: userName, software } = this.#options
    const closed = new AbortController()
    const arrivals = socket.reliable ? undefined : new ReceivedSequences()
    let app: AppEvents | undefined
    const { defaultKeepAliveMs: keepAliveMs } = fixed
    const tracking = arrivals && { arrived: (_bytes: number, frame: Frame) => arrivals.take(frame) }
    const peer = new LinkDriver(
      socket,
      {
        platform,
        side: 'client',
        keepAliveMs,
        unsentBytes: 64 * MiB,
        fraction: () => platform.random.fraction('request jitter'),
      },
      {
        request: (request) => (app ? app.request(request) : peer.refuse(request, new OspError('malformed'))),
        notice: (message) => app?.notice(message),
        pong: (listVersion) => app?.pong(listVersion),
        closed: (error) => closed.abort(error),
        ...tracking,
      },
    )
    try {
      const offered = (socket.reliable ? features.uncheckedContent : 0) | features.storedFiles | features.putFiles
      const identity = { userName, token, session: this.#id, software }
      const hello = { event: 'HelloReq', versions: [version], ...identity, features: offered, attempt } as const
      const askedAtMs = this.#now()
      const welcome = checkWelcome(await unlessAborted(peer.ask(hello).reply, signal))
      const roundTripMs = this.#now() - askedAtMs
      peer.keepAliveMs = welcome.keepAlive
      socket.checksContent = (welcome.features & offered & features.uncheckedContent) === 0
      app = this.#options.app
      const buffers = new Buffers(welcome.maxFrame, closed.signal)
      return { peer, welcome, roundTripMs, closed: closed.signal, buffers, arrivals }
    } catch (error) {
      // On sockets that reorder, a GOODBYE can come before the answer to HELLO.
      if (peer.ended && peer.ended === error) throw afterGoodbye(peer.ended)
      // A HELLO_REQ in transit must not arrive after the HELLO_REQ of a later attempt.
      peer.reset(OspError.from(error))
      throw error
    }
  }

  #end(status: 'refused' | 'closed', error: OspError): void {
    if (this.status === 'refused' || this.status === 'closed') return
    this.over = error
    this.#online.reject(error)
    this.#set(status, error)
  }

  #set(status: ClientStatus, error?: OspError, retryMs?: number): void {
    if (this.status === status && !error) return
    this.status = status
    if (error) this.failure = { error, retryAtMs: retryMs && this.#now() + retryMs }
    if (status === 'online') this.failure = undefined
    this.#options.changed(status, error, retryMs)
  }

  #now(): number {
    return this.#options.platform.clock.now()
  }
}

/** Calls `token`. Rejects with OspError `unauthorized` if it fails or its value is invalid, and with `closed` by `signal`. */
async function tokenOf(token: () => Promise<GivenToken>, signal: AbortSignal): Promise<BoundToken> {
  const called = (async () => await token())()
  const given = await unlessAborted(called, signal).catch((cause: unknown) => {
    if (signal.aborted || (cause instanceof OspError && cause.code === 'unauthorized')) throw cause
    const text = cause instanceof Error ? cause.message : String(cause)
    throw new OspError('unauthorized', `there is no token for the server: ${text}`, { cause })
  })
  if (typeof given === 'string') return { token: given, boundTo: 'open' }
  const { token: text, boundTo } = (given ?? {}) as Partial<BoundToken>
  if (typeof text === 'string' && typeof boundTo === 'string') return { token: text, boundTo }
  throw new OspError('unauthorized', `the token for the server must be a string, but is of type ${typeof given}`)
}

/** Returns `welcome`. Throws OspError `malformed` if a client cannot work with its values. */
function checkWelcome(welcome: WireMessage<'HelloAck'>): WireMessage<'HelloAck'> {
  const { leastKeepAliveMs, mostKeepAliveMs, helloFrameBytes } = fixed
  const { maxFrame, keepAlive, maxUploads } = welcome
  if (welcome.version !== version) throw protocolViolation(`it chose version ${welcome.version}, which was not offered`)
  if (maxFrame < helloFrameBytes) throw protocolViolation(`it accepts only payloads of up to ${maxFrame} bytes`)
  if (keepAlive < leastKeepAliveMs || keepAlive > mostKeepAliveMs)
    throw protocolViolation(`its keep-alive interval is ${keepAlive} ms`)
  if (maxUploads === 0) throw protocolViolation('it accepts no uploads')
  return welcome
}
