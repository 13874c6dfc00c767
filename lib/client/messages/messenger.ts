import { OspError } from '../../errors.ts'
import type { ClientState } from '../../ports/clientState.ts'
import type { Log } from '../../ports/log.ts'
import type { Message as Event } from '../../wire/message.ts'
import { protocolViolation } from '../connection/answers.ts'
import { type AppEvents, ClientSession, type OnlineLink, type SessionOptions } from '../connection/session.ts'
import type { ClientGaugeSink } from '../gauges.ts'
import { checkHandler } from '../options.ts'
import type { ActiveReceiver } from './activeReceiver.ts'
import { Inbox } from './inbox.ts'
import type { Message, MessageHandler, Receiver, RecipientState, SendOptions } from './message.ts'
import { MessageIterator } from './messageIterator.ts'
import { Outbox } from './outbox.ts'
import { outgoing } from './outgoing.ts'
import { Receipts } from './receipts.ts'
import { type Registered, Registration } from './registration.ts'
import type { Roster } from './roster.ts'
import { RosterView } from './rosterView.ts'
import { followed } from './sequenceTrackingSocket.ts'

export interface MessengerOptions extends Omit<SessionOptions<OnlineLink>, 'equip' | 'opened'> {
  readonly state: ClientState
  /** The log for failing listeners, if any. */
  readonly listenerLog: Log | undefined
}

/** The message side of a client: a link of its own, begun when it is first needed, and what is sent, received and listed on it. */
export class Messenger {
  readonly #options: MessengerOptions
  readonly #receipts: Receipts
  readonly #registration: Registration
  readonly #outbox: Outbox
  readonly #inbox: Inbox
  readonly #roster: RosterView
  #session: ClientSession | undefined
  /** Of the latest link. */
  #peer: OnlineLink['peer'] | undefined
  #closed = false

  constructor(options: MessengerOptions) {
    const { platform, user, retryForMs, log, state } = options
    this.#options = options
    this.#roster = new RosterView(options.listenerLog)
    const failed = (why: OspError) => void this.#session?.refuse(why)
    const common = { platform, retryForMs, failed }
    this.#receipts = new Receipts(state.receipts)
    this.#registration = new Registration({
      ...common,
      user,
      listening: () => this.#listening(),
      granted: (registered) => this.#registered(registered),
      superseded: (why) => this.#inbox.end(why),
    })
    this.#outbox = new Outbox({ ...common, renew: (afterMs) => this.#registration.renew(afterMs) })
    const changed = () => this.#registration.update()
    this.#inbox = new Inbox({ platform, log, receipts: this.#receipts, changed })
  }

  /** Of its link, once that was begun. */
  get session(): ClientSession | undefined {
    return this.#session
  }

  held(tell: ClientGaugeSink): void {
    this.#receipts.held(tell)
    this.#outbox.held(tell)
    this.#inbox.held(tell)
    this.#peer?.held(tell)
  }

  get roster(): Roster {
    if (!this.#closed) this.#begin()
    return this.#roster
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

  /** Hands nothing more over. Resolves when no handler is at work. */
  stop(): Promise<void> {
    return this.#inbox.stop()
  }

  /** Says GOODBYE; what waits is rejected. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#session?.close()
    this.#over(closedError())
  }

  #receive(handler: MessageHandler): ActiveReceiver {
    this.#use()
    return this.#inbox.receive(handler)
  }

  /** Begins the link, if it has not begun. Throws why there can't be one any more. */
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
      to: followed(to),
      equip: (link) => ({ ...link, app: this.#app() }),
      opened: (link) => this.#opened(link),
      changed: (status, why, retryMs) => {
        if (why && (status === 'refused' || status === 'closed')) this.#over(why)
        changed(status, why, retryMs)
      },
    })
    this.#session = session
    session.start()
    return session
  }

  #opened(link: OnlineLink): void {
    this.#peer = link.peer
    this.#inbox.open(link)
    this.#roster.open(link)
    this.#registration.open(link)
    link.loss.hear(() => {
      this.#registration.lost()
      this.#outbox.lost()
      this.#inbox.lost()
      this.#roster.lost()
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
      notice: (message) => this.#notice(message),
      pong: (listVersion) => this.#roster.announced(listVersion),
    }
  }

  #notice(message: Event): void {
    if (message.event === 'RegistListNtf') this.#roster.take(message)
  }

  #registered(registered: Registered): void {
    this.#roster.registered(registered.listVersion)
    this.#inbox.registered(registered)
    this.#outbox.open(registered)
  }

  /** Whether messages are wanted and what was received before is known. */
  async #listening(): Promise<boolean> {
    try {
      if (this.#inbox.listening) await this.#receipts.load()
    } catch (error) {
      this.#inbox.end(OspError.from(error))
    }
    return this.#inbox.listening
  }

  #over(why: OspError): void {
    this.#outbox.fail(why)
    this.#inbox.end(why.code === 'closed' ? undefined : why)
    this.#roster.fail(why)
  }
}

const closedError = () => new OspError('closed', 'the client was closed')
