import type { LinkGauges } from '../core/link.ts'
import { OspError } from '../errors.ts'
import { fixed, type Limits, limitsWith } from '../limits.ts'
import { checkUserName, isUserName } from '../names.ts'
import { checkArgument, having, type Kind, kinds, madeOf, oneOf, optional } from '../options.ts'
import { originOf } from '../origins.ts'
import type { Authenticator } from '../ports/authenticator.ts'
import type { LinkDirectory, LinkEvents } from '../ports/links.ts'
import type { Listenable } from '../ports/listenable.ts'
import type { Log } from '../ports/log.ts'
import type { MailboxLevel } from '../ports/mailboxes.ts'
import type { Platform } from '../ports/platform.ts'
import type { Address, Listener, PeerAddress, Socket, Transport } from '../ports/socket.ts'
import type { OnConflict, Storage, StoredFile, VersionedFile } from '../ports/storage.ts'
import { deferred } from '../runtime/deferred.ts'
import { Emitter } from '../runtime/emitter.ts'
import { type MessageOptions, messageOptions, newMessage } from '../runtime/newMessage.ts'
import type { AppName } from '../wire/protocol.ts'
import { type ServerApp, type ServerContext, sessionLinkOf } from './app.ts'
import { Admission } from './connections/admission.ts'
import { IncompleteFrames } from './connections/incompleteFrames.ts'
import { LocalLinks } from './connections/localLinks.ts'
import { Session, type SessionHost } from './connections/session.ts'
import { UserRateLimiters } from './connections/userRateLimiters.ts'
import { WorkSlices } from './connections/workSlices.ts'
import { DiskSpace } from './files/diskSpace.ts'
import { FileApp } from './files/fileApp.ts'
import type { NotifyRule } from './files/fileNotices.ts'
import type { ServerUpload } from './files/serverUpload.ts'
import type { SetAsideFiles, StoredFileHandler } from './files/storedHandler.ts'
import type { UnfinishedUpload } from './files/unfinishedUploads.ts'
import type { UploadHook } from './files/uploadHook.ts'
import { MsgApp } from './messages/msgApp.ts'
import { RetentionClock } from './retentionClock.ts'
import { BoundedLog } from './serverLog.ts'
import type { ReceivingUpload, ServerGauges, ServerStatus } from './status.ts'

/**
 * The identity of a TLS server. `auto`: a key and a self-signed certificate, which are created once in `tls` of the data directory.
 * With `clientCa`, the server asks clients for a certificate, and verifies it with these root certificates.
 */
export type ServerTls =
  | 'auto'
  | {
      readonly cert: string | Uint8Array
      readonly key: string | Uint8Array
      readonly clientCa?: string | Uint8Array
    }

export interface ServeOptions {
  /** A port of the loopback interface, a URL such as `ospd://0.0.0.0:6682`, or a transport. Port 0 selects a free port. */
  readonly listen: number | string | URL | Transport
  /** The certificate and the key of a server that listens at a port or at an `ospds://` URL. Such a URL requires this option. */
  readonly tls?: ServerTls
  /** The path of the data directory, or a storage. */
  readonly storage: string | Storage
  /** The links of all servers that share the storage; by default those of this server alone. */
  readonly links?: LinkDirectory
  /** Decides which users may log in, also while the server runs. By default all clients on this machine may. */
  readonly authenticator?: Authenticator
  /** Accepts tokens from other machines also over links without encryption. */
  readonly allowPlaintext?: boolean
  readonly limits?: Partial<Limits>
  /** Decides what happens to a stored file of the same name; by default it is replaced. */
  readonly onConflict?: OnConflict
  /**
   * The users who receive a message with a reference to each stored file, with which they can download it. Each message is stored
   * once, even if the server is killed after it has stored the file. While their mailboxes are full, the server accepts no files.
   */
  readonly notify?: readonly NotifyRule[]
  /**
   * Handles each stored file at least once, even after a restart: the storage keeps the list of unhandled files. In a cluster, set
   * it on all servers: each server adds the files that it has stored, and one server at a time handles them.
   */
  readonly onStored?: StoredFileHandler
  /**
   * Decides about each upload before the server accepts it: refuses it, chooses the name under which the file is stored, or adds
   * metadata. If it throws, or takes longer than `limits.onUploadMs`, the upload is refused with `internal`.
   */
  readonly onUpload?: UploadHook
  /** By default, the first error of each kind in a function of these options, or in a listener, is emitted as a process warning. */
  readonly log?: Log
  /** Clock, randomness and digests; by default Node's. */
  readonly platform?: Platform
  /** Closes the server when it aborts. */
  readonly signal?: AbortSignal
}

const storage: Kind = madeOf('the path of a directory, or a storage, such as disk(directory)', {
  transfers: ['claim'],
  files: ['open'],
  mailboxes: ['append'],
})

/** The maximum number of rules of `notify`. */
const mostNotified = 16

const notify: Kind = {
  takes: 'an array of up to 16 rules, such as { user: "ingest" }',
  holds: (value) =>
    Array.isArray(value) &&
    value.length <= mostNotified &&
    value.every(({ user, pattern }) => isUserName(user) && (pattern === undefined || typeof pattern === 'string')),
}

/** The valid options of `serve`, except `listen` and `tls`. */
export const serveOptions = {
  storage: { ...storage, holds: (value: unknown) => kinds.path.holds(value) || storage.holds(value) },
  links: optional(having('a link directory', 'nextNode', 'openSession', 'listen')),
  authenticator: optional(kinds.authenticator),
  allowPlaintext: optional(kinds.flag),
  limits: optional(kinds.object),
  onConflict: optional(oneOf('replace', 'rename', 'reject')),
  notify: optional(notify),
  onStored: optional(kinds.function),
  onUpload: optional(kinds.function),
  log: optional(kinds.function),
  platform: optional(kinds.platform),
  signal: optional(kinds.signal),
} as const satisfies { readonly [K in Exclude<keyof ServeOptions, 'listen' | 'tls'>]-?: Kind }

/** The options with the adapters and the defaults of a platform. */
export interface BoundServeOptions extends Omit<ServeOptions, 'listen' | 'storage' | 'tls'> {
  readonly listen: Transport
  readonly storage: Storage
  readonly platform: Platform
  readonly authenticator: Authenticator
}

export interface ServerEvents {
  /** A file was stored; the client is informed afterwards. Occurs again if the server was killed in between. */
  stored: [file: StoredFile]
}

/** A running server. The caller of `serve` closes it, by `close()` or by the signal in the options. */
export interface Server extends Listenable<ServerEvents>, AsyncDisposable {
  readonly addresses: readonly Address[]
  /** Resolves when the server is closed and all its resources are released. */
  readonly closed: Promise<void>
  status(): ServerStatus
  /** Resolves with every mailbox that has waiting messages. Rejects with OspError `closed` after the server is closed. */
  mailboxes(): Promise<readonly MailboxLevel[]>
  /** Resolves with the uploads that are not stored yet, the longest idle first. */
  unfinished(): Promise<readonly UnfinishedUpload[]>
  /**
   * Removes an unfinished upload and its data on disk, unless it was idle for less than `idleMs`. A client that is sending
   * it receives the error `cancelled`. Resolves with whether an upload was removed.
   */
  removeUnfinished(user: string, name: string, idleMs?: number): Promise<boolean>
  /** The stored files that `onStored` has failed to handle. Throws OspError `usage` if the server has no `onStored`. */
  readonly setAside: SetAsideFiles
  /**
   * Sends a message from the user `from` to 1 to 16 users, with the limits and errors of `Client.send`.
   * Resolves when the message is stored durably for all recipients. Messages of one sender are stored in the order of the calls.
   * `from` need not be a known user, but only a known user can receive replies. Rejects with OspError `closed` if the server is
   * closed.
   */
  send(from: string, to: readonly string[], content: string | Uint8Array, options?: MessageOptions): Promise<void>
  /** Closes the server: refuses new clients, flushes written data and sends GOODBYE to the clients. Idempotent. */
  close(): Promise<void>
}

/**
 * Opens the storage, recovers the work that a crash interrupted, and listens. Resolves when clients can connect. Rejects,
 * with everything closed, with OspError `usage`, `data-locked`, `data-format` or `unreachable` (the address can't be used).
 */
export async function startServer(options: BoundServeOptions): Promise<RunningServer> {
  const limits = limitsWith(options.limits)
  const { platform, storage, listen } = options
  const age = new RetentionClock(platform.clock, storage.mailboxes)
  // Completion markers expire by the retention clock, so that clients do not repeat uploads after the wall clock jumps.
  await storage.open({ ...platform, clock: age.clock })
  const server = new RunningServer(options, limits, age)
  try {
    const recovered = await server.recover()
    const { handshakeMs, handshakes, backlog } = limits
    const bounds = { maxPayload: fixed.helloFrameBytes, handshakeMs, handshakes, backlog }
    server.listen(await listen.listen({ platform, ...bounds, rejected: server.rejected }))
    // Emits the events after the caller has the server and can listen to it.
    if (recovered.length === 0) return server
    platform.clock.alarm(platform.clock.now(), () => {
      void server.stored(recovered)
    })
    return server
  } catch (error) {
    await server.close()
    throw error
  }
}

/** A server with the members that only this package uses. */
export class RunningServer extends Emitter<ServerEvents> implements Server {
  readonly #fileApp: FileApp
  readonly #msgApp: MsgApp
  readonly #age: RetentionClock
  readonly #disk: DiskSpace
  readonly #options: BoundServeOptions
  readonly #host: SessionHost
  readonly #links: LinkDirectory
  /** By node. */
  readonly #sessions = new Map<number, Session>()
  readonly #log: BoundedLog
  readonly #closed = deferred<void>()
  readonly #watching: Disposable[] = []
  /** Sockets of ended sessions that are still closing. */
  readonly #leaving = new Set<Promise<void>>()
  #listener: Listener | undefined
  #closing = false

  constructor(options: BoundServeOptions, limits: Limits, age: RetentionClock) {
    const bounded = new BoundedLog(options.log, limits, options.platform.clock)
    const log = bounded.write
    super(options.log && (log as Log))
    this.#log = bounded
    this.#options = options
    this.#age = age
    const { platform, storage, authenticator, onConflict = 'replace' } = options
    const context: ServerContext = { platform, storage, limits, onConflict, log, age }
    this.#disk = new DiskSpace(context)
    this.#links = options.links ?? new LocalLinks()
    this.#msgApp = new MsgApp(context, this.#disk, authenticator, this.#links)
    const { notify, onStored, onUpload } = options
    const exchange = { mail: this.#msgApp.serverMail, notify, onStored, onUpload }
    this.#fileApp = new FileApp(context, this.#disk, exchange, (files) => this.stored(files))
    const admission = new Admission(limits, platform.clock, bounded)
    const { presence } = this.#msgApp
    this.#host = {
      platform,
      limits,
      links: {
        platform,
        side: 'server',
        first: 'HelloReq',
        keepAliveMs: limits.keepAliveMs,
        unsentBytes: limits.unsentBytes,
        listVersion: () => presence.sentVersion,
        fraction: () => platform.random.fraction('request jitter'),
      },
      log,
      authenticator,
      allowPlaintext: options.allowPlaintext === true,
      apps: new Map<AppName, ServerApp>([
        ['file', this.#fileApp],
        ['message', this.#msgApp],
      ]),
      bootId: platform.random.bytes(16, 'boot id'),
      hasCatalogue: storage.catalogue !== undefined,
      admission,
      incompleteFrames: new IncompleteFrames(limits, platform.clock),
      registrations: new WorkSlices(platform.clock),
      rateLimiters: new UserRateLimiters(context),
      presence,
      requestBytes: () => limits.chunkMemoryBytes / Math.max(4, admission.counts.open),
      openSession: (session) => this.#openSession(session),
      closed: (session) => this.#left(session),
    }
  }

  /** Logs a connection that the listener has closed. */
  readonly rejected = ({ host: from }: PeerAddress, reason: OspError): void =>
    this.#log.refused(originOf(from), { from }, reason)

  /** Recovers the state in the storage. Resolves with the files that the recovery published. */
  async recover(): Promise<readonly VersionedFile[]> {
    const { platform, storage } = this.#options
    await this.#age.open()
    this.#watching.push(this.#links.watch(this.#linkEvents))
    await this.#links.open(platform, storage.mailboxes)
    for (const member of this.#links.others()) this.#msgApp.presence.enter(member)
    await this.#disk.measure()
    await this.#msgApp.open()
    return this.#fileApp.recover()
  }

  listen(listener: Listener): void {
    this.#listener = listener
    const watching = this.#options.authenticator.watch?.((user) => {
      for (const session of this.#sessions.values()) session.accessChanged(user)
    })
    if (watching) this.#watching.push(watching)
    listener.start((socket) => this.#accept(socket))
    const { signal } = this.#options
    signal?.addEventListener('abort', () => void this.close(), { once: true })
    if (signal?.aborted) void this.close()
  }

  /** Reports stored files. Resolves when their messages are stored, or wait because they were refused. */
  stored(files: readonly VersionedFile[]): Promise<void> {
    for (const { version: _, ...file } of files) this.emit('stored', file)
    return this.#fileApp.reported(files)
  }

  get addresses(): readonly Address[] {
    return this.#listener ? [this.#listener.address] : []
  }

  get closed(): Promise<void> {
    return this.#closed.promise
  }

  status(): ServerStatus {
    const open = [...this.#sessions.values()].filter((session) => session.open)
    return {
      links: open.length,
      users: [...new Set(open.map(({ user }) => user))].sort(),
      online: [...this.#msgApp.presence],
      uploads: [...this.#fileApp.uploads.receiving()].map(statusOf),
      gauges: this.#gauges,
    }
  }

  get #gauges(): ServerGauges {
    const links = [...this.#sessions.values()].flatMap(({ gauges }) => gauges ?? [])
    const highest = (gauge: keyof LinkGauges) => links.reduce((most, link) => Math.max(most, link[gauge]), 0)
    const { admission, rateLimiters } = this.#host
    const own = {
      rememberedUsers: rateLimiters.gone,
      unsentBytesPerLink: highest('unsentBytes'),
      unsentRepliesPerLink: highest('unsentReplies'),
      runningRequestsPerLink: highest('runningRequests'),
      rememberedRepliesPerLink: highest('rememberedReplies'),
    }
    return Object.assign(own, admission.gauges, this.#msgApp.gauges, this.#fileApp.gauges)
  }

  mailboxes(): Promise<readonly MailboxLevel[]> {
    return this.#options.storage.mailboxes.levels()
  }

  unfinished(): Promise<readonly UnfinishedUpload[]> {
    return this.#fileApp.unfinished.list()
  }

  removeUnfinished(user: string, name: string, idleMs?: number): Promise<boolean> {
    return this.#fileApp.unfinished.remove(user, name, idleMs)
  }

  get setAside(): SetAsideFiles {
    const { storedFileCalls: calls } = this.#fileApp
    if (calls) return calls
    throw new OspError('usage', 'server.setAside: the server has no function onStored')
  }

  async send(...[from, to, content, options = {}]: Parameters<Server['send']>): Promise<void> {
    checkArgument('server.send', 'the sender', kinds.text, from)
    const sender = checkUserName(from)
    const newId = () => this.#options.platform.random.bytes(16, 'message id')
    const given = { where: 'server.send', kinds: messageOptions, to, content, options }
    const { messageId: id, body, ...message } = newMessage(given, newId)
    await this.#msgApp.send({ sender, id, content: body, ...message })
  }

  close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = true
      this.#shutDown().then(this.#closed.resolve, this.#closed.reject)
    }
    return this.#closed.promise
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #shutDown(): Promise<void> {
    for (const watching of this.#watching) watching[Symbol.dispose]()
    await this.#listener?.close()
    this.#host.admission.close()
    this.#host.incompleteFrames.stop()
    this.#host.registrations.stop()
    const ended = [...this.#sessions.values()].map((session) => this.#dismiss(session))
    try {
      await Promise.all([this.#fileApp.close(), this.#msgApp.close()])
      await Promise.all(ended)
      await Promise.all(this.#leaving)
    } finally {
      this.#log.close()
      try {
        await this.#links[Symbol.asyncDispose]()
      } finally {
        await this.#options.storage[Symbol.asyncDispose]()
      }
    }
  }

  #accept(socket: Socket): void {
    if (!this.#host.admission.enter(socket)) return
    const session = new Session(this.#host, socket, this.#links.nextNode())
    this.#sessions.set(session.node, session)
    this.#host.admission.counts.add(session)
    if (this.#closing) void this.#dismiss(session)
  }

  /** Ends a link, whose client connects again later. `text` is the reason if the server does not shut down. */
  #dismiss(session: Session, text?: string): Promise<void> {
    return session.close(new OspError('shutting-down', text, { retryAfterMs: this.#host.limits.retryAfterMs }))
  }

  #left(session: Session): void {
    this.#sessions.delete(session.node)
    if (session.session !== '') this.#links.closeSession(sessionLinkOf(session))
    // Resolves after the session has sent its last frame. Until then its socket counts as a link.
    const gone = Promise.resolve().then(() => session.close(new OspError('closed')))
    this.#leaving.add(gone)
    void gone.finally(() => this.#leaving.delete(gone) && this.#host.admission.counts.remove(session))
  }

  async #openSession(session: Session): Promise<void> {
    const { node, attempt } = session
    // The link can have ended while its user was authenticated, or while the directory recorded it.
    if (!this.#sessions.has(node)) return
    const link = sessionLinkOf(session)
    await this.#links.openSession(link, attempt)
    if (!this.#sessions.has(node)) this.#links.closeSession(link)
  }

  get #linkEvents(): LinkEvents {
    const { presence } = this.#msgApp
    return {
      here: (member) => presence.enter(member),
      gone: (member) => presence.leave(member),
      ended: (node, reason, by) => {
        if (reason === 'superseded') this.#msgApp.superseded(node, by)
        else void this.#sessions.get(node)?.close(new OspError(reason))
      },
      serverLost: () => {
        this.#fileApp.recoverAbandoned()
      },
      declaredDead: () => {
        const text = 'the server has lost its lease in the database of the cluster'
        for (const session of this.#sessions.values()) void this.#dismiss(session, text)
        this.#fileApp.declaredDead()
      },
    }
  }
}

function statusOf({ user, name, size, standing, instance }: ServerUpload): ReceivingUpload {
  return { user, name, size, instance: instance?.number ?? 0, node: instance?.holder?.node ?? 0, ...standing }
}
