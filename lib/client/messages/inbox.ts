import type { Request } from '../../core/link.ts'
import { OspError } from '../../errors.ts'
import { clientLimits, fixed } from '../../limits.ts'
import { isUserName } from '../../names.ts'
import type { Receipt } from '../../ports/clientState.ts'
import type { Log } from '../../ports/log.ts'
import type { Platform } from '../../ports/platform.ts'
import { Backoff } from '../../runtime/backoff.ts'
import { deferred } from '../../runtime/deferred.ts'
import { hex } from '../../runtime/hex.ts'
import { wait } from '../../runtime/wait.ts'
import type { WireMessage } from '../../wire/message.ts'
import { type OnlineLink, protocolViolation } from '../connection/session.ts'
import type { Message, MessageHandler, Receiver } from './message.ts'
import type { Receipts } from './receipts.ts'
import type { Registered } from './registration.ts'

/** A message that a server delivers, and the requests to answer after it was handled. */
export interface Incoming {
  readonly message: Message
  readonly receipt: Receipt
  /** Identifies the message within its mailbox. */
  readonly key: string
  /** The requests of the present link, the earliest first. A server can deliver a message again if it has received no answer. */
  readonly requests: Request[]
}

/** The latest time that a Date can hold. */
const latestMs = 8.64e15

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** Returns the message of a DELIVER_MSG_REQ. Throws OspError `malformed` if its fields are not valid. */
function incoming(request: Request, event: WireMessage<'DeliverMsgReq'>): Incoming {
  const { messageId: id, mailboxSeq: seq, sender: from, sentAt, content, attempt } = event
  if (!isUserName(from)) throw protocolViolation('the sender of a message has an invalid name')
  if (content.length > fixed.messageBytes) throw protocolViolation(`it delivered a message of ${content.length} bytes`)
  if (sentAt > latestMs) throw protocolViolation('it delivered a message with an invalid time')
  if (attempt === 0) throw protocolViolation('it delivered a message with attempt 0')
  const receipt = { seq, sender: from, id: hex(id) }
  const text = () => decoder.decode(content)
  const message = { id, seq, from, sentAt: new Date(sentAt), content, attempt, text }
  return { message, receipt, key: receiptKey(receipt), requests: [request] }
}

/** Returns a string that is equal for equal receipts only. */
export function receiptKey({ seq, sender, id }: Receipt): string {
  return `${seq} ${id} ${sender}`
}

export interface InboxOptions {
  readonly platform: Pick<Platform, 'clock'>
  readonly log: Log
  readonly receipts: Receipts
  /** Called when the client may have begun or stopped listening. */
  readonly changed: () => void
}

/** Hands delivered messages over, one at a time in the order of the mailbox. */
export class Inbox {
  readonly #options: InboxOptions
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
  }

  /** Whether the client has a receiver. */
  get listening(): boolean {
    return this.#receiver !== undefined
  }

  /** Hands messages to `handler`. Throws OspError `usage` if there is a receiver already. */
  receive(handler: MessageHandler): ActiveReceiver {
    if (this.#receiver) throw new OspError('usage', 'this client already has a receiver; dispose it first')
    this.#receiver = new ActiveReceiver(handler, (receiver) => this.#stopped(receiver))
    this.#options.changed()
    this.#pump()
    return this.#receiver
  }

  open(link: OnlineLink): void {
    this.#link = link
    this.#window = fixed.replies
    if (link.arrivals) link.arrivals.arrived = () => this.#pump()
  }

  registered({ deliveryWindow }: Registered): void {
    this.#window = Math.min(deliveryWindow, fixed.replies)
    this.#options.receipts.window = this.#window
    this.#isGranted = true
    this.#checkWindow()
    this.#pump()
  }

  get gauges() {
    return { unhandledMessages: this.#unhandled, outOfOrderRequests: this.#link?.arrivals?.beyond ?? 0 }
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
    receiver?.end(error)
  }

  /** Hands over no further message. Resolves when no handler is running. */
  async stop(): Promise<void> {
    this.#receiver?.stop()
    await this.#running
  }

  /** Takes a DELIVER_MSG_REQ of the present link. Throws OspError `malformed`. */
  take(request: Request, event: WireMessage<'DeliverMsgReq'>): void {
    const delivery = incoming(request, event)
    const { receipts } = this.#options
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

  /** Messages of this link that are not handed over. */
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

  /** Returns the next message to hand over, and the receiver for it. */
  #next(): { delivery: Incoming; receiver: ActiveReceiver } | undefined {
    const receiver = this.#receiver
    const [delivery] = this.#waiting
    const [request] = delivery?.requests ?? []
    if (!delivery || !request || !receiver || receiver.signal.aborted || !this.#isGranted) return undefined
    const { arrivals } = this.#link ?? {}
    // An earlier delivery may still be in transit.
    return arrivals && arrivals.complete < request.seq ? undefined : { delivery, receiver }
  }

  /** Resolves with whether the message was handled or given up. */
  async #handOver(delivery: Incoming, { handler, signal }: ActiveReceiver): Promise<boolean> {
    const { log, receipts } = this.#options
    const { seq, from } = delivery.message
    const tried = await this.#repeatedly(signal, clientLimits.handlerTries, async () => {
      try {
        await handler(delivery.message)
      } catch (error) {
        if (!signal.aborted)
          log({ level: 'warn', event: 'handler-failed', seq, from, text: OspError.from(error).message })
        throw error
      }
    })
    if (tried === 'stopped') return false
    if (tried !== 'done') {
      const error = new OspError('internal', tried.message, { cause: tried })
      log({ level: 'error', event: 'message-given-up', seq, from, text: error.message })
      receipts.givenUp.set(delivery.key, error)
      this.#inHand = undefined
      this.#refuse(delivery, error)
      return true
    }
    const keep = () => this.#logged(delivery, receipts.keep(delivery))
    const stored = await this.#repeatedly(signal, Number.POSITIVE_INFINITY, keep)
    if (stored !== 'done') return false
    // A repetition that arrives from now on is acknowledged by its receipt.
    this.#inHand = undefined
    this.#acknowledge(delivery)
    return true
  }

  /** Acknowledges a message that was handed over before. */
  #again(delivery: Incoming): void {
    this.#acknowledge(delivery)
    this.#logged(delivery, this.#options.receipts.again(delivery)).catch(() => {})
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

  /** Calls `act` up to `tries` times, with longer waits. Resolves with the last error if all fail, or with `stopped` by `signal`. */
  async #repeatedly(
    signal: AbortSignal,
    tries: number,
    act: () => Promise<void>,
  ): Promise<'done' | 'stopped' | OspError> {
    const { handlerFirstMs: firstMs, handlerMostMs: mostMs } = clientLimits
    const { clock } = this.#options.platform
    const backoff = new Backoff({ clock, firstMs, mostMs })
    for (let tried = 1; ; tried++) {
      try {
        await act()
        return 'done'
      } catch (error) {
        if (signal.aborted) return 'stopped'
        if (tried >= tries) return OspError.from(error)
      }
      await wait(clock, backoff.next(), signal).catch(() => {})
      if (signal.aborted) return 'stopped'
    }
  }

  #acknowledge(delivery: Incoming): void {
    const { message, requests } = delivery
    // A request that arrives from now on is a new delivery.
    if (this.#inHand === delivery) this.#inHand = undefined
    for (const request of requests.splice(0)) {
      this.#link?.peer.reply(request, { event: 'DeliverMsgAck', mailboxSeq: message.seq })
    }
  }

  #refuse(delivery: Incoming, error: OspError): void {
    const { requests } = delivery
    if (this.#inHand === delivery) this.#inHand = undefined
    for (const request of requests.splice(0)) this.#link?.peer.refuse(request, error)
  }

  async #stopped(receiver: ActiveReceiver): Promise<void> {
    await this.#running
    if (this.#receiver !== receiver) return
    this.#receiver = undefined
    this.#options.changed()
  }
}

/** A receiver of an inbox. */
export class ActiveReceiver implements Receiver {
  readonly handler: MessageHandler
  readonly #stopped: (receiver: ActiveReceiver) => Promise<void>
  readonly #stopping = new AbortController()
  /** Aborts when it takes no further message; the reason is an OspError if it cannot continue. */
  readonly signal: AbortSignal = this.#stopping.signal
  readonly #done = deferred<void>()
  readonly done = this.#done.promise

  /** `stopped` resolves when the handler has returned. */
  constructor(handler: MessageHandler, stopped: (receiver: ActiveReceiver) => Promise<void>) {
    this.handler = handler
    this.#stopped = stopped
  }

  /** Takes no further message. */
  stop(): void {
    this.#stopping.abort()
  }

  /** Ends it, with `error` if it cannot continue. */
  end(error?: OspError): void {
    this.#stopping.abort(error)
    if (error) this.#done.reject(error)
    else this.#done.resolve()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop()
    await this.#stopped(this)
    this.end()
  }
}
