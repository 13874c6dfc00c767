import type { LinkGauges } from '../core/link.ts'
import type { OspError } from '../errors.ts'
import { clientLimits } from '../limits.ts'
import { checkUserName } from '../names.ts'
import type { ClientState, Receipt } from '../ports/clientState.ts'
import type { Clock } from '../ports/platform.ts'
import { deferred } from '../runtime/deferred.ts'
import { Emitter, safeLog } from '../runtime/emitter.ts'
import { onAbort, waitAtMost } from '../runtime/wait.ts'
import type { BoundClientOptions, Client, ClientEvents, ClientGauges } from './client.ts'
import { ClientSession, type ClientStatus } from './connection/session.ts'
import { Messenger } from './messages/messenger.ts'
import type { Presence } from './messages/presence.ts'
import { UploadList } from './uploads/uploadList.ts'

/** The priority of statuses in the status of a client with several links, highest first. */
const statusOrder: readonly ClientStatus[] = ['waiting', 'connecting', 'online', 'closed', 'refused']

/** A client: its two links, and the uploads and messages on them. */
export class RunningClient extends Emitter<ClientEvents> implements Client {
  readonly uploads: UploadList
  readonly send: Client['send'] = (...message) => this.#messenger.send(...message)
  readonly receive: Client['receive'] = (handler) => this.#messenger.receive(handler)
  readonly messages: Client['messages'] = () => this.#messenger.messages()
  readonly #session: ClientSession
  readonly #messenger: Messenger
  readonly #clock: Clock
  readonly #aborted: Disposable | undefined
  readonly #closed = deferred<void>()
  readonly closed = this.#closed.promise
  #closing: Promise<void> | undefined
  #emitted: ClientStatus | undefined

  constructor({ signal, uploadsAtOnce, limitRate, log: listenerLog, ...options }: BoundClientOptions) {
    super(listenerLog)
    this.#clock = options.platform.clock
    const common = {
      ...options,
      user: checkUserName(options.user),
      token: options.token ?? (async () => ''),
      allowPlaintext: options.allowPlaintext ?? false,
      retryForMs: options.retryForMs ?? Number.POSITIVE_INFINITY,
      state: options.state ?? memoryState(),
      log: safeLog(listenerLog),
      listenerLog,
      changed: (...change: ClientEvents['status']) => this.#changed(...change),
    }
    this.#session = new ClientSession({ ...common, opened: ({ welcome }) => this.uploads.allow(welcome.maxUploads) })
    this.#messenger = new Messenger(common)
    this.uploads = new UploadList({
      ...common,
      session: this.#session,
      atOnce: uploadsAtOnce ?? clientLimits.uploads,
      limitRate: limitRate ?? Number.POSITIVE_INFINITY,
    })
    this.#aborted = signal && onAbort(signal, () => void this.close())
  }

  get status(): ClientStatus {
    const statuses = this.#sessions.map(({ status }) => status)
    return statusOrder.find((status) => statuses.includes(status)) ?? 'connecting'
  }

  get presence(): Presence {
    return this.#messenger.presence
  }

  async online(): Promise<void> {
    if (!this.#messenger.session) this.#session.start()
    const sessions = this.#sessions
    const going = sessions.filter(({ over }) => !over)
    await Promise.all((going.length > 0 ? going : sessions).map((session) => session.online()))
  }

  get gauges(): ClientGauges {
    const links = [this.#session.link, this.#messenger.session?.link].flatMap((link) => link?.peer.gauges ?? [])
    const highest = (gauge: keyof LinkGauges) => Math.max(0, ...links.map((gauges) => gauges[gauge]))
    return {
      ...this.#messenger.gauges,
      ...(this.#session.link?.buffers.gauges ?? { chunkBuffers: 0, waitingChunks: 0 }),
      unsentBytesPerLink: highest('unsentBytes'),
      unsentRepliesPerLink: highest('unsentReplies'),
      runningRequestsPerLink: highest('runningRequests'),
      rememberedRepliesPerLink: highest('rememberedReplies'),
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#shutDown().then(this.#closed.resolve, this.#closed.reject)
    return this.closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #shutDown(): Promise<void> {
    this.#aborted?.[Symbol.dispose]()
    const ended = this.uploads.close()
    const handled = this.#messenger.stop()
    // Waits a bounded time for the server to answer.
    await waitAtMost(this.#clock, clientLimits.closeMs, Promise.all([ended, handled]))
    await Promise.all([this.#session.close(), this.#messenger.close()])
    await ended
  }

  /** The sessions that have begun, or the session of the uploads if none has. */
  get #sessions(): readonly ClientSession[] {
    const { session } = this.#messenger
    if (!session) return [this.#session]
    return this.#session.begun ? [this.#session, session] : [session]
  }

  #changed(...[of, error, retryMs]: ClientEvents['status']): void {
    const { status } = this
    const before = this.#emitted
    this.#emitted = status
    // The error of one link is not the client's if another link has priority.
    const details = status === of ? ([error, retryMs] as const) : ([undefined, undefined] as const)
    if (status !== before || details[0]) this.emit('status', status, ...details)
  }
}

/** As `connect` of the package, with the defaults of a platform. */
export async function connectClient(options: BoundClientOptions): Promise<Client> {
  const client = new RunningClient(options)
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
  const look = (status: ClientStatus, error?: OspError) => {
    if (status === 'waiting') failed.reject(error)
  }
  client.on('status', look)
  try {
    await Promise.race([client.online(), failed.promise])
  } finally {
    client.off('status', look)
  }
}

/** Returns a client state in memory, without tasks. */
export function memoryState(): ClientState {
  const receipts: Receipt[] = []
  return {
    receipts: {
      load: async () => [...receipts],
      async put(receipt, most) {
        receipts.push(receipt)
        receipts.splice(0, receipts.length - most)
      },
    },
  }
}
