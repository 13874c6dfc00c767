import type { Request } from '../../core/link.ts'
import { OspError } from '../../errors.ts'
import { clientLimits, fixed } from '../../limits.ts'
import { isUserName } from '../../names.ts'
import type { Receipt, ReceiptStore } from '../../ports/clientState.ts'
import type { Log } from '../../ports/log.ts'
import type { Platform } from '../../ports/platform.ts'
import { Alarm } from '../../runtime/alarm.ts'
import { Backoff } from '../../runtime/backoff.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { hex } from '../../runtime/hex.ts'
import { wait } from '../../runtime/wait.ts'
import type { WireMessage } from '../../wire/message.ts'
import { decodeBody } from '../../wire/messageBody.ts'
import { type OnlineLink, protocolViolation } from '../connection/session.ts'
import type { Message, MessageHandler, Receiver } from './message.ts'
import { Receipts, receiptKey } from './receipts.ts'
import type { Registered } from './registration.ts'

/** The latest time that a Date can hold. */
const latestMs = 8.64e15

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** An unanswered DELIVER_MSG_REQ of the current link. */
interface Delivery {
  readonly request: Request
  /** The seq of its last message. */
  readonly lastSeq: number
  /** The number of its messages that are neither handled nor given up. */
  left: number
  readonly rejected: { readonly mailboxSeq: number; readonly text: string }[]
}

/** A message that a server delivers; its key identifies it within its mailbox. */
export interface Incoming {
  readonly message: Message
  readonly receipt: Receipt
  readonly key: string
  /** The deliveries of the current link that contain it, the earliest first: the server can deliver it again. */
  readonly deliveries: Delivery[]
}

type Delivered = WireMessage<'DeliverMsgReq'>['messages'][number]

/** Returns a message of a DELIVER_MSG_REQ. Throws OspError `malformed` if its fields are not valid. */
function incoming(
  { messageId, mailboxSeq: seq, sender: from, sentAt, ...delivered }: Delivered,
  attempt: number,
): Incoming {
  const { attributes, content } = decodeBody(delivered.body)
  if (content.length > fixed.messageBytes) throw protocolViolation(`it delivered a message of ${content.length} bytes`)
  if (sentAt > latestMs) throw protocolViolation('it delivered a message with an invalid time')
  const receipt: Receipt = { seq, sender: from, id: hex(messageId) }
  const owned = new Uint8Array(content)
  const text = () => decoder.decode(owned)
  const message: Message = {
    id: new Uint8Array(messageId),
    seq,
    from,
    sentAt: new Date(sentAt),
    // In memory of its own: an application that keeps a message does not keep the whole delivery, and one that transfers the
    // content to another thread takes nothing else with it.
    content: owned,
    headers: Object.fromEntries((attributes.headers ?? []).map(({ key, value }) => [key, value])),
    attempt,
    text,
  }
  return { message, receipt, key: receiptKey(receipt), deliveries: [] }
}

/** Time after which handled messages are reported to the server, if their delivery has other messages that are not handled. */
const reportMs = 10

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
  /** The number of messages on this link that may be unanswered, as far as the client knows. */
  #window: number = fixed.replies
  /** Whether a server has granted a window, which sets the number of stored receipts. Before, nothing is handed over. */
  #isGranted = false
  /** Messages of this link that are not handed over, in the order in which the server has sent them. */
  #waiting: Incoming[] = []
  #inHand: Incoming | undefined
  /** The highest seq of the messages that have waited on this link, or are in hand. */
  #highestSeq = 0
  /** A sender whose name is valid. */
  #sender = ''
  /** The seq up to which the messages of a delivery are handled and not reported. */
  #unreportedSeq: number | undefined
  readonly #report: Alarm
  #receiver: ActiveReceiver | undefined
  #running: Promise<void> | undefined

  constructor(options: InboxOptions) {
    this.#options = options
    this.#receipts = new Receipts(options.receipts)
    this.#report = new Alarm(options.platform.clock, () => this.#sendReport())
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
    this.#inHand?.deliveries.splice(0)
    this.#highestSeq = this.#inHand?.message.seq ?? 0
    this.#unreportedSeq = undefined
    this.#report.stop()
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
  take(request: Request, { attempt, messages }: WireMessage<'DeliverMsgReq'>): void {
    if (attempt === 0) throw protocolViolation('it delivered a message with attempt 0')
    const lastSeq = messages.at(-1)?.mailboxSeq ?? 0
    const delivery: Delivery = { request, lastSeq, left: 0, rejected: [] }
    const added: Incoming[] = []
    let before = -1
    for (const delivered of messages) {
      if (delivered.mailboxSeq <= before) throw protocolViolation('it delivered messages in the wrong order')
      before = delivered.mailboxSeq
      if (delivered.sender !== this.#sender && !isUserName(delivered.sender))
        throw protocolViolation('the sender of a message has an invalid name')
      this.#sender = delivered.sender
      const unknown = this.#takeOne(incoming(delivered, attempt), delivery)
      if (unknown) added.push(unknown)
    }
    if (messages.length === 0) throw protocolViolation('it delivered no message')
    const at = this.#waiting.findLastIndex(
      ({ deliveries: [first] }) => first !== undefined && first.request.seq < request.seq,
    )
    this.#waiting.splice(at + 1, 0, ...added)
    this.#checkWindow()
    if (delivery.left === 0) this.#answer(delivery)
    else this.#pump()
  }

  /** Returns the message if it must be handed over, because it is neither known nor handled. */
  #takeOne(delivered: Incoming, delivery: Delivery): Incoming | undefined {
    const { seq } = delivered.message
    const receipts = this.#receipts
    const isOld = seq <= this.#highestSeq
    const known = isOld && [this.#inHand, ...this.#waiting].find((other) => other?.key === delivered.key)
    const givenUp = known ? undefined : receipts.givenUp.get(delivered.key)
    if (!known && receipts.has(delivered)) this.#again(delivered)
    else if (givenUp) delivery.rejected.push({ mailboxSeq: seq, text: givenUp.message })
    else {
      this.#highestSeq = Math.max(this.#highestSeq, seq)
      delivery.left++
      const message = known || delivered
      message.deliveries.push(delivery)
      return known ? undefined : message
    }
    return undefined
  }

  get #unhandled(): number {
    return this.#waiting.length + (this.#inHand?.deliveries.length ? 1 : 0)
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
      const { message, receiver } = next
      this.#waiting.shift()
      this.#inHand = message
      const handing = this.#handOver(message, receiver)
      const isHandled = typeof handing === 'boolean' ? handing : await handing
      this.#inHand = undefined
      // If it has no deliveries, its link is lost, and the server delivers it again.
      if (!isHandled && message.deliveries.length > 0) this.#waiting.unshift(message)
    }
    this.#sendReport()
  }

  #next(): { message: Incoming; receiver: ActiveReceiver } | undefined {
    const receiver = this.#receiver
    const [message] = this.#waiting
    const [delivery] = message?.deliveries ?? []
    if (!message || !delivery || !receiver || receiver.stopping.signal.aborted || !this.#isGranted) return undefined
    const { arrivals } = this.#link ?? {}
    // An earlier delivery may still be in transit.
    return arrivals && arrivals.complete < delivery.request.seq ? undefined : { message, receiver }
  }

  /**
   * Returns or resolves with whether the message was handled or given up. It returns at once if neither the handler nor the
   * store of the receipts takes time, so that a delivery of many messages costs no promises.
   */
  #handOver(incoming: Incoming, receiver: ActiveReceiver): boolean | Promise<boolean> {
    let first: Promise<void>
    try {
      const running = receiver.handler(incoming.message)
      if (!running) return this.#keep(incoming, receiver)
      first = Promise.resolve(running)
    } catch (error) {
      first = Promise.reject(error)
    }
    return this.#finish(incoming, receiver, first)
  }

  /** Resolves as `#handOver` does, after the first call of the handler. */
  async #finish(incoming: Incoming, receiver: ActiveReceiver, first: Promise<void>): Promise<boolean> {
    const { log } = this.#options
    const { handler, stopping } = receiver
    const { signal } = stopping
    const { seq, from } = incoming.message
    let running: Promise<void> | undefined = first
    const handle = async () => {
      try {
        await (running ?? handler(incoming.message))
      } catch (error) {
        const { message: text } = OspError.from(error)
        if (!signal.aborted) log({ level: 'warn', event: 'handler-failed', seq, from, text })
        throw error
      } finally {
        running = undefined
      }
    }
    try {
      if (!(await this.#repeatedly(signal, clientLimits.handlerTries, handle))) return false
    } catch (cause) {
      const error = new OspError('internal', OspError.from(cause).message, { cause })
      log({ level: 'error', event: 'message-given-up', seq, from, text: error.message })
      this.#receipts.givenUp.set(incoming.key, error)
      this.#settle(incoming, error)
      return true
    }
    return this.#keep(incoming, receiver)
  }

  /** Stores the receipt of a handled message and acknowledges it. Returns as `#handOver` does. */
  #keep(incoming: Incoming, { stopping: { signal } }: ActiveReceiver): boolean | Promise<boolean> {
    let storing = this.#receipts.keep(incoming)
    if (!storing) {
      this.#settle(incoming)
      return true
    }
    const keep = async () => {
      const stored = storing ?? this.#receipts.keep(incoming)
      storing = undefined
      await this.#logged(incoming, stored)
    }
    return this.#repeatedly(signal, Number.POSITIVE_INFINITY, keep).then((isStored) => {
      if (isStored) this.#settle(incoming)
      return isStored
    })
  }

  /** Stores the receipt of a message that was handed over before, if it is old. */
  #again(incoming: Incoming): void {
    this.#logged(incoming, this.#receipts.again(incoming)).catch(() => {})
  }

  async #logged({ message }: Incoming, storing: Promise<void> | undefined): Promise<void> {
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
    let backoff: Backoff | undefined
    for (let tried = 1; ; tried++) {
      try {
        await act()
        return true
      } catch (error) {
        if (tried >= tries && !signal.aborted) throw error
      }
      backoff ??= new Backoff({ clock, firstMs, mostMs })
      await wait(clock, backoff.next(), signal).catch(() => {})
      if (signal.aborted) return false
    }
  }

  /** Takes a message that was handled, or given up with `error`, out of its deliveries. */
  #settle(incoming: Incoming, error?: OspError): void {
    // A delivery that arrives from now on is a new one.
    if (this.#inHand === incoming) this.#inHand = undefined
    const { seq } = incoming.message
    const { deliveries } = incoming
    for (let delivery = deliveries.shift(); delivery; delivery = deliveries.shift()) {
      delivery.left--
      if (error) delivery.rejected.push({ mailboxSeq: seq, text: error.message })
      if (delivery.left === 0) this.#answer(delivery)
      else if (delivery.rejected.length === 0) this.#unreportedSeq = seq
    }
    if (this.#unreportedSeq !== undefined) this.#report.by(this.#options.platform.clock.now() + reportMs)
  }

  #answer({ request, lastSeq: mailboxSeq, rejected }: Delivery): void {
    if (this.#unreportedSeq !== undefined && this.#unreportedSeq <= mailboxSeq) this.#unreportedSeq = undefined
    this.#link?.peer.reply(request, { event: 'DeliverMsgAck', mailboxSeq, rejected })
  }

  /** Reports the handled messages of a delivery that cannot be answered yet. */
  #sendReport(): void {
    const mailboxSeq = this.#unreportedSeq
    this.#unreportedSeq = undefined
    this.#report.stop()
    if (mailboxSeq !== undefined) this.#link?.peer.notify({ event: 'DeliverMsgNtf', mailboxSeq })
  }
}

/** A receiver of an inbox. */
export interface ActiveReceiver extends Receiver {
  readonly handler: MessageHandler
  /** Aborts when it takes no further message; the reason is an OspError if it cannot continue. */
  readonly stopping: AbortController
  readonly ended: Deferred<void>
}
