import { EventEmitter } from 'eventemitter3'
import type { OspError } from '../errors.ts'
import { clientLimits } from '../limits.ts'
import { checkUserName } from '../names.ts'
import type { Log } from '../ports/log.ts'
import type { Platform } from '../ports/platform.ts'
import type { Transport } from '../ports/socket.ts'
import { deferred } from '../runtime/deferred.ts'
import { tell } from '../runtime/tell.ts'
import { wait } from '../runtime/wait.ts'
import { checkConnectOptions } from './options.ts'
import { ClientSession, type ClientStatus } from './session.ts'
import { UploadList } from './uploadList.ts'
import type { Uploads } from './uploads.ts'

/** An option that is `undefined` has its default. */
export interface ConnectOptions {
  readonly to: Transport
  readonly user: string
  /** Gives the token that the server knows this user by. What it throws is final: the client is `refused` then. */
  readonly token?: (() => Promise<string>) | undefined
  /**
   * How long an unreachable server, or a refusal that can pass, is waited for. By default for ever, except by `connect`,
   * which gives up at the first failure; once it is connected the client waits for ever as well.
   */
  readonly retryForMs?: number | undefined
  /** Uploads at once, where the server allows as many; 5 by default. */
  readonly uploadsAtOnce?: number | undefined
  /** Bytes a second for all uploads together; by default there is no bound. */
  readonly limitRate?: number | undefined
  readonly log?: Log | undefined
  /** Clock, randomness and digests; by default Node's. */
  readonly platform?: Platform | undefined
  /** Closes the client when it aborts. */
  readonly signal?: AbortSignal | undefined
}

export interface ClientEvents {
  /** `why` it is waiting or refused; when it is waiting, the next try is in `retryMs`. */
  status: [status: ClientStatus, why: OspError | undefined, retryMs: number | undefined]
}

/** A user's connection to a server. Closing it is its owner's: `close()`, or the signal that it was given. */
export interface Client extends EventEmitter<ClientEvents>, AsyncDisposable {
  readonly status: ClientStatus
  readonly uploads: Uploads
  /** Resolves when it has been closed. */
  readonly closed: Promise<void>
  /** Resolves when the server has let it in; rejects when the server refuses it, or could not be reached in time. */
  online(): Promise<void>
  /** Ends the links; what is unfinished can be continued by another client of the user. Idempotent. */
  close(): Promise<void>
}

/** What a platform's door has filled in. */
export type BoundOptions = Omit<ConnectOptions, 'platform'> & { readonly platform: Platform; readonly software: string }

/**
 * A client, at once; it connects when it is first used. Throws OspError `usage` for an option that can't be, and
 * `bad-name` for a user that can't be one.
 */
export function createClient(options: BoundOptions): Client {
  return new RunningClient(options)
}

/**
 * A client that the server has let in. Rejects as `Client.online` does, and, unless `retryForMs` is given, at the first
 * failure; nothing is left open then.
 */
export async function connect(options: BoundOptions): Promise<Client> {
  const client = createClient(options)
  try {
    await (options.retryForMs === undefined ? firstTry(client) : client.online())
    return client
  } catch (error) {
    await client.close()
    throw error
  }
}

/** Resolves when the client is online; rejects when its first try has failed. */
async function firstTry(client: Client): Promise<void> {
  const failed = deferred<never>()
  const look = (status: ClientStatus, why?: OspError) => {
    if (status === 'waiting') failed.reject(why)
  }
  client.on('status', look)
  try {
    await Promise.race([client.online(), failed.promise])
  } finally {
    client.off('status', look)
  }
}

class RunningClient extends EventEmitter<ClientEvents> implements Client {
  readonly uploads: UploadList
  readonly #session: ClientSession
  readonly #platform: Platform
  readonly #signal: AbortSignal | undefined
  readonly #aborted = () => void this.close()
  readonly #closed = deferred<void>()
  #closing = false

  constructor(options: BoundOptions) {
    super()
    checkConnectOptions(options)
    const { to, platform, software, retryForMs = Number.POSITIVE_INFINITY, log = () => {} } = options
    this.#platform = platform
    this.#session = new ClientSession({
      to,
      platform,
      software,
      retryForMs,
      user: checkUserName(options.user),
      token: options.token ?? (async () => ''),
      log,
      opened: ({ welcome }) => this.uploads.allow(welcome.maxUploads),
      changed: (status, why, retryMs) => tell(() => this.emit('status', status, why, retryMs)),
    })
    const { uploadsAtOnce: atOnce = clientLimits.uploads, limitRate = Number.POSITIVE_INFINITY } = options
    this.uploads = new UploadList({ platform, session: this.#session, atOnce, limitRate, retryForMs, log })
    this.#signal = options.signal
    options.signal?.addEventListener('abort', this.#aborted, { once: true })
    if (options.signal?.aborted) void this.close()
  }

  get status(): ClientStatus {
    return this.#session.status
  }

  get closed(): Promise<void> {
    return this.#closed.promise
  }

  async online(): Promise<void> {
    this.#session.start()
    await this.#session.online()
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
    this.#signal?.removeEventListener('abort', this.#aborted)
    const { clock } = this.#platform
    const ended = this.uploads.close()
    // A server that answers keeps all that it has; one that doesn't is not waited for.
    const late = new AbortController()
    const patience = wait(clock, clientLimits.closeMs, late.signal).catch(() => {})
    await Promise.race([ended, patience])
    // A pending alarm would keep the process alive.
    late.abort()
    await this.#session.close()
    await ended
  }
}
