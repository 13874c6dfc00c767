import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import type { Platform } from '../../ports/platform.ts'
import { Alarm } from '../../runtime/alarm.ts'
import type { Message as Event } from '../../wire/message.ts'
import { Backoff } from '../connection/backoff.ts'
import type { ClientGaugeSink } from '../gauges.ts'
import type { RecipientState } from './message.ts'
import { misfit, type Outgoing, outcomeUnknown } from './outgoing.ts'
import { recipientStates, refusalFor } from './recipientStates.ts'
import type { Registered } from './registration.ts'

/** Messages that may be unanswered where nothing is lost or reordered; elsewhere it is one. */
const unansweredSends = 256

export interface OutboxOptions {
  readonly platform: Pick<Platform, 'clock' | 'random'>
  readonly retryForMs: number
  /** The instance of this link is lost: it is to be registered anew, in so many milliseconds. */
  readonly renew: (afterMs: number) => void
  /** That has been so for too long. */
  readonly failed: (why: OspError) => void
}

/**
 * The messages that are being sent, in the order of the calls. What a lost link leaves unanswered is sent again on the next
 * one, in that order and under the same ids, for as long as the server knows them.
 */
export class Outbox {
  readonly #options: OutboxOptions
  readonly #setbacks: Backoff
  readonly #expiry: Alarm
  #at: Registered | undefined
  /** Not sent on this link, in order; those that were sent on earlier ones first. */
  #waiting = new Set<Outgoing>()
  /** Sent on this link, in order. */
  #unanswered = new Set<Outgoing>()
  /** Those of `#unanswered` that were refused because the instance is lost. */
  readonly #turnedAway = new Set<Outgoing>()
  #bytes = 0

  constructor(options: OutboxOptions) {
    this.#options = options
    this.#setbacks = new Backoff(options.platform, options.retryForMs)
    this.#expiry = new Alarm(options.platform.clock, () => this.#expire())
  }

  /** Rejects with what the server refuses it with; `rate-limited` beyond the bounds; `timed-out` where that is unknown. */
  async send(outgoing: Outgoing, signal: AbortSignal | undefined): Promise<readonly RecipientState[]> {
    if (signal?.aborted) throw new OspError('closed', 'the message was given up before it was sent')
    const { sends, sendBytes } = clientLimits
    if (this.#waiting.size + this.#unanswered.size >= sends || this.#bytes + outgoing.bytes > sendBytes) {
      throw new OspError('rate-limited', 'too many messages wait to be sent; wait until some of them are acknowledged')
    }
    const unfit = this.#at && misfit(outgoing, this.#at.link)
    if (unfit) throw unfit
    this.#waiting.add(outgoing)
    this.#bytes += outgoing.bytes
    const aborted = () => this.#abandon(outgoing)
    signal?.addEventListener('abort', aborted, { once: true })
    this.#pump()
    try {
      return await outgoing.states.promise
    } finally {
      signal?.removeEventListener('abort', aborted)
    }
  }

  held(tell: ClientGaugeSink): void {
    tell('messages to be sent', this.#waiting.size + this.#unanswered.size)
    tell('bytes of messages to be sent', this.#bytes)
  }

  /** A link is registered, for the first time or anew. */
  open(registered: Registered): void {
    this.#at = registered
    this.#expiry.stop()
    this.#pump()
  }

  /** The link has ended. */
  lost(): void {
    this.#at = undefined
    this.#takeBack()
    this.#awaitExpiry()
  }

  /** Rejects all that waits or is unanswered. */
  fail(why: OspError): void {
    this.#at = undefined
    this.#expiry.stop()
    for (const outgoing of [...this.#unanswered, ...this.#waiting]) {
      this.#reject(outgoing, outgoing.knownUntilMs === undefined ? why : outcomeUnknown(why))
    }
  }

  #pump(): void {
    const at = this.#at
    if (!at || this.#turnedAway.size > 0) return
    const most = at.link.peer.socket.reliable ? unansweredSends : 1
    for (const outgoing of this.#waiting) {
      if (this.#unanswered.size >= most || this.#at !== at) return
      const unfit = this.#expired(outgoing) ?? misfit(outgoing, at.link)
      if (unfit) this.#reject(outgoing, unfit)
      else this.#ask(outgoing, at)
    }
  }

  #ask(outgoing: Outgoing, { link, instance }: Registered): void {
    this.#waiting.delete(outgoing)
    this.#unanswered.add(outgoing)
    outgoing.knownUntilMs ??= this.#now() + link.welcome.messageIdFor * 1_000
    link.peer.ask(outgoing.request, instance).reply.then(
      (ack) => this.#acknowledged(outgoing, ack, link),
      (error: unknown) => {
        // Unanswered: the next link has it sent again.
        if (error !== link.peer.ended) this.#refused(outgoing, OspError.from(error), link)
      },
    )
  }

  #acknowledged(outgoing: Outgoing, ack: Event<'PostMsgAck'>, link: Registered['link']): void {
    try {
      const states = recipientStates(outgoing.request.recipients, ack)
      this.#settle(outgoing)
      outgoing.states.resolve(states)
      this.#setbacks.reset()
    } catch (error) {
      const why = OspError.from(error)
      this.#reject(outgoing, outcomeUnknown(why))
      void link.peer.close(why)
    }
    this.#goOn()
  }

  #refused(outgoing: Outgoing, why: OspError, link: Registered['link']): void {
    if (why.code === 'not-registered' || why.code === 'wrong-node') {
      if (this.#at?.link === link && this.#unanswered.has(outgoing)) this.#turnedAway.add(outgoing)
    } else {
      this.#reject(outgoing, refusalFor(outgoing.request.recipients, why))
      this.#setbacks.reset()
    }
    this.#goOn()
  }

  /** Registers anew once nothing is under way to the instance that is lost. */
  #goOn(): void {
    if (this.#turnedAway.size < this.#unanswered.size || this.#turnedAway.size === 0) {
      this.#pump()
      return
    }
    this.#at = undefined
    this.#takeBack()
    try {
      this.#options.renew(this.#setbacks.next(new OspError('not-registered')))
    } catch (why) {
      this.#options.failed(OspError.from(why))
    }
  }

  /** What was sent waits again, before all that was not; nobody waits for what was given up. */
  #takeBack(): void {
    this.#turnedAway.clear()
    for (const outgoing of this.#unanswered) if (outgoing.abandoned) this.#settle(outgoing)
    this.#waiting = new Set([...this.#unanswered, ...this.#waiting])
    this.#unanswered = new Set()
  }

  #abandon(outgoing: Outgoing): void {
    const tried = outgoing.knownUntilMs !== undefined
    const text = tried ? 'the message was given up' : 'the message was given up before it was sent'
    const why = tried ? outcomeUnknown(new OspError('closed', text)) : new OspError('closed', text)
    // What is under way stays so until it is answered, so that nothing overtakes it.
    if (this.#unanswered.has(outgoing)) {
      outgoing.abandoned = true
      outgoing.states.reject(why)
    } else this.#reject(outgoing, why)
  }

  #expired({ knownUntilMs = Number.POSITIVE_INFINITY }: Outgoing): OspError | undefined {
    if (knownUntilMs > this.#now()) return undefined
    return outcomeUnknown(new OspError('timed-out', 'the server could not be asked again in time'))
  }

  #expire(): void {
    for (const outgoing of this.#waiting) {
      const why = this.#expired(outgoing)
      if (why) this.#reject(outgoing, why)
    }
    this.#awaitExpiry()
  }

  #awaitExpiry(): void {
    let earliestMs = Number.POSITIVE_INFINITY
    for (const { knownUntilMs = earliestMs } of this.#waiting) earliestMs = Math.min(earliestMs, knownUntilMs)
    this.#expiry.by(earliestMs)
  }

  #reject(outgoing: Outgoing, why: OspError): void {
    this.#settle(outgoing)
    outgoing.states.reject(why)
  }

  #settle(outgoing: Outgoing): void {
    this.#turnedAway.delete(outgoing)
    if (this.#waiting.delete(outgoing) || this.#unanswered.delete(outgoing)) this.#bytes -= outgoing.bytes
  }

  #now(): number {
    return this.#options.platform.clock.now()
  }
}
