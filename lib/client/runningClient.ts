import type { LinkGauges } from '../core/gauges.ts'
import { clientLimits } from '../limits.ts'
import { checkUserName } from '../names.ts'
import type { ClientState, Receipt } from '../ports/clientState.ts'
import type { Platform } from '../ports/platform.ts'
import { deferred } from '../runtime/deferred.ts'
import { Emitter, safeLog } from '../runtime/emitter.ts'
import { wait } from '../runtime/wait.ts'
import type { BoundClientOptions, Client, ClientEvents, ClientGauges } from './client.ts'
import { ClientSession, type ClientStatus } from './connection/session.ts'
import type { Message, MessageHandler, Receiver, RecipientState, SendOptions } from './messages/message.ts'
import { Messenger } from './messages/messenger.ts'
import type { Presence } from './messages/presence.ts'
import { type UploadLink, uploadLink } from './uploads/buffers.ts'
import { UploadList } from './uploads/uploadList.ts'

/** The priority of statuses in the status of a client with several links, highest first. */
const statusOrder: readonly ClientStatus[] = ['waiting', 'connecting', 'online', 'closed', 'refused']

/** A client: its two links, and the uploads and messages on them. */
export class RunningClient extends Emitter<ClientEvents> implements Client {
  readonly uploads: UploadList
  readonly #session: ClientSession<UploadLink>
  readonly #messenger: Messenger
  readonly #platform: Platform
  readonly #signal: AbortSignal | undefined
  readonly #aborted = () => void this.close()
  readonly #closed = deferred<void>()
  /** The latest link for uploads. */
  #link: UploadLink | undefined
  #closing = false
  #emitted: ClientStatus | undefined

  constructor(options: BoundClientOptions) {
    super(options.log)
    const { to, platform, software, allowPlaintext = false, log: listenerLog } = options
    const log = safeLog(listenerLog)
    const { retryForMs = Number.POSITIVE_INFINITY } = options
    this.#platform = platform
    const common = {
      to,
      platform,
      software,
      retryForMs,
      user: checkUserName(options.user),
      token: options.token ?? (async () => ''),
      allowPlaintext,
      log,
      changed: (...change: ClientEvents['status']) => this.#changed(...change),
    }
    this.#session = new ClientSession({
      ...common,
      equip: uploadLink,
      opened: (link) => {
        this.#link = link
        this.uploads.allow(link.welcome.maxUploads)
      },
    })
    const { state = memoryState() } = options
    this.#messenger = new Messenger({ ...common, state, listenerLog })
    const { uploadsAtOnce: atOnce = clientLimits.uploads, limitRate = Number.POSITIVE_INFINITY } = options
    this.uploads = new UploadList({
      platform,
      session: this.#session,
      state,
      atOnce,
      limitRate,
      retryForMs,
      log,
      listenerLog,
    })
    this.#signal = options.signal
    options.signal?.addEventListener('abort', this.#aborted, { once: true })
    if (options.signal?.aborted) void this.close()
  }

  get status(): ClientStatus {
    const statuses = this.#sessions.map(({ status }) => status)
    return statusOrder.find((status) => statuses.includes(status)) ?? 'connecting'
  }

  get presence(): Presence {
    return this.#messenger.presence
  }

  get closed(): Promise<void> {
    return this.#closed.promise
  }

  async online(): Promise<void> {
    if (!this.#messenger.session) this.#session.start()
    const sessions = this.#sessions
    const going = sessions.filter(({ over }) => !over)
    await Promise.all((going.length > 0 ? going : sessions).map((session) => session.online()))
  }

  send(
    to: readonly string[],
    content: string | Uint8Array,
    options: SendOptions = {},
  ): Promise<readonly RecipientState[]> {
    return this.#messenger.send(to, content, options)
  }

  receive(handler: MessageHandler): Receiver {
    return this.#messenger.receive(handler)
  }

  messages(): AsyncIterableIterator<Message> {
    return this.#messenger.messages()
  }

  get gauges(): ClientGauges {
    const link = this.#link?.peer.gauges
    const links = [link, this.#messenger.linkGauges].filter((gauges) => gauges !== undefined)
    const highest = (gauge: keyof LinkGauges) => Math.max(0, ...links.map((gauges) => gauges[gauge]))
    const buffers = link && this.#link?.buffers.gauges
    return {
      ...this.#messenger.gauges,
      ...(buffers ?? { chunkBuffers: 0, waitingChunks: 0 }),
      unsentBytesPerLink: highest('unsentBytes'),
      unsentRepliesPerLink: highest('unsentReplies'),
      runningRequestsPerLink: highest('runningRequests'),
      rememberedRepliesPerLink: highest('rememberedReplies'),
    }
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
    const handled = this.#messenger.stop()
    // Waits a bounded time for the server to answer.
    const late = new AbortController()
    const timeout = wait(clock, clientLimits.closeMs, late.signal).catch(() => {})
    await Promise.race([Promise.all([ended, handled]), timeout])
    // A pending alarm would keep the process alive.
    late.abort()
    await Promise.all([this.#session.close(), this.#messenger.close()])
    await ended
  }

  /** The sessions that have begun, or the session of the uploads if none has. */
  get #sessions(): readonly Pick<ClientSession, 'status' | 'over' | 'online'>[] {
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
