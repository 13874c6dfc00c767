import type { Request } from '../../core/link.ts'
import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { isUserName } from '../../names.ts'
import type { Receipt, ReceiptStore } from '../../ports/clientState.ts'
import type { Log } from '../../ports/log.ts'
import type { Platform } from '../../ports/platform.ts'
import { Alarm } from '../../runtime/alarm.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { onAbort, Waits } from '../../runtime/wait.ts'
import type { WireMessage } from '../../wire/message.ts'
import { type OnlineLink, protocolViolation } from '../connection/session.ts'
import { HandOver, type HandOverContext, notInHand } from './handOver.ts'
import type { Message, MessageHandler, Receiver } from './message.ts'
import { Receipts, receiptKey } from './receipts.ts'
import { decodedMessage, messageOf, type SendReply } from './receivedMessage.ts'
import type { Registered } from './registration.ts'

/** An unanswered DELIVER_MSG_REQ of the current link. */
interface Delivery {
  readonly request: Request
  readonly seqs: readonly number[]
  /** The number of its messages that are neither handled nor rejected. */
  left: number
  /** Its messages that are not handled. */
  readonly unhandled: Set<number>
  /** The number of its first messages that are handled. */
  handled: number
  readonly rejected: { readonly mailboxSeq: number; readonly text: string }[]
  /** The results of its handled messages. */
  readonly results: { readonly mailboxSeq: number; readonly result: string }[]
  /** The seq up to which results were reported over a reliable link, or -1. */
  reported: number
}

/** A message that a server delivers; its key identifies it within its mailbox. */
export interface Incoming {
  readonly message: Message
  readonly receipt: Receipt
  readonly key: string
  /** The result for the sender, if it gets a receipt. */
  result: string | undefined
  /** The deliveries of the current link that contain it, the earliest first: the server can deliver it again. */
  readonly deliveries: Delivery[]
  /** The latest hand-over. */
  handOver: HandOver | undefined
}

/** Returns a message of a DELIVER_MSG_REQ. Throws OspError `malformed` if its fields are not valid. */
function incoming(
  delivered: WireMessage<'DeliverMsgReq'>['messages'][number],
  attempt: number,
  send: InboxOptions['send'],
): Incoming {
  const decoded = decodedMessage(delivered)
  const { receipt } = decoded
  const inHand = () => {
    if (!taken.handOver) throw notInHand()
    return taken.handOver
  }
  const message = messageOf(decoded, attempt, inHand, send)
  const key = receiptKey(receipt)
  const taken: Incoming = { message, receipt, key, result: undefined, deliveries: [], handOver: undefined }
  return taken
}

/** Time after which handled messages are reported to the server, if their delivery has other messages that are not handled. */
const reportMs = 10

export interface InboxOptions {
  readonly platform: Pick<Platform, 'clock'>
  readonly log: Log
  readonly receipts: ReceiptStore
  /** Sends a reply to a message. */
  readonly send: SendReply
  /** Called when the client may have begun or stopped listening. */
  readonly changed: () => void
}

/** Hands delivered messages over in the order of the mailbox, up to the concurrency of the receiver at once. */
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
  readonly #inHand = new Set<Incoming>()
  /** The highest seq of the messages that have waited on this link, or are in hand. */
  #highestSeq = 0
  /** A sender whose name is valid. */
  #sender = ''
  /** Deliveries whose first messages are handled and not reported. */
  readonly #unreported = new Set<Delivery>()
  readonly #report: Alarm
  readonly #handOvers: HandOverContext
  #receiver: ActiveReceiver | undefined
  /** The number of hand-overs that have not ended. */
  #handing = 0
  /** The calls that disposing of a receiver awaits. */
  readonly #running = new Set<Promise<void>>()
  /** Whether messages are handed over in this turn. */
  #isPumpDue = false

  constructor(options: InboxOptions) {
    this.#options = options
    this.#receipts = new Receipts(options.receipts)
    const { log, platform } = options
    this.#report = new Alarm(platform.clock, () => this.#sendReport())
    const settle: HandOverContext['settle'] = (incoming, error) => this.#settle(incoming, error)
    this.#handOvers = { clock: platform.clock, log, receipts: this.#receipts, settle }
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

  /** Hands messages to the handler of `mode`. Throws OspError `usage` if there is a receiver already. */
  receive(mode: ReceiverMode): ActiveReceiver {
    if (this.#receiver) throw new OspError('usage', 'this client already has a receiver; dispose it first')
    const stopping = new AbortController()
    const ended = deferred<void>()
    const dispose = async () => {
      stopping.abort()
      await this.#idle()
      if (this.#receiver === receiver) {
        this.#receiver = undefined
        this.#options.changed()
      }
      ended.resolve()
    }
    const waits = new Waits(this.#options.platform.clock, stopping.signal)
    onAbort(stopping.signal, (reason) => {
      // After an error of the receiver the application still handles its messages.
      if (!(reason instanceof OspError)) for (const { handOver } of this.#inHand) handOver?.leave()
    })
    const receiver = { ...mode, stopping, waits, ended, done: ended.promise, [Symbol.asyncDispose]: dispose }
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
    this.#highestSeq = 0
    for (const { deliveries, message } of this.#inHand) {
      deliveries.splice(0)
      this.#highestSeq = Math.max(this.#highestSeq, message.seq)
    }
    this.#unreported.clear()
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
    await this.#idle()
  }

  async #idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running)
  }

  /** Takes a DELIVER_MSG_REQ of the present link. Throws OspError `malformed`. */
  take(request: Request, { attempt, messages }: WireMessage<'DeliverMsgReq'>): void {
    if (attempt === 0) throw protocolViolation('it delivered a message with attempt 0')
    const seqs = messages.map(({ mailboxSeq }) => mailboxSeq)
    const counts = { left: 0, handled: 0, reported: -1 }
    const delivery: Delivery = { request, seqs, ...counts, unhandled: new Set(), rejected: [], results: [] }
    const added: Incoming[] = []
    let before = -1
    for (const delivered of messages) {
      if (delivered.mailboxSeq <= before) throw protocolViolation('it delivered messages in the wrong order')
      before = delivered.mailboxSeq
      if (delivered.sender !== this.#sender && !isUserName(delivered.sender))
        throw protocolViolation('the sender of a message has an invalid name')
      this.#sender = delivered.sender
      const unknown = this.#takeOne(incoming(delivered, attempt, this.#options.send), delivery)
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
    const known = isOld && [...this.#inHand, ...this.#waiting].find(({ key }) => key === delivered.key)
    const rejection = known ? undefined : receipts.rejected.get(delivered.key)
    if (!known && receipts.has(delivered)) {
      delivered.result = receipts.resultOf(delivered)
      addResult(delivery, delivered)
      this.#again(delivered)
    } else if (rejection) {
      delivery.unhandled.add(seq)
      delivery.rejected.push({ mailboxSeq: seq, text: rejection.message })
    } else {
      this.#highestSeq = Math.max(this.#highestSeq, seq)
      delivery.unhandled.add(seq)
      delivery.left++
      const message = known || delivered
      message.deliveries.push(delivery)
      return known ? undefined : message
    }
    return undefined
  }

  get #unhandled(): number {
    let inHand = 0
    for (const { deliveries } of this.#inHand) if (deliveries.length > 0) inHand++
    return this.#waiting.length + inHand
  }

  #checkWindow(): void {
    if (this.#unhandled > this.#window) throw protocolViolation(`it delivers over ${this.#window} messages at once`)
  }

  #pump(): void {
    if (this.#isPumpDue || !this.#next()) return
    this.#isPumpDue = true
    // The caller of `receive` has its receiver before the handler is called.
    const due = Promise.resolve().then(() => {
      this.#isPumpDue = false
      this.#handOverAll()
      this.#running.delete(due)
    })
    this.#running.add(due)
  }

  #handOverAll(): void {
    for (let next = this.#next(); next; next = this.#next()) {
      const { message, receiver } = next
      this.#waiting.shift()
      this.#inHand.add(message)
      this.#handing++
      message.handOver = new HandOver(message, receiver, this.#handOvers)
      const handing = message.handOver.run()
      if (typeof handing === 'boolean') this.#handedOver(message, handing)
      else this.#await(message, handing)
    }
    if (this.#inHand.size === 0) this.#sendReport()
  }

  #await(message: Incoming, handing: Promise<boolean>): void {
    const running = handing.then((isHandled) => {
      this.#running.delete(running)
      this.#handedOver(message, isHandled)
      this.#handOverAll()
    })
    this.#running.add(running)
  }

  #handedOver(message: Incoming, isHandled: boolean): void {
    this.#handing--
    this.#inHand.delete(message)
    if (isHandled) return
    message.handOver = undefined
    // If it has no deliveries, its link is lost, and the server delivers it again.
    const [delivery] = message.deliveries
    if (!delivery) return
    const { seq } = message.message
    const at = this.#waiting.findIndex(({ message: other, deliveries: [first] }) => {
      const later = (first?.request.seq ?? 0) - delivery.request.seq
      return later > 0 || (later === 0 && other.seq > seq)
    })
    this.#waiting.splice(at < 0 ? this.#waiting.length : at, 0, message)
  }

  #next(): { message: Incoming; receiver: ActiveReceiver } | undefined {
    const receiver = this.#receiver
    const [message] = this.#waiting
    const [delivery] = message?.deliveries ?? []
    if (!message || !delivery || !receiver || receiver.stopping.signal.aborted || !this.#isGranted) return undefined
    if (this.#handing >= receiver.concurrency) return undefined
    const { arrivals } = this.#link ?? {}
    // An earlier delivery may still be in transit.
    return arrivals && arrivals.complete < delivery.request.seq ? undefined : { message, receiver }
  }

  /** Stores the receipt of a message that was handed over before, if it is old. */
  #again(incoming: Incoming): void {
    this.#receipts.again(incoming)?.catch((error: unknown) => {
      const { message: text } = OspError.from(error)
      this.#options.log({ level: 'error', event: 'receipt-not-stored', seq: incoming.message.seq, text })
    })
  }

  /** Takes a message that was handled, or rejected with `error`, out of its deliveries. */
  #settle(incoming: Incoming, error?: OspError): void {
    // A delivery that arrives from now on is a new one.
    this.#inHand.delete(incoming)
    const { seq } = incoming.message
    const { deliveries } = incoming
    for (let delivery = deliveries.shift(); delivery; delivery = deliveries.shift()) {
      delivery.left--
      if (error) delivery.rejected.push({ mailboxSeq: seq, text: error.message })
      else {
        delivery.unhandled.delete(seq)
        addResult(delivery, incoming)
      }
      if (delivery.left === 0) this.#answer(delivery)
      else if (advance(delivery)) this.#unreported.add(delivery)
    }
    if (this.#unreported.size > 0) this.#report.by(this.#options.platform.clock.now() + reportMs)
  }

  #answer(delivery: Delivery): void {
    const { request, seqs, rejected } = delivery
    this.#unreported.delete(delivery)
    const mailboxSeq = seqs.at(-1) ?? 0
    // The server ignores earlier reports if the client has registered anew since the delivery.
    const results = resultsIn(delivery, -1, mailboxSeq)
    this.#link?.peer.reply(request, { event: 'DeliverMsgAck', mailboxSeq, rejected, ...results })
  }

  /** Reports the handled messages of deliveries that cannot be answered yet. */
  #sendReport(): void {
    const deliveries = [...this.#unreported]
    this.#unreported.clear()
    this.#report.stop()
    for (const delivery of deliveries) {
      const mailboxSeq = delivery.seqs[delivery.handled - 1]
      if (mailboxSeq === undefined) continue
      const results = resultsIn(delivery, delivery.reported, mailboxSeq)
      this.#link?.peer.notify({ event: 'DeliverMsgNtf', mailboxSeq, ...results })
      // A link that is not reliable can lose the notification.
      if (this.#link?.peer.socket.reliable) delivery.reported = mailboxSeq
    }
  }
}

function addResult(delivery: Delivery, { message: { seq: mailboxSeq }, result }: Incoming): void {
  if (result !== undefined) delivery.results.push({ mailboxSeq, result })
}

/** Returns the results of the messages of a delivery after a seq, up to another. */
function resultsIn(delivery: Delivery, after: number, upTo: number): Pick<WireMessage<'DeliverMsgNtf'>, 'results'> {
  const results = delivery.results.filter(({ mailboxSeq }) => mailboxSeq > after && mailboxSeq <= upTo)
  return results.length > 0 ? { results } : {}
}

/** Counts the first messages of a delivery that are handled. Returns whether there are more of them than before. */
function advance(delivery: Delivery): boolean {
  const before = delivery.handled
  for (let seq = delivery.seqs[before]; seq !== undefined && !delivery.unhandled.has(seq); ) {
    delivery.handled++
    seq = delivery.seqs[delivery.handled]
  }
  return delivery.handled > before
}

/** The options of a receiver. */
export interface ReceiverMode {
  readonly handler: MessageHandler
  /** The maximum number of messages that are handled at once. */
  readonly concurrency: number
  /** The number of times that a message is handed over before it is set aside. */
  readonly tries: number
  /** The receiver answers each message by its methods, not by returning from the handler. */
  readonly isManual: boolean
}

/** A receiver of an inbox. */
export interface ActiveReceiver extends Receiver, ReceiverMode {
  /** Aborts when it takes no further message; the reason is an OspError if it cannot continue. */
  readonly stopping: AbortController
  /** End when it takes no further message. */
  readonly waits: Waits
  readonly ended: Deferred<void>
}
