import type { LinkGauges } from '../core/link.ts'
import { Pacer } from '../core/pacer.ts'
import { OspError } from '../errors.ts'
import { clientLimits } from '../limits.ts'
import { checkDeviceName, checkFileName, checkUserName } from '../names.ts'
import { checkArgument, checkOptions, kinds } from '../options.ts'
import type { ClientState, OutboxStore, Receipt } from '../ports/clientState.ts'
import type { LocalFiles } from '../ports/localFiles.ts'
import type { Log } from '../ports/log.ts'
import type { FileSource } from '../ports/source.ts'
import { Blocks } from '../runtime/blocks.ts'
import { deferred } from '../runtime/deferred.ts'
import { Emitter, safeLog } from '../runtime/emitter.ts'
import { settleAll } from '../runtime/settled.ts'
import { onAbort, unlessAborted, waitAtMost } from '../runtime/wait.ts'
import type { BoundClientOptions, Client, ClientEvents, ClientGauges } from './client.ts'
import {
  ClientSession,
  type ClientStatus,
  type OnlineLink,
  protocolViolation,
  type SessionOptions,
} from './connection/session.ts'
import { FilesClient } from './files/filesClient.ts'
import type { Devices } from './messages/devices.ts'
import { type ActiveReceiver, Inbox } from './messages/inbox.ts'
import { MailboxRequests } from './messages/mailboxRequests.ts'
import type {
  Message,
  MessageHandler,
  MessagesOptions,
  ReceiveOptions,
  SendOptions,
  SignalOptions,
} from './messages/message.ts'
import { iterateMessages } from './messages/messageIterator.ts'
import { type MessageReceipt, MessageReceipts } from './messages/messageReceipts.ts'
import { Outbox } from './messages/outbox.ts'
import { type Outgoing, outgoing } from './messages/outgoing.ts'
import { type Presence, PresenceView } from './messages/presence.ts'
import { type Registered, Registration } from './messages/registration.ts'
import { PendingMessage, type SentMessage } from './messages/sentMessage.ts'
import { idOf, StoredOutbox } from './messages/storedOutbox.ts'
import {
  fileSource,
  messagesOptions,
  onlineOptions,
  receiveOptions,
  signalOptions,
  uploadAllOptions,
  uploadOptions,
  uploadSource,
  uploadSources,
} from './options.ts'
import type { Upload } from './uploads/upload.ts'
import { UploadList, type UploadOptions } from './uploads/uploadList.ts'
import { sourceOf, type UploadSource } from './uploads/uploadSource.ts'

/** The priority of statuses in the status of a client with several links, highest first. */
const statusOrder: readonly ClientStatus[] = ['waiting', 'connecting', 'online', 'closed', 'refused']

/** A client: its two links, and the files and messages on them. */
export class RunningClient extends Emitter<ClientEvents> implements Client {
  readonly uploads: UploadList
  readonly files: FilesClient
  readonly inbox: MailboxRequests
  readonly #options: Omit<SessionOptions, 'app' | 'opened'>
  readonly #state: ClientState
  readonly #localFiles: LocalFiles | undefined
  readonly #uploadSession: ClientSession
  /** The session of the link for messages, which begins when it is first needed. */
  #messageSession: ClientSession | undefined
  readonly #registration: Registration
  readonly #outbox: Outbox
  /** The outbox of the state, if it has one. */
  readonly #stored: StoredOutbox | undefined
  readonly #blocks = new Blocks()
  readonly #inbox: Inbox
  readonly #presence: PresenceView
  readonly #receipts: MessageReceipts
  readonly #aborted: Disposable | undefined
  /** Aborts when the client is closed. */
  readonly #stopping = new AbortController()
  readonly #closed = deferred<void>()
  readonly closed = this.#closed.promise
  readonly [Symbol.asyncDispose] = () => this.close()
  #closing: Promise<void> | undefined
  /** Whether the link for messages can no longer begin. */
  #isOver = false
  #emitted: ClientStatus | undefined

  constructor({ signal, log: listenerLog, ...options }: BoundClientOptions) {
    super(listenerLog)
    const { platform, state = memoryState(), retryForMs = Number.POSITIVE_INFINITY } = options
    const { uploadsAtOnce: atOnce = clientLimits.uploads, limitRate = Number.POSITIVE_INFINITY } = options
    const user = checkUserName(options.user)
    const device = options.device === undefined ? undefined : checkDeviceName(options.device)
    const log = safeLog(listenerLog)
    this.#state = state
    this.#localFiles = options.localFiles
    this.#options = {
      ...options,
      user,
      token: options.token ?? (async () => ''),
      allowPlaintext: options.allowPlaintext ?? false,
      retryForMs,
      changed: (...change) => this.#changed(...change),
    }
    const opened = ({ welcome, roundTripMs }: OnlineLink) => {
      this.uploads.allow(welcome.maxUploads, roundTripMs)
      this.files.opened(roundTripMs)
      this.#stored?.resume()
    }
    const session = new ClientSession({ ...this.#options, opened })
    this.#uploadSession = session
    this.inbox = new MailboxRequests({ platform, retryForMs, session: () => this.#useMessages() })
    const begin = () => void this.#useMessages()
    this.#receipts = new MessageReceipts({ platform, mailbox: this.inbox.receipts, begin })
    this.uploads = new UploadList({
      session,
      platform,
      state,
      retryForMs,
      atOnce,
      limitRate,
      log,
      listenerLog,
      receipts: this.#receipts,
    })
    const pace = new Pacer(limitRate)
    const { localFiles, downloadsAtOnce = clientLimits.downloads } = options
    const downloads = { pace, atOnce: downloadsAtOnce, localFiles }
    this.files = new FilesClient({ session, platform, retryForMs, listenerLog, ...downloads })
    this.#presence = new PresenceView(listenerLog)
    const common = { platform, retryForMs, failed: (error: OspError) => void this.#messageSession?.refuse(error) }
    this.#registration = new Registration({
      ...common,
      user,
      device,
      listening: () => this.#inbox.listening(),
      granted: (registered) => this.#granted(registered),
      superseded: (error) => this.#inbox.end(error),
    })
    const outbox = new Outbox({
      ...common,
      renew: (afterMs) => this.#registration.renew(afterMs),
      mark: state.outbox && (async (messages, knownForMs) => await this.#stored?.mark(messages, knownForMs)),
    })
    this.#outbox = outbox
    this.#stored = state.outbox && this.#storedOutbox(state.outbox, outbox, log)
    this.#inbox = new Inbox({
      platform,
      log,
      receipts: state.receipts,
      send: (to, content, options) => this.send([to], content, options),
      changed: () => this.#registration.update(),
    })
    this.#aborted = signal && onAbort(signal, () => void this.close())
  }

  #granted(registered: Registered): void {
    // The server sends the whole presence list next, but an unreliable link can lose it.
    if (!registered.link.peer.socket.reliable) this.#presence.announced(registered.listVersion)
    this.#inbox.registered(registered)
    this.#outbox.open(registered)
    this.#receipts.changed()
  }

  get status(): ClientStatus {
    const statuses = this.#sessions.map(({ status }) => status)
    return statusOrder.find((status) => statuses.includes(status)) ?? 'connecting'
  }

  get devices(): Devices {
    return this.inbox.devices
  }

  get presence(): Presence {
    if (!this.#isOver) this.#beginMessages()
    return this.#presence
  }

  async online(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    checkOptions('client.online', onlineOptions, options)
    const { signal } = options
    if (!this.#messageSession) this.#uploadSession.start()
    const sessions = this.#sessions
    const going = sessions.filter(({ over }) => !over)
    const online = Promise.all((going.length > 0 ? going : sessions).map((session) => session.online()))
    await (signal ? unlessAborted(online, signal) : online)
  }

  upload(source: UploadSource, options: UploadOptions = {}): Promise<Upload> {
    return fileSource.holds(source) ? this.uploads.add(source as FileSource, options) : this.#convert(source, options)
  }

  async uploadAll(
    values: readonly UploadSource[],
    options: Omit<UploadOptions, 'name'> = {},
  ): Promise<readonly (Upload | OspError)[]> {
    checkArgument('client.uploadAll', 'the sources', uploadSources, values)
    checkOptions('client.uploadAll', uploadAllOptions, options)
    const sources = values.filter((value): value is FileSource => fileSource.holds(value))
    const added = await this.uploads.addAll(sources, options)
    if (sources.length === values.length) return added
    const next = added.values()
    const uploads = await settleAll<UploadSource, Upload | OspError | undefined>(values, (value) =>
      fileSource.holds(value) ? next.next().value : this.#convert(value, options),
    )
    return uploads.map((upload) => (upload instanceof Error ? OspError.from(upload) : (upload as Upload)))
  }

  /** Uploads a value that is not a source. */
  async #convert(value: UploadSource, options: UploadOptions): Promise<Upload> {
    checkArgument('client.upload', 'the source', uploadSource, value)
    checkOptions('client.upload', uploadOptions, options)
    const { name } = options
    if (name !== undefined) checkFileName(name.normalize('NFC'))
    const signal = AbortSignal.any([this.#stopping.signal, ...(options.signal ? [options.signal] : [])])
    const nowMs = Math.floor(this.#options.platform.clock.wallTime())
    const { source, spooled } = await sourceOf(value as Exclude<UploadSource, FileSource>, {
      name,
      nowMs,
      files: this.#localFiles,
      state: this.#state,
      signal,
    })
    try {
      const upload = await this.uploads.add(source, options)
      // A task keeps its source until it is done or cancelled.
      const isKept = this.#state.tasks && source.ref !== undefined
      if (spooled && !isKept) upload.done.then(spooled.discard, spooled.discard).catch(() => {})
      return upload
    } catch (error) {
      await spooled?.discard()
      throw error
    }
  }

  send(...[to, content, options = {}]: Parameters<Client['send']>): SentMessage {
    try {
      const newId = () => this.#options.platform.random.bytes(16, 'message id')
      const message = outgoing(to, content, options, newId, this.#blocks)
      this.#useMessages()
      const { signal } = options
      const sent = this.#stored ? this.#queue(this.#stored, message, signal) : this.#outbox.send(message, signal)
      if (options.receipt) this.#expectReceipts(sent, message, options.id === undefined)
      return sent
    } catch (error) {
      const unsent = new PendingMessage(new Uint8Array(0), (_, reject) => reject(error))
      // The options may be invalid.
      if ((options as SendOptions | null)?.receipt) unsent.iterators = () => rejected(OspError.from(error))
      return unsent
    }
  }

  /** Sends a message through the stored outbox. */
  #queue(outbox: StoredOutbox, message: Outgoing, signal: AbortSignal | undefined): PendingMessage {
    const { queued, stored } = outbox.send(message, signal)
    const settle = (...ends: Parameters<typeof stored.promise.then>) => void stored.promise.then(...ends)
    return new PendingMessage(message.message.messageId, settle as never, queued.promise)
  }

  #expectReceipts(sent: PendingMessage, { message }: Outgoing, isNew: boolean): void {
    const { receipts, failed } = this.#receipts.expect(sent.id, isNew)
    sent.iterators = (options) => receipts(message.recipients.length, options)
    sent.catch((error: unknown) => failed(OspError.from(error)))
  }

  receipts(options: SignalOptions = {}): AsyncIterableIterator<MessageReceipt> {
    checkOptions('client.receipts', signalOptions, options)
    return this.#receipts.others(options)
  }

  async flush(): Promise<void> {
    await this.#stored?.flush()
  }

  #storedOutbox(store: OutboxStore, outbox: Outbox, log: Log): StoredOutbox {
    const { clock } = this.#options.platform
    return new StoredOutbox({
      store,
      outbox,
      clock,
      log,
      found: () => {
        if (!this.#isOver) this.#beginMessages()
      },
      refused: (entry, error, isQueued) => {
        const { recipients } = entry.outgoing.message
        const id = idOf(entry)
        log({ level: 'warn', event: isQueued ? 'message-deferred' : 'message-refused', id, text: error.message })
        this.emit('messageRefused', { id, recipients, isQueued }, error)
      },
    })
  }

  receive(handler: MessageHandler, options: ReceiveOptions = {}): ActiveReceiver {
    checkArgument('client.receive', 'the handler', kinds.function, handler)
    checkOptions('client.receive', receiveOptions, options)
    return this.#receive(handler, options, false)
  }

  messages(options: MessagesOptions = {}): AsyncIterableIterator<Message> {
    checkOptions('client.messages', messagesOptions, options)
    const { ack = 'auto', ...mode } = options
    if (ack === 'auto' && (mode.concurrency ?? 1) > 1)
      throw new OspError('usage', "client.messages: a concurrency above 1 needs the option ack: 'manual'")
    return iterateMessages((handler) => this.#receive(handler, mode, true), ack === 'auto')
  }

  #receive(handler: MessageHandler, options: ReceiveOptions, isManual: boolean): ActiveReceiver {
    const { concurrency = 1, tries = clientLimits.handlerTries } = options
    this.#useMessages()
    return this.#inbox.receive({ handler, concurrency, tries, isManual })
  }

  get gauges(): ClientGauges {
    const { link } = this.#uploadSession
    const links = [link, this.#messageSession?.link].flatMap((each) => each?.peer.gauges ?? [])
    const highest = (gauge: keyof LinkGauges) => Math.max(0, ...links.map((gauges) => gauges[gauge]))
    const perLink = {
      unsentBytesPerLink: highest('unsentBytes'),
      unsentRepliesPerLink: highest('unsentReplies'),
      runningRequestsPerLink: highest('runningRequests'),
      rememberedRepliesPerLink: highest('rememberedReplies'),
    }
    // Several times faster than a spread of each object.
    const buffers = link?.buffers.gauges ?? { chunkBuffers: 0, waitingChunks: 0 }
    const outbox = this.#stored ?? this.#outbox
    return Object.assign(perLink, outbox.gauges, this.#inbox.gauges, buffers)
  }

  close(): Promise<void> {
    this.#closing ??= this.#shutDown().then(this.#closed.resolve, this.#closed.reject)
    return this.closed
  }

  async #shutDown(): Promise<void> {
    this.#aborted?.[Symbol.dispose]()
    this.#stopping.abort()
    const ended = Promise.all([this.uploads.close(), this.files.close()])
    const handled = this.#inbox.stop()
    let isFlushed = false
    const queued = this.#stored?.settled().then(() => {
      isFlushed = true
    })
    // Waits a bounded time for the server to answer.
    await waitAtMost(
      this.#options.platform.clock,
      clientLimits.closeMs,
      Promise.all([ended, handled, queued, this.#receipts.settled()]),
    )
    this.#isOver = true
    await Promise.all([this.#uploadSession.close(), this.#messageSession?.close()])
    this.#endMessages(closedError())
    await Promise.all([ended, isFlushed ? this.#stored?.left() : undefined])
  }

  /** Begins the link for messages, if it has not begun. Throws the final error of a session that has ended. */
  #useMessages(): ClientSession {
    if (this.#isOver) throw closedError()
    const session = this.#beginMessages()
    if (session.over) throw session.over
    return session
  }

  #beginMessages(): ClientSession {
    if (this.#messageSession) return this.#messageSession
    this.#messageSession = new ClientSession({
      ...this.#options,
      app: {
        request: (request) => {
          const { message } = request
          if (message.event !== 'DeliverMsgReq' || !this.#registration.listened) {
            throw protocolViolation(`it sent an unexpected ${message.event}`)
          }
          this.#inbox.take(request, message)
        },
        notice: (message) => {
          if (message.event === 'RegistListNtf') this.#presence.take(message)
          else if (message.event === 'ReceiptsNtf') this.#receipts.changed()
        },
        pong: (listVersion) => this.#presence.announced(listVersion),
      },
      opened: (link) => this.#openMessages(link),
      changed: (status, error, retryMs) => {
        if (error && (status === 'refused' || status === 'closed')) this.#endMessages(error)
        this.#changed(status, error, retryMs)
      },
    })
    this.#messageSession.start()
    return this.#messageSession
  }

  #openMessages(link: OnlineLink): void {
    this.#stored?.resume()
    this.#inbox.open(link)
    this.#presence.open(link)
    this.#registration.open(link)
    onAbort(link.closed, () => {
      this.#registration.lost()
      this.#outbox.lost()
      this.#inbox.lost()
      this.#presence.lost()
    })
  }

  #endMessages(error: OspError): void {
    this.#outbox.fail(error)
    this.#stored?.fail(error)
    this.#inbox.end(error.code === 'closed' ? undefined : error)
    this.#presence.fail(error)
    this.#receipts.end(error)
  }

  /** The sessions that have begun, or the session of the uploads if none has. */
  get #sessions(): readonly ClientSession[] {
    if (!this.#messageSession) return [this.#uploadSession]
    return this.#uploadSession.begun ? [this.#uploadSession, this.#messageSession] : [this.#messageSession]
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

// biome-ignore lint/correctness/useYield: the generator only rejects.
async function* rejected(error: OspError): AsyncGenerator<never, undefined> {
  throw error
}

const closedError = () => new OspError('closed', 'the client was closed')

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
      put(receipt, most) {
        receipts.push(receipt)
        if (receipts.length >= 2 * most) receipts.splice(0, receipts.length - most)
        return undefined
      },
    },
  }
}
