import type { Request } from '../../core/link.ts'
import { OspError } from '../../errors.ts'
import { clientLimits, fixed } from '../../limits.ts'
import type { Log } from '../../ports/log.ts'
import type { Platform } from '../../ports/platform.ts'
import { wait } from '../../runtime/wait.ts'
import type { Message as Event } from '../../wire/message.ts'
import { protocolViolation } from '../connection/answers.ts'
import type { OnlineLink } from '../connection/session.ts'
import type { ClientGaugeSink } from '../gauges.ts'
import { ActiveReceiver } from './activeReceiver.ts'
import { type Delivery, deliveryOf } from './delivery.ts'
import type { MessageHandler } from './message.ts'
import type { Receipts } from './receipts.ts'
import type { Registered } from './registration.ts'
import { SequenceTrackingSocket } from './sequenceTrackingSocket.ts'

export interface InboxOptions {
  readonly platform: Pick<Platform, 'clock'>
  readonly log: Log
  readonly receipts: Receipts
  /** Whether messages are wanted may have changed. */
  readonly changed: () => void
}

/** The messages that are delivered, handed over one at a time in the order of the mailbox. */
export class Inbox {
  readonly #options: InboxOptions
  #link: OnlineLink | undefined
  /** Deliveries of this link that may be unanswered, as far as is known. */
  #window: number = fixed.replies
  /** The latest that a server has granted: by it receipts are kept, and nothing is handed over before. */
  #granted: number | undefined
  /** Came on this link and are not handed over yet, in the order in which the server has sent them. */
  #waiting: Delivery[] = []
  #inHand: Delivery | undefined
  #receiving: ActiveReceiver | undefined
  #running: Promise<void> | undefined

  constructor(options: InboxOptions) {
    this.#options = options
  }

  /** Whether messages are wanted. */
  get listening(): boolean {
    return this.#receiving !== undefined
  }

  /** Hands messages to `handler`. Throws OspError `usage` where that is done already. */
  receive(handler: MessageHandler): ActiveReceiver {
    if (this.#receiving) throw new OspError('usage', 'this client has a receiver already; dispose it first')
    this.#receiving = new ActiveReceiver(handler, (receiving) => this.#stopped(receiving))
    this.#options.changed()
    this.#pump()
    return this.#receiving
  }

  open(link: OnlineLink): void {
    this.#link = link
    this.#window = fixed.replies
    const { socket } = link.peer
    if (socket instanceof SequenceTrackingSocket) socket.arrived = () => this.#pump()
  }

  registered({ deliveryWindow }: Registered): void {
    this.#window = Math.min(deliveryWindow, fixed.replies)
    this.#granted = this.#window
    this.#checkWindow()
    this.#pump()
  }

  held(tell: ClientGaugeSink): void {
    tell('messages to be handed over', this.#unhandled)
    const socket = this.#link?.peer.socket
    if (socket instanceof SequenceTrackingSocket)
      tell('requests that came before an earlier one', socket.arrivals.beyond)
  }

  /** The link has ended: what was not handed over comes again. */
  lost(): void {
    this.#link = undefined
    this.#waiting = []
    this.#inHand?.requests.splice(0)
  }

  /** The receiver, if there is one, can't go on because of `why`, or is not needed any more. */
  end(why?: OspError): void {
    const receiving = this.#receiving
    this.#receiving = undefined
    receiving?.end(why)
  }

  /** Takes no further message. Resolves when no handler is at work. */
  async stop(): Promise<void> {
    this.#receiving?.stop()
    await this.#running
  }

  /** Takes a DELIVER_MSG_REQ of the present link. Throws OspError `malformed`. */
  take(request: Request, told: Event<'DeliverMsgReq'>): void {
    const delivery = deliveryOf(request, told)
    const { receipts } = this.#options
    const known = [this.#inHand, ...this.#waiting].find((other) => other?.key === delivery.key)
    const givenUp = receipts.whyGivenUp(delivery)
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

  get #receiptWindow(): number {
    return this.#granted ?? fixed.replies
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
    // Whoever has called `receive` has its receiver before the handler is called.
    await undefined
    for (let next = this.#next(); next; next = this.#next()) {
      this.#waiting.shift()
      this.#inHand = next.delivery
      const over = await this.#handOver(next.delivery, next.receiving)
      this.#inHand = undefined
      // A lost link leaves none: it comes again by itself then.
      if (!over && next.delivery.requests.length > 0) this.#waiting.unshift(next.delivery)
    }
  }

  /** What is to be handed over next, and to whom; `undefined` where there is nothing, or nobody. */
  #next(): { delivery: Delivery; receiving: ActiveReceiver } | undefined {
    const receiving = this.#receiving
    const [delivery] = this.#waiting
    const [request] = delivery?.requests ?? []
    if (!delivery || !request || !receiving || receiving.signal.aborted || !this.#granted) return undefined
    const socket = this.#link?.peer.socket
    // One that was sent before may still be on its way.
    if (socket instanceof SequenceTrackingSocket && socket.arrivals.complete < request.seq) return undefined
    return { delivery, receiving }
  }

  /** Resolves with false where nothing has become of it yet. */
  async #handOver(delivery: Delivery, { handler, signal }: ActiveReceiver): Promise<boolean> {
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
      const why = new OspError('internal', tried.message, { cause: tried })
      log({ level: 'error', event: 'message-given-up', seq, from, text: why.message })
      receipts.giveUp(delivery, why, this.#receiptWindow)
      this.#refuse(delivery, why)
      return true
    }
    const kept = await this.#repeatedly(signal, Number.POSITIVE_INFINITY, () => this.#keep(delivery))
    if (kept !== 'done') return false
    this.#acknowledge(delivery)
    return true
  }

  /** It was handed over before, and its answer was lost. */
  #again(delivery: Delivery): void {
    this.#acknowledge(delivery)
    this.#logged(delivery, this.#options.receipts.again(delivery, this.#receiptWindow)).catch(() => {})
  }

  #keep(delivery: Delivery): Promise<void> {
    return this.#logged(delivery, this.#options.receipts.keep(delivery, this.#receiptWindow))
  }

  async #logged({ message }: Delivery, kept: Promise<void>): Promise<void> {
    try {
      await kept
    } catch (error) {
      const { message: text } = OspError.from(error)
      this.#options.log({ level: 'error', event: 'receipt-not-stored', seq: message.seq, text })
      throw error
    }
  }

  /** Tries `act`, waiting longer after each failure; what it failed with last, or that `signal` has stopped it. */
  async #repeatedly(
    signal: AbortSignal,
    tries: number,
    act: () => Promise<void>,
  ): Promise<'done' | 'stopped' | OspError> {
    const { handlerFirstMs, handlerMostMs } = clientLimits
    const { clock } = this.#options.platform
    for (let tried = 1; ; tried++) {
      try {
        await act()
        return 'done'
      } catch (error) {
        if (signal.aborted) return 'stopped'
        if (tried >= tries) return OspError.from(error)
      }
      await wait(clock, Math.min(handlerFirstMs * 2 ** (tried - 1), handlerMostMs), signal).catch(() => {})
      if (signal.aborted) return 'stopped'
    }
  }

  #acknowledge({ message, requests }: Delivery): void {
    for (const request of requests.splice(0)) {
      this.#link?.peer.reply(request, { event: 'DeliverMsgAck', mailboxSeq: message.seq })
    }
  }

  #refuse({ requests }: Delivery, why: OspError): void {
    for (const request of requests.splice(0)) this.#link?.peer.refuse(request, why)
  }

  async #stopped(receiving: ActiveReceiver): Promise<void> {
    await this.#running
    if (this.#receiving !== receiving) return
    this.#receiving = undefined
    this.#options.changed()
  }
}
