import { clientLimits } from '../limits.ts'
import { checkUserName } from '../names.ts'
import type { Platform } from '../ports/platform.ts'
import { deferred } from '../runtime/deferred.ts'
import { Emitter, safeLog } from '../runtime/emitter.ts'
import { wait } from '../runtime/wait.ts'
import type { BoundOptions, Client, ClientEvents } from './client.ts'
import { combinedStatus } from './combinedStatus.ts'
import { ClientSession, type ClientStatus } from './connection/session.ts'
import type { ClientGaugeSink } from './gauges.ts'
import { memoryState } from './memoryState.ts'
import type { Message, MessageHandler, Receiver, RecipientState, SendOptions } from './messages/message.ts'
import { Messenger } from './messages/messenger.ts'
import type { Roster } from './messages/roster.ts'
import { type UploadLink, uploadLink } from './uploads/uploadLink.ts'
import { UploadList } from './uploads/uploadList.ts'

/** A client, as its two links and what is done on them. */
export class RunningClient extends Emitter<ClientEvents> implements Client {
  readonly uploads: UploadList
  readonly #session: ClientSession<UploadLink>
  readonly #messenger: Messenger
  readonly #platform: Platform
  readonly #signal: AbortSignal | undefined
  readonly #aborted = () => void this.close()
  readonly #closed = deferred<void>()
  /** The latest one for uploads. */
  #link: UploadLink | undefined
  #closing = false
  #told: ClientStatus | undefined

  constructor(options: BoundOptions) {
    super(options.log)
    const { to, platform, software, allowPlaintext: insecure = false, log: listenerLog } = options
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
      insecure,
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
    return combinedStatus(this.#sessions.map(({ status }) => status))
  }

  get roster(): Roster {
    return this.#messenger.roster
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

  /** Those of its links, once they are online. */
  held(tell: ClientGaugeSink): void {
    this.#link?.peer.held(tell)
    if (!this.#link?.peer.ended) this.#link?.buffers.held(tell)
    this.#messenger.held(tell)
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
    // A server that answers keeps all that it has; one that doesn't is not waited for.
    const late = new AbortController()
    const patience = wait(clock, clientLimits.closeMs, late.signal).catch(() => {})
    await Promise.race([Promise.all([ended, handled]), patience])
    // A pending alarm would keep the process alive.
    late.abort()
    await Promise.all([this.#session.close(), this.#messenger.close()])
    await ended
  }

  /** Those of the links that were begun; that of the uploads where none was. */
  get #sessions(): readonly Pick<ClientSession, 'status' | 'over' | 'online'>[] {
    const { session } = this.#messenger
    if (!session) return [this.#session]
    return this.#session.begun ? [this.#session, session] : [session]
  }

  #changed(...[of, why, retryMs]: ClientEvents['status']): void {
    const { status } = this
    const before = this.#told
    this.#told = status
    // What happens to one link is not the client's where another one says more.
    const details = status === of ? ([why, retryMs] as const) : ([undefined, undefined] as const)
    if (status !== before || details[0]) this.emit('status', status, ...details)
  }
}
