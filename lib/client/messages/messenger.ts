import { OspError } from '../../errors.ts'
import { checkArgument, kinds } from '../../options.ts'
import type { ClientState } from '../../ports/clientState.ts'
import type { Log } from '../../ports/log.ts'
import { onAbort } from '../../runtime/wait.ts'
import type { Client } from '../client.ts'
import { ClientSession, type OnlineLink, protocolViolation, type SessionOptions } from '../connection/session.ts'
import { type ActiveReceiver, Inbox } from './inbox.ts'
import type { Message, MessageHandler, RecipientState } from './message.ts'
import { iterateMessages } from './messageIterator.ts'
import { Outbox, outgoing } from './outbox.ts'
import { type Presence, PresenceView } from './presence.ts'
import { Registration } from './registration.ts'

export interface MessengerOptions extends Omit<SessionOptions, 'app' | 'opened'> {
  readonly state: ClientState
  readonly log: Log
  readonly listenerLog: Log | undefined
}

/** The messages of a client: the link for them, which begins when it is first needed, with the outbox, the inbox and presence. */
export class Messenger {
  readonly #options: MessengerOptions
  readonly #registration: Registration
  readonly #outbox: Outbox
  readonly #inbox: Inbox
  readonly #presence: PresenceView
  session: ClientSession | undefined
  #closed = false

  constructor(options: MessengerOptions) {
    const { platform, user, retryForMs, log, state } = options
    this.#options = options
    this.#presence = new PresenceView(options.listenerLog)
    const failed = (error: OspError) => void this.session?.refuse(error)
    const common = { platform, retryForMs, failed }
    this.#registration = new Registration({
      ...common,
      user,
      listening: () => this.#inbox.listening(),
      granted: (registered) => {
        this.#presence.registered(registered.listVersion)
        this.#inbox.registered(registered)
        this.#outbox.open(registered)
      },
      superseded: (error) => this.#inbox.end(error),
    })
    this.#outbox = new Outbox({ ...common, renew: (afterMs) => this.#registration.renew(afterMs) })
    const changed = () => this.#registration.update()
    this.#inbox = new Inbox({ platform, log, receipts: state.receipts, changed })
  }

  get gauges() {
    return { ...this.#outbox.gauges, ...this.#inbox.gauges }
  }

  get presence(): Presence {
    if (!this.#closed) this.#begin()
    return this.#presence
  }

  async send(...[to, content, options = {}]: Parameters<Client['send']>): Promise<readonly RecipientState[]> {
    const newId = () => this.#options.platform.random.bytes(16, 'message id')
    const message = outgoing(to, content, options, newId)
    this.#use()
    return this.#outbox.send(message, options.signal)
  }

  receive(handler: MessageHandler): ActiveReceiver {
    checkArgument('client.receive', 'the handler', kinds.function, handler)
    this.#use()
    return this.#inbox.receive(handler)
  }

  messages(): AsyncIterableIterator<Message> {
    return iterateMessages((handler) => this.receive(handler))
  }

  /** Hands over no further message. Resolves when no handler is running. */
  stop(): Promise<void> {
    return this.#inbox.stop()
  }

  /** Says GOODBYE, and rejects the waiting messages. */
  async close(): Promise<void> {
    this.#closed = true
    await this.session?.close()
    this.#over(closedError())
  }

  /** Begins the link, if it has not begun. Throws the final error of a session that has ended. */
  #use(): void {
    if (this.#closed) throw closedError()
    const { over } = this.#begin()
    if (over) throw over
  }

  #begin(): ClientSession {
    if (this.session) return this.session
    const { changed } = this.#options
    this.session = new ClientSession({
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
        },
        pong: (listVersion) => this.#presence.announced(listVersion),
      },
      opened: (link) => this.#opened(link),
      changed: (status, error, retryMs) => {
        if (error && (status === 'refused' || status === 'closed')) this.#over(error)
        changed(status, error, retryMs)
      },
    })
    this.session.start()
    return this.session
  }

  #opened(link: OnlineLink): void {
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

  #over(error: OspError): void {
    this.#outbox.fail(error)
    this.#inbox.end(error.code === 'closed' ? undefined : error)
    this.#presence.fail(error)
  }
}

const closedError = () => new OspError('closed', 'the client was closed')
