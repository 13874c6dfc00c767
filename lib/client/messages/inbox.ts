import type { Request } from '../../core/link.ts'
import { OspError } from '../../errors.ts'
import { clientLimits, fixed } from '../../limits.ts'
import { isUserName } from '../../names.ts'
import type { Receipt, ReceiptStore } from '../../ports/clientState.ts'
import type { Log } from '../../ports/log.ts'
import type { Platform } from '../../ports/platform.ts'
import { Backoff } from '../../runtime/backoff.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { hex } from '../../runtime/hex.ts'
import { wait } from '../../runtime/wait.ts'
import type { WireMessage } from '../../wire/message.ts'
import { type OnlineLink, protocolViolation } from '../connection/session.ts'
import type { Message, MessageHandler, Receiver } from './message.ts'
import { Receipts, receiptKey } from './receipts.ts'
import type { Registered } from './registration.ts'

/** The latest time that a Date can hold. */
const latestMs = 8.64e15

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** A message that a server delivers; its key identifies it within its mailbox. */
export type Incoming = ReturnType<typeof incoming>

/** Returns the message of a DELIVER_MSG_REQ. Throws OspError `malformed` if its fields are not valid. */
function incoming(request: Request, event: WireMessage<'DeliverMsgReq'>) {
  const { messageId: id, mailboxSeq: seq, sender: from, sentAt, content, attempt } = event
  if (!isUserName(from)) throw protocolViolation('the sender of a message has an invalid name')
  if (content.length > fixed.messageBytes) throw protocolViolation(`it delivered a message of ${content.length} bytes`)
  if (sentAt > latestMs) throw protocolViolation('it delivered a message with an invalid time')
  if (attempt === 0) throw protocolViolation('it delivered a message with attempt 0')
  const receipt: Receipt = { seq, sender: from, id: hex(id) }
  const text = () => decoder.decode(content)
  const message: Message = { id, seq, from, sentAt: new Date(sentAt), content, attempt, text }
  // The unanswered requests of the present link, the earliest first: the server can deliver the message again.
  return { message, receipt, key: receiptKey(receipt), requests: [request] }
}

export interface InboxOptions {
  readonly platform: Pick<Platform, 'clock'>
  readonly log: Log
  readonly receipts: ReceiptStore
  /** Called when the client may have begun or stopped listening. */
  readonly changed: () => void
}

/** Hands delivered messages over, one at a time in the order of the mailbox. */
export class Inbox {
  readonly #options: InboxOptions
  readonly #receipts: Receipts
  #link: OnlineLink | undefined
  /** The number of deliveries on this link that may be unanswered, as far as the client knows. */
  #window: number = fixed.replies
  /** Whether a server has granted a window, which sets the number of stored receipts. Before, nothing is handed over. */
  #isGranted = false
  /** Messages of this link that are not handed over, in the order in which the server has sent them. */
  #waiting: Incoming[] = []
  #inHand: Incoming | undefined
  #receiver: ActiveReceiver | undefined
  #running: Promise<void> | undefined

  constructor(options: InboxOptions) {
    this.#options = options
    this.#receipts = new Receipts(options.receipts)
  }

  /** Resolves with whether the client listens, when the receipts are loaded. */
  async listening(): Promise<boolean> {
    try {
      if (this.#receiver) await this.#receipts.load()
    } catch (error) {
      this.end(OspError.from(error))
    }
    return this.#receiver !== undefined
  }

  /** Hands messages to `handler`. Throws OspError `usage` if there is a receiver already. */
  receive(handler: MessageHandler): ActiveReceiver {
    if (this.#receiver) throw new OspError('usage', 'this client already has a receiver; dispose it first')
    const stopping = new AbortController()
    const ended = deferred<void>()
    const dispose = async () => {
      stopping.abort()
      await this.#running
      if (this.#receiver === receiver) {
        this.#receiver = undefined
        this.#options.changed()
      }
      ended.resolve()
    }
    const receiver = { handler, stopping, ended, done: ended.promise, [Symbol.asyncDispose]: dispose }
    this.#receiver = receiver
    this.#options.changed()
    this.#pump()
    return receiver
  }

  open(link: OnlineLink): void {
    this.#link = link
    this.#window = fixed.replies
    if (link.arrivals) link.arrivals.arrived = () => this.#pump()
  }

  registered({ deliveryWindow }: Registered): void {
    this.#window = Math.min(deliveryWindow, fixed.replies)
    this.#receipts.window = this.#window
    this.#isGranted = true
    this.#checkWindow()
    this.#pump()
  }

  get gauges() {
    const outOfOrderRequests = this.#link?.arrivals?.beyond ?? 0
    return Object.assign(this.#receipts.gauges, { unhandledMessages: this.#unhandled, outOfOrderRequests })
  }

  /** Forgets the messages of a lost link, which the server delivers again. */
  lost(): void {
    this.#link = undefined
    this.#waiting = []
    this.#inHand?.requests.splice(0)
  }

  /** Ends the receiver, with `error` if it cannot continue. */
  end(error?: OspError): void {
    const receiver = this.#receiver
    this.#receiver = undefined
    receiver?.stopping.abort(error)
    if (error) receiver?.ended.reject(error)
    else receiver?.ended.resolve()
  }

  /** Hands over no further message. Resolves when no handler is running. */
  async stop(): Promise<void> {
    this.#receiver?.stopping.abort()
    await this.#running
  }

  /** Takes a DELIVER_MSG_REQ of the present link. Throws OspError `malformed`. */
  take(request: Request, event: WireMessage<'DeliverMsgReq'>): void {
    const delivery = incoming(request, event)
    const receipts = this.#receipts
    const known = [this.#inHand, ...this.#waiting].find((other) => other?.key === delivery.key)
    const givenUp = receipts.givenUp.get(delivery.key)
    if (known) known.requests.push(request)
    else if (receipts.has(delivery)) this.#again(delivery)
    else if (givenUp) this.#refuse(delivery, givenUp)
    else {
      const at = this.#waiting.findLastIndex(({ requests: [first] }) => first !== undefined && first.seq < request.seq)
      this.#waiting.splice(at + 1, 0, delivery)
      this.#checkWindow()
      this.#pump()
    }
  }

  get #unhandled(): number {
    return this.#waiting.length + (this.#inHand?.requests.length ? 1 : 0)
  }

  #checkWindow(): void {
    if (this.#unhandled > this.#window) throw protocolViolation(`it delivers over ${this.#window} messages at once`)
  }

  #pump(): void {
    if (this.#running || !this.#next()) return
    this.#running = this.#run().finally(() => {
      this.#running = undefined
      this.#pump()
    })
  }

  async #run(): Promise<void> {
    // The caller of `receive` has its receiver before the handler is called.
    await undefined
    for (let next = this.#next(); next; next = this.#next()) {
      this.#waiting.shift()
      this.#inHand = next.delivery
      const handled = await this.#handOver(next.delivery, next.receiver)
      this.#inHand = undefined
      // Without requests its link is lost, and the server delivers it again.
      if (!handled && next.delivery.requests.length > 0) this.#waiting.unshift(next.delivery)
    }
  }

  #next(): { delivery: Incoming; receiver: ActiveReceiver } | undefined {
    const receiver = this.#receiver
    const [delivery] = this.#waiting
    const [request] = delivery?.requests ?? []
    if (!delivery || !request || !receiver || receiver.stopping.signal.aborted || !this.#isGranted) return undefined
    const { arrivals } = this.#link ?? {}
    // An earlier delivery may still be in transit.
    return arrivals && arrivals.complete < request.seq ? undefined : { delivery, receiver }
  }

  /** Resolves with whether the message was handled or given up. */
  async #handOver(delivery: Incoming, { handler, stopping: { signal } }: ActiveReceiver): Promise<boolean> {
    const { log } = this.#options
    const { seq, from } = delivery.message
    const handle = async () => {
      try {
        await handler(delivery.message)
      } catch (error) {
        const { message: text } = OspError.from(error)
        if (!signal.aborted) log({ level: 'warn', event: 'handler-failed', seq, from, text })
        throw error
      }
    }
    try {
      if (!(await this.#repeatedly(signal, clientLimits.handlerTries, handle))) return false
    } catch (cause) {
      const error = new OspError('internal', OspError.from(cause).message, { cause })
      log({ level: 'error', event: 'message-given-up', seq, from, text: error.message })
      this.#receipts.givenUp.set(delivery.key, error)
      this.#refuse(delivery, error)
      return true
    }
    const keep = () => this.#logged(delivery, this.#receipts.keep(delivery))
    if (!(await this.#repeatedly(signal, Number.POSITIVE_INFINITY, keep))) return false
    this.#acknowledge(delivery)
    return true
  }

  /** Acknowledges a message that was handed over before. */
  #again(delivery: Incoming): void {
    this.#acknowledge(delivery)
    this.#logged(delivery, this.#receipts.again(delivery)).catch(() => {})
  }

  async #logged({ message }: Incoming, storing: Promise<void>): Promise<void> {
    try {
      await storing
    } catch (error) {
      const { message: text } = OspError.from(error)
      this.#options.log({ level: 'error', event: 'receipt-not-stored', seq: message.seq, text })
      throw error
    }
  }

  /** Calls `act` up to `tries` times, with longer waits. Resolves with false by `signal`; rejects with the last error. */
  async #repeatedly(signal: AbortSignal, tries: number, act: () => Promise<void>): Promise<boolean> {
    const { handlerFirstMs: firstMs, handlerMostMs: mostMs } = clientLimits
    const { clock } = this.#options.platform
    const backoff = new Backoff({ clock, firstMs, mostMs })
    for (let tried = 1; ; tried++) {
      try {
        await act()
        return true
      } catch (error) {
        if (tried >= tries && !signal.aborted) throw error
      }
      await wait(clock, backoff.next(), signal).catch(() => {})
      if (signal.aborted) return false
    }
  }

  #acknowledge(delivery: Incoming): void {
    const ack = { event: 'DeliverMsgAck', mailboxSeq: delivery.message.seq } as const
    this.#answer(delivery, (request, peer) => peer.reply(request, ack))
  }

  #refuse(delivery: Incoming, error: OspError): void {
    this.#answer(delivery, (request, peer) => peer.refuse(request, error))
  }

  #answer(delivery: Incoming, answer: (request: Request, peer: OnlineLink['peer']) => void): void {
    // A request that arrives from now on is a new delivery.
    if (this.#inHand === delivery) this.#inHand = undefined
    for (const request of delivery.requests.splice(0)) if (this.#link) answer(request, this.#link.peer)
  }
}

/** A receiver of an inbox. */
export interface ActiveReceiver extends Receiver {
  readonly handler: MessageHandler
  /** Aborts when it takes no further message; the reason is an OspError if it cannot continue. */
  readonly stopping: AbortController
  readonly ended: Deferred<void>
}
