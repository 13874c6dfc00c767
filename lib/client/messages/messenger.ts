import type { LinkGauges } from '../../core/gauges.ts'
import { OspError } from '../../errors.ts'
import type { ClientState } from '../../ports/clientState.ts'
import type { Log } from '../../ports/log.ts'
import { onAbort } from '../../runtime/wait.ts'
import { protocolViolation } from '../connection/protocolViolation.ts'
import { type AppEvents, ClientSession, type OnlineLink, type SessionOptions } from '../connection/session.ts'
import { checkHandler } from '../options.ts'
import { type ActiveReceiver, Inbox } from './inbox.ts'
import type { Message, MessageHandler, Receiver, RecipientState, SendOptions } from './message.ts'
import { MessageIterator } from './messageIterator.ts'
import { Outbox } from './outbox.ts'
import { outgoing } from './outgoing.ts'
import { type Presence, PresenceView } from './presence.ts'
import { Receipts } from './receipts.ts'
import { type Registered, Registration } from './registration.ts'
import { tracked } from './sequenceTrackingSocket.ts'

export interface MessengerOptions extends Omit<SessionOptions<OnlineLink>, 'equip' | 'opened'> {
  readonly state: ClientState
  /** The log for failing listeners, if any. */
  readonly listenerLog: Log | undefined
}

/** The messages of a client: the link for them, which begins when it is first needed, with the outbox, the inbox and presence. */
export class Messenger {
  readonly #options: MessengerOptions
  readonly #receipts: Receipts
  readonly #registration: Registration
  readonly #outbox: Outbox
  readonly #inbox: Inbox
  readonly #presence: PresenceView
  #session: ClientSession | undefined
  /** The driver of the latest link. */
  #peer: OnlineLink['peer'] | undefined
  #closed = false

  constructor(options: MessengerOptions) {
    const { platform, user, retryForMs, log, state } = options
    this.#options = options
    this.#presence = new PresenceView(options.listenerLog)
    const failed = (error: OspError) => void this.#session?.refuse(error)
    const common = { platform, retryForMs, failed }
    this.#receipts = new Receipts(state.receipts)
    this.#registration = new Registration({
      ...common,
      user,
      listening: () => this.#listening(),
      granted: (registered) => this.#registered(registered),
      superseded: (error) => this.#inbox.end(error),
    })
    this.#outbox = new Outbox({ ...common, renew: (afterMs) => this.#registration.renew(afterMs) })
    const changed = () => this.#registration.update()
    this.#inbox = new Inbox({ platform, log, receipts: this.#receipts, changed })
  }

  /** The session of the link, if it has begun. */
  get session(): ClientSession | undefined {
    return this.#session
  }

  get gauges() {
    return { ...this.#receipts.gauges, ...this.#outbox.gauges, ...this.#inbox.gauges }
  }

  /** The counts of its link, while there is one. */
  get linkGauges(): LinkGauges | undefined {
    return this.#peer?.gauges
  }

  get presence(): Presence {
    if (!this.#closed) this.#begin()
    return this.#presence
  }

  /** As `Client.send`. */
  async send(
    to: readonly string[],
    content: string | Uint8Array,
    options: SendOptions,
  ): Promise<readonly RecipientState[]> {
    const newId = () => this.#options.platform.random.bytes(16, 'message id')
    const message = outgoing(to, content, options, newId)
    this.#use()
    return this.#outbox.send(message, options.signal)
  }

  /** As `Client.receive`. */
  receive(handler: MessageHandler): Receiver {
    checkHandler(handler)
    return this.#receive(handler)
  }

  /** As `Client.messages`. */
  messages(): AsyncIterableIterator<Message> {
    return new MessageIterator((handler) => this.#receive(handler))
  }

  /** Hands over no further message. Resolves when no handler is at work. */
  stop(): Promise<void> {
    return this.#inbox.stop()
  }

  /** Says GOODBYE, and rejects the waiting messages. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#session?.close()
    this.#over(closedError())
  }

  #receive(handler: MessageHandler): ActiveReceiver {
    this.#use()
    return this.#inbox.receive(handler)
  }

  /** Begins the link, if it has not begun. Throws the final error of a session that has ended. */
  #use(): void {
    if (this.#closed) throw closedError()
    const { over } = this.#begin()
    if (over) throw over
  }

  #begin(): ClientSession {
    if (this.#session) return this.#session
    const { to, changed, ...options } = this.#options
    const session = new ClientSession<OnlineLink>({
      ...options,
      to: tracked(to),
      equip: (link) => ({ ...link, app: this.#app() }),
      opened: (link) => this.#opened(link),
      changed: (status, error, retryMs) => {
        if (error && (status === 'refused' || status === 'closed')) this.#over(error)
        changed(status, error, retryMs)
      },
    })
    this.#session = session
    session.start()
    return session
  }

  #opened(link: OnlineLink): void {
    this.#peer = link.peer
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

  #app(): AppEvents {
    return {
      request: (request) => {
        const { message } = request
        if (message.event !== 'DeliverMsgReq' || !this.#registration.listened) {
          throw protocolViolation(`it sends ${message.event}, which it was not asked for`)
        }
        this.#inbox.take(request, message)
      },
      notice: (message) => {
        if (message.event === 'RegistListNtf') this.#presence.take(message)
      },
      pong: (listVersion) => this.#presence.announced(listVersion),
    }
  }

  #registered(registered: Registered): void {
    this.#presence.registered(registered.listVersion)
    this.#inbox.registered(registered)
    this.#outbox.open(registered)
  }

  /** Resolves with whether the client listens, when the receipts are loaded. */
  async #listening(): Promise<boolean> {
    try {
      if (this.#inbox.listening) await this.#receipts.load()
    } catch (error) {
      this.#inbox.end(OspError.from(error))
    }
    return this.#inbox.listening
  }

  #over(error: OspError): void {
    this.#outbox.fail(error)
    this.#inbox.end(error.code === 'closed' ? undefined : error)
    this.#presence.fail(error)
  }
}

const closedError = () => new OspError('closed', 'the client was closed')
