import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import type { Platform } from '../../ports/platform.ts'
import { Alarm } from '../../runtime/alarm.ts'
import type { Backoff } from '../../runtime/backoff.ts'
import { onAbort } from '../../runtime/wait.ts'
import type { WireMessage } from '../../wire/message.ts'
import { refusalBackoff } from '../connection/session.ts'
import type { RecipientState } from './message.ts'
import { misfit, type Outgoing, outcomeUnknown, recipientStates, refusalFor } from './outgoing.ts'
import type { Registered } from './registration.ts'

/** The number of messages that may be unanswered on a reliable link; on other links it is one. */
const unansweredSends = 256

export interface OutboxOptions {
  readonly platform: Pick<Platform, 'clock' | 'random'>
  readonly retryForMs: number
  /** Registers the link again after `afterMs`, because its instance is lost. */
  readonly renew: (afterMs: number) => void
  /** Called when the time for these retries is up. */
  readonly failed: (error: OspError) => void
}

/**
 * Sends messages in the order of the calls. Messages that a lost link leaves unanswered are sent again on the next link, in
 * that order and with the same ids, for as long as the server remembers the ids.
 */
export class Outbox {
  readonly #options: OutboxOptions
  readonly #backoff: Backoff
  readonly #expiry: Alarm
  #registered: Registered | undefined
  /** Messages not sent on this link, in order; those that were sent on earlier links first. */
  #waiting = new Set<Outgoing>()
  /** Messages sent on this link, in order. */
  #unanswered = new Set<Outgoing>()
  /** The messages of `#unanswered` that were refused because the instance is lost. */
  readonly #rejected = new Set<Outgoing>()
  #bytes = 0

  constructor(options: OutboxOptions) {
    this.#options = options
    this.#backoff = refusalBackoff(options.platform, options.retryForMs)
    this.#expiry = new Alarm(options.platform.clock, () => this.#expire())
  }

  /** Rejects with the server's refusal; with `rate-limited` beyond the bounds; with `timed-out` if the outcome is unknown. */
  async send(outgoing: Outgoing, signal: AbortSignal | undefined): Promise<readonly RecipientState[]> {
    if (signal?.aborted) throw new OspError('closed', 'the message was given up before it was sent')
    const { sends, sendBytes } = clientLimits
    if (this.#waiting.size + this.#unanswered.size >= sends || this.#bytes + outgoing.bytes > sendBytes) {
      throw new OspError('rate-limited', 'too many messages wait to be sent; wait until some of them are acknowledged')
    }
    const unfit = this.#registered && misfit(outgoing, this.#registered.link)
    if (unfit) throw unfit
    this.#waiting.add(outgoing)
    this.#bytes += outgoing.bytes
    using _aborted = signal && onAbort(signal, () => this.#abandon(outgoing))
    this.#pump()
    return await outgoing.states.promise
  }

  get gauges() {
    return { unsentMessages: this.#waiting.size + this.#unanswered.size, unsentMessageBytes: this.#bytes }
  }

  /** Sends on a link that is registered, for the first time or again. */
  open(registered: Registered): void {
    this.#registered = registered
    this.#expiry.stop()
    this.#pump()
  }

  /** Keeps the unanswered messages for the next link. */
  lost(): void {
    this.#registered = undefined
    this.#takeBack()
    this.#awaitExpiry()
  }

  /** Rejects all messages. */
  fail(error: OspError): void {
    this.#registered = undefined
    this.#expiry.stop()
    for (const outgoing of [...this.#unanswered, ...this.#waiting]) {
      this.#reject(outgoing, outgoing.knownUntilMs === undefined ? error : outcomeUnknown(error))
    }
  }

  #pump(): void {
    const registered = this.#registered
    if (!registered || this.#rejected.size > 0) return
    const most = registered.link.peer.socket.reliable ? unansweredSends : 1
    for (const outgoing of this.#waiting) {
      if (this.#unanswered.size >= most || this.#registered !== registered) return
      const unfit = this.#expired(outgoing) ?? misfit(outgoing, registered.link)
      if (unfit) this.#reject(outgoing, unfit)
      else this.#ask(outgoing, registered)
    }
  }

  #ask(outgoing: Outgoing, { link, instance }: Registered): void {
    this.#waiting.delete(outgoing)
    this.#unanswered.add(outgoing)
    outgoing.knownUntilMs ??= this.#now() + link.welcome.messageIdFor * 1_000
    link.peer.ask(outgoing.request, instance).reply.then(
      (ack) => this.#acknowledged(outgoing, ack, link),
      (error: unknown) => {
        // An unanswered message is sent again on the next link.
        if (error !== link.peer.ended) this.#refused(outgoing, OspError.from(error), link)
      },
    )
  }

  #acknowledged(outgoing: Outgoing, ack: WireMessage<'PostMsgAck'>, link: Registered['link']): void {
    try {
      const states = recipientStates(outgoing.request.recipients, ack)
      this.#settle(outgoing)
      outgoing.states.resolve(states)
      this.#backoff.reset()
    } catch (error) {
      const violation = OspError.from(error)
      this.#reject(outgoing, outcomeUnknown(violation))
      void link.peer.close(violation)
    }
    this.#continue()
  }

  #refused(outgoing: Outgoing, error: OspError, link: Registered['link']): void {
    if (error.code === 'not-registered' || error.code === 'wrong-node') {
      if (this.#registered?.link === link && this.#unanswered.has(outgoing)) this.#rejected.add(outgoing)
    } else {
      this.#reject(outgoing, refusalFor(outgoing.request.recipients, error))
      this.#backoff.reset()
    }
    this.#continue()
  }

  /** Sends more; or registers again when every request to a lost instance is answered. */
  #continue(): void {
    if (this.#rejected.size < this.#unanswered.size || this.#rejected.size === 0) {
      this.#pump()
      return
    }
    this.#registered = undefined
    this.#takeBack()
    try {
      this.#options.renew(this.#backoff.next(new OspError('not-registered')))
    } catch (error) {
      this.#options.failed(OspError.from(error))
    }
  }

  /** Moves the unanswered messages before the waiting ones, and drops those that their senders have given up. */
  #takeBack(): void {
    this.#rejected.clear()
    for (const outgoing of this.#unanswered) if (outgoing.abandoned) this.#settle(outgoing)
    this.#waiting = new Set([...this.#unanswered, ...this.#waiting])
    this.#unanswered = new Set()
  }

  #abandon(outgoing: Outgoing): void {
    const tried = outgoing.knownUntilMs !== undefined
    const text = tried ? 'the message was given up' : 'the message was given up before it was sent'
    const error = tried ? outcomeUnknown(new OspError('closed', text)) : new OspError('closed', text)
    // A message that was sent stays unanswered here, so that no later one overtakes it.
    if (this.#unanswered.has(outgoing)) {
      outgoing.abandoned = true
      outgoing.states.reject(error)
    } else this.#reject(outgoing, error)
  }

  #expired({ knownUntilMs = Number.POSITIVE_INFINITY }: Outgoing): OspError | undefined {
    if (knownUntilMs > this.#now()) return undefined
    return outcomeUnknown(new OspError('timed-out', 'the server could not be reached again in time'))
  }

  #expire(): void {
    for (const outgoing of this.#waiting) {
      const error = this.#expired(outgoing)
      if (error) this.#reject(outgoing, error)
    }
    this.#awaitExpiry()
  }

  #awaitExpiry(): void {
    let earliestMs = Number.POSITIVE_INFINITY
    for (const { knownUntilMs = earliestMs } of this.#waiting) earliestMs = Math.min(earliestMs, knownUntilMs)
    this.#expiry.by(earliestMs)
  }

  #reject(outgoing: Outgoing, error: OspError): void {
    this.#settle(outgoing)
    outgoing.states.reject(error)
  }

  #settle(outgoing: Outgoing): void {
    this.#rejected.delete(outgoing)
    if (this.#waiting.delete(outgoing) || this.#unanswered.delete(outgoing)) this.#bytes -= outgoing.bytes
  }

  #now(): number {
    return this.#options.platform.clock.now()
  }
}
