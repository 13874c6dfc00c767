import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import type { Log } from '../../ports/log.ts'
import type { Platform } from '../../ports/platform.ts'
import { Backoff } from '../../runtime/backoff.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { cutText, cutUtf8 } from '../../runtime/refusal.ts'
import type { ActiveReceiver, Incoming } from './inbox.ts'
import type { MessageHandler } from './message.ts'
import type { Receipts } from './receipts.ts'

/** The dependencies of the hand-overs of a client. */
export interface HandOverContext {
  readonly clock: Platform['clock']
  readonly log: Log
  readonly receipts: Receipts
  /** Called when a message is handled, or rejected with `error`. */
  readonly settle: (incoming: Incoming, error?: OspError) => void
}

/** The answer of the application to the current call of the handler. */
type Answer = 'handled' | 'again' | 'rejected'

/** Hands one message to a receiver until it is handled, rejected, or the receiver stops. */
export class HandOver {
  readonly #incoming: Incoming
  readonly #receiver: ActiveReceiver
  readonly #context: HandOverContext
  #answer: Answer | undefined
  /** Resolves with the answer to the present call, if the receiver does not answer by returning. */
  #answered: Deferred<void> | undefined
  /** Whether a call of the handler can be answered. */
  #isOpen = false
  /** The delay before the next call, if the application has requested one. */
  #delayMs: number | undefined
  /** The value that the handler returned. */
  #result: string | undefined
  /** Resolves with whether the receipt is stored, after an acknowledgement. */
  #keeping: boolean | Promise<boolean> | undefined

  constructor(incoming: Incoming, receiver: ActiveReceiver, context: HandOverContext) {
    this.#incoming = incoming
    this.#receiver = receiver
    this.#context = context
  }

  /**
   * Returns or resolves with whether the message was handled or rejected. Returns without a promise if the handler and the store
   * of the receipts are synchronous: a delivery of many messages then costs no promises.
   */
  run(): boolean | Promise<boolean> {
    let first: Promise<unknown>
    try {
      const running = this.#call()
      if (this.#answer === undefined && !isObject(running)) return this.#keepWith(resultOf(running))
      first = Promise.resolve(running)
    } catch (error) {
      first = Promise.reject(error)
    }
    return this.#finish(first)
  }

  /**
   * Resolves when the receipt is stored. Rejects with OspError `closed` if the message cannot be answered, or the receiver stops.
   */
  async ack(result: string | undefined): Promise<void> {
    if (this.#keeping === undefined) this.#respond('handled')
    const keeping = this.#keepWith(result)
    this.#answered?.resolve()
    if (!(await keeping)) throw notInHand()
  }

  /** Hands the message over again after `delayMs`. Throws OspError `closed` if it cannot be answered. */
  nak(delayMs: number | undefined): void {
    this.#respond('again')
    this.#delayMs = delayMs
    this.#answered?.resolve()
  }

  /** Rejects the message. Throws OspError `closed` if it cannot be answered. */
  reject(reason: string): void {
    this.#respond('rejected')
    this.#reject(reason)
    this.#answered?.resolve()
  }

  /** Returns the message if the application has left the loop over its messages without answering it. */
  leave(): void {
    this.#answered?.reject(new Error('the loop over the messages was exited'))
  }

  #respond(answer: Answer): void {
    if (!this.#isOpen || this.#answer !== undefined) throw notInHand()
    this.#answer = answer
  }

  #call(): ReturnType<MessageHandler> {
    const { handler, isManual } = this.#receiver
    this.#answer = undefined
    this.#delayMs = undefined
    this.#isOpen = true
    if (!isManual) return handler(this.#incoming.message)
    const answered = deferred<void>()
    this.#answered = answered
    handler(this.#incoming.message)
    return answered.promise
  }

  /** Resolves as `run` does, after the first call of the handler. */
  async #finish(first: Promise<unknown>): Promise<boolean> {
    const { tries, waits, stopping } = this.#receiver
    const { signal } = stopping
    const { clock } = this.#context
    const { handlerFirstMs: firstMs, handlerMostMs: mostMs } = clientLimits
    let backoff: Backoff | undefined
    let running: Promise<unknown> | undefined = first
    for (let tried = 1; ; tried++) {
      const failure = await this.#outcome(running ?? (async () => this.#call())())
      running = undefined
      if (this.#answer === 'handled') return await this.#keepWith(this.#result)
      if (this.#answer === 'rejected') return true
      this.#isOpen = false
      if (tried >= tries && !signal.aborted) {
        this.#reject(failure ?? `it was returned ${tried} times`)
        return true
      }
      backoff ??= new Backoff({ clock, firstMs, mostMs })
      await waits.wait(this.#delayMs ?? backoff.next()).catch(() => {})
      if (signal.aborted) return false
    }
  }

  /** Decides the answer to a call of the handler when it has ended. Resolves with the text of its error. */
  async #outcome(running: Promise<unknown>): Promise<string | undefined> {
    try {
      this.#result = resultOf(await running)
      this.#answer ??= 'handled'
      return undefined
    } catch (error) {
      const { message: text } = OspError.from(error)
      const { seq, from } = this.#incoming.message
      const { aborted } = this.#receiver.stopping.signal
      if (!aborted) this.#context.log({ level: 'warn', event: 'handler-failed', seq, from, text })
      this.#answer ??= 'again'
      return text
    }
  }

  #reject(reason: string): void {
    const { log, receipts, settle } = this.#context
    const { seq, from } = this.#incoming.message
    const error = new OspError('internal', cutText(reason))
    log({ level: 'error', event: 'message-rejected', seq, from, text: error.message })
    receipts.rejected.set(this.#incoming.key, error)
    settle(this.#incoming, error)
  }

  /**
   * Stores the receipt of a handled message, and acknowledges the message once, with a result for its sender. Returns or resolves
   * with whether the receipt was stored.
   */
  #keepWith(result: string | undefined): boolean | Promise<boolean> {
    this.#isOpen = false
    if (this.#keeping !== undefined) return this.#keeping
    if (result !== undefined && this.#incoming.message.receiptWanted) this.#incoming.result = cutUtf8(result)
    const { receipts, settle } = this.#context
    const storing = receipts.keep(this.#incoming)
    this.#keeping = storing ? this.#keepLater(storing) : true
    if (!storing) settle(this.#incoming)
    return this.#keeping
  }

  async #keepLater(first: Promise<void>): Promise<boolean> {
    const { clock, log, receipts, settle } = this.#context
    const { waits, stopping } = this.#receiver
    const { handlerFirstMs: firstMs, handlerMostMs: mostMs } = clientLimits
    let backoff: Backoff | undefined
    for (let storing: Promise<void> | undefined = first; ; storing = receipts.keep(this.#incoming)) {
      try {
        await storing
        settle(this.#incoming)
        return true
      } catch (error) {
        const { message: text } = OspError.from(error)
        log({ level: 'error', event: 'receipt-not-stored', seq: this.#incoming.message.seq, text })
      }
      backoff ??= new Backoff({ clock, firstMs, mostMs })
      await waits.wait(backoff.next()).catch(() => {})
      if (stopping.signal.aborted) return false
    }
  }
}

const isObject = (value: unknown) => typeof value === 'object' && value !== null

/** Returns the result for the sender that a handler has returned. */
const resultOf = (value: unknown) => (typeof value === 'string' ? value : undefined)

/** The error of an answer to a message that was already answered, or whose receiver has stopped. */
export const notInHand = () =>
  new OspError('closed', 'the message cannot be answered: it was already answered, or its receiver has stopped')
