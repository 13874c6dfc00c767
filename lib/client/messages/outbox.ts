import { OspError } from '../../errors.ts'
import { clientLimits, fixed } from '../../limits.ts'
import { Alarm } from '../../runtime/alarm.ts'
import type { Backoff } from '../../runtime/backoff.ts'
import { errorOf } from '../../runtime/refusal.ts'
import { onAbort } from '../../runtime/wait.ts'
import type { WireMessage } from '../../wire/message.ts'
import { deliveryStatus } from '../../wire/protocol.ts'
import { type OnlineLink, protocolViolation, refusalBackoff } from '../connection/session.ts'
import type { RecipientState } from './message.ts'
import { misfit, type Outgoing } from './outgoing.ts'
import type { Registered, RegistrationOptions } from './registration.ts'
import { PendingMessage } from './sentMessage.ts'

/** The delay before a temporarily refused message is sent again. It doubles with each refusal. */
const outboxRetries = { retryFirstMs: 1_000, retryMostMs: 60_000 } as const

/** The number of messages that may be unanswered on a reliable link; on other links it is one request. */
const unansweredSends = fixed.batchMessages

export interface OutboxOptions extends Pick<RegistrationOptions, 'platform' | 'retryForMs' | 'failed'> {
  /** Registers the link again after `afterMs`, because its instance is lost. */
  readonly renew: (afterMs: number) => void
  /** Records in the store that messages may have been sent. The server remembers their ids for `knownForMs`. Does not reject. */
  readonly mark?: ((messages: readonly Outgoing[], knownForMs: number) => Promise<void>) | undefined
}

/**
 * Sends messages in the order of the calls. Unanswered ones are sent again on the next link while the server knows their ids. If
 * the server temporarily refuses a message of a stored outbox, the message is sent again later. Until then, only messages to
 * other recipients overtake it.
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
  /** Whether a pump follows in this turn. */
  #isPumpDue = false
  #isMarking = false
  /** Whether a waiting message may have to wait for its next try. */
  #hasDeferred = false
  /** Whether the waiting messages may be in the wrong order. */
  #isUnsorted = false
  readonly #retry: Alarm

  constructor(options: OutboxOptions) {
    this.#options = options
    this.#backoff = refusalBackoff(options.platform, options.retryForMs)
    this.#expiry = new Alarm(options.platform.clock, () => this.#expire())
    this.#retry = new Alarm(options.platform.clock, () => this.#pump())
  }

  /**
   * Rejects with the server's refusal, or with `timed-out` if the outcome is unknown. Throws `rate-limited` beyond the bounds,
   * and the error of a message that cannot be sent.
   */
  send(outgoing: Outgoing, signal: AbortSignal | undefined): PendingMessage {
    if (signal?.aborted) throw neverSent()
    const { sends, sendBytes } = clientLimits
    if (this.#waiting.size + this.#unanswered.size >= sends || this.#bytes + outgoing.bytes > sendBytes) {
      throw new OspError(
        'rate-limited',
        'too many messages are waiting to be sent; wait until some of them are acknowledged',
      )
    }
    this.check(outgoing)
    const states = new PendingMessage(outgoing.message.messageId, (resolve, reject) => {
      outgoing.resolve = resolve
      outgoing.reject = reject
    })
    this.add(outgoing)
    if (signal) {
      const aborted = onAbort(signal, () => this.abandon(outgoing))
      const end = () => aborted[Symbol.dispose]()
      states.then(end, end)
    }
    return states
  }

  /** Throws the error of a message that the server of the present link would not accept. */
  check(outgoing: Outgoing): void {
    const unfit = this.#registered && misfit(outgoing, this.#registered.link)
    if (unfit) throw unfit
  }

  /** Adds a message after all others. */
  add(outgoing: Outgoing): void {
    this.#waiting.add(outgoing)
    this.#bytes += outgoing.bytes
    if (outgoing.knownUntilMs !== undefined) this.#awaitExpiry()
    this.#pumpSoon()
  }

  /** The time for which the server remembers ids, while the link is registered. */
  get knownForMs(): number | undefined {
    return this.#registered && this.#registered.link.welcome.messageIdFor * 1_000
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
    // The mark of a message that was not sent can be too old when it is sent on the next link.
    for (const { queueState, knownUntilMs } of this.#waiting)
      if (queueState && knownUntilMs === undefined) queueState.isMarked = false
    this.#awaitExpiry()
  }

  fail(error: OspError): void {
    this.#registered = undefined
    this.#expiry.stop()
    this.#retry.stop()
    for (const outgoing of [...this.#unanswered, ...this.#waiting]) {
      const isKept = outgoing.queueState !== undefined && !outgoing.abandoned
      this.#reject(outgoing, outgoing.knownUntilMs === undefined || isKept ? error : outcomeUnknown(error), isKept)
    }
  }

  /** Messages that are sent in the same turn share a request. */
  #pumpSoon(): void {
    if (this.#isPumpDue) return
    this.#isPumpDue = true
    void Promise.resolve().then(() => {
      this.#isPumpDue = false
      this.#pump()
    })
  }

  #pump(): void {
    for (let batch = this.#nextBatch(); batch.length > 0; batch = this.#nextBatch()) {
      if (this.#registered) this.#ask(batch, this.#registered)
    }
  }

  /** Returns the waiting messages that can be sent in one request now. */
  #nextBatch(): readonly Outgoing[] {
    const batch: Outgoing[] = []
    const registered = this.#registered
    if (!registered || this.#rejected.size > 0) return batch
    const { peer, welcome } = registered.link
    const mostMessages = peer.socket.reliable ? unansweredSends - this.#unanswered.size : this.#mostAlone
    const mostBytes = Math.min(fixed.batchBytes, welcome.maxFrame)
    let bytes = 0
    for (const outgoing of this.#sendable(registered.link)) {
      if (batch.length >= mostMessages) break
      const unfit = this.#expired(outgoing) ?? misfit(outgoing, registered.link)
      bytes += unfit ? 0 : outgoing.bytes
      if (batch.length > 0 && bytes > mostBytes) break
      if (unfit) this.#reject(outgoing, unfit)
      else batch.push(outgoing)
    }
    return batch
  }

  /** Returns the waiting messages that may be sent now. */
  #sendable(link: OnlineLink): Iterable<Outgoing> {
    return this.#options.mark ? this.#unheld(link) : this.#waiting
  }

  /**
   * Yields the waiting messages of a stored outbox that may be sent now, up to the first that must be marked before it is sent.
   */
  *#unheld(link: OnlineLink): Generator<Outgoing, void> {
    this.#sort()
    const isHeld = this.#hasDeferred ? this.#holding() : undefined
    for (const outgoing of this.#waiting) {
      if (isHeld?.(outgoing)) continue
      if (outgoing.queueState?.isMarked === false) return this.#mark(link)
      yield outgoing
    }
  }

  /**
   * Returns a function that returns, for each waiting message in order, whether it must wait: because its next try is later, or
   * for an earlier message to one of its recipients.
   */
  #holding(): (outgoing: Outgoing) => boolean {
    const now = this.#options.platform.clock.now()
    const held = new Set<string>()
    const retriesMs = [...this.#waiting]
      .map(({ queueState }) => queueState?.retryAtMs ?? 0)
      .filter((atMs) => atMs > now)
    this.#hasDeferred = retriesMs.length > 0
    for (const atMs of retriesMs) this.#retry.by(atMs)
    return ({ queueState, message: { recipients } }) => {
      const retryAtMs = queueState?.retryAtMs ?? 0
      if (retryAtMs <= now && !recipients.some((recipient) => held.has(recipient))) return false
      for (const recipient of recipients) held.add(recipient)
      return true
    }
  }

  /** Marks all waiting messages, then continues. */
  #mark({ welcome }: OnlineLink): void {
    const { mark } = this.#options
    if (this.#isMarking || !mark) return
    this.#isMarking = true
    const unmarked = [...this.#waiting].filter(({ queueState }) => queueState?.isMarked === false)
    void mark(unmarked, welcome.messageIdFor * 1_000).then(() => {
      this.#isMarking = false
      for (const { queueState } of unmarked) if (queueState) queueState.isMarked = true
      this.#pump()
    })
  }

  /** The number of messages of the next request if no other may be unanswered. */
  get #mostAlone(): number {
    return this.#unanswered.size > 0 ? 0 : fixed.batchMessages
  }

  #ask(batch: readonly Outgoing[], { link, instance }: Registered): void {
    const knownUntilMs = this.#options.platform.clock.now() + link.welcome.messageIdFor * 1_000
    for (const outgoing of batch) {
      this.#waiting.delete(outgoing)
      this.#unanswered.add(outgoing)
      outgoing.knownUntilMs ??= knownUntilMs
    }
    const messages = batch.map(({ message }) => message)
    link.peer.ask({ event: 'PostMsgReq', messages }, instance).reply.then(
      (ack) => this.#acknowledged(batch, ack, link),
      (error: unknown) => {
        // Unanswered messages are sent again on the next link.
        if (error !== link.peer.ended) this.#refused(batch, OspError.from(error), link)
      },
    )
  }

  #acknowledged(batch: readonly Outgoing[], ack: WireMessage<'PostMsgAck'>, link: OnlineLink): void {
    try {
      const outcomes = outcomesOf(batch, ack)
      for (const [at, outgoing] of batch.entries()) {
        const outcome = outcomes[at]
        if (outcome instanceof OspError) {
          this.#refuse(outgoing, outcome)
          continue
        }
        this.#settle(outgoing)
        if (outcome) outgoing.resolve(outcome)
      }
      this.#backoff.reset()
    } catch (error) {
      const violation = OspError.from(error)
      for (const outgoing of batch) this.#reject(outgoing, outcomeUnknown(violation))
      void link.peer.close(violation)
    }
    this.#continue()
  }

  /** Handles the refusal of a whole request. */
  #refused(batch: readonly Outgoing[], error: OspError, link: OnlineLink): void {
    if (error.code === 'not-registered' || error.code === 'wrong-node') {
      if (this.#registered?.link === link) {
        for (const outgoing of batch) if (this.#unanswered.has(outgoing)) this.#rejected.add(outgoing)
      }
    } else {
      for (const outgoing of batch) this.#refuse(outgoing, error)
      this.#backoff.reset()
    }
    this.#continue()
  }

  /**
   * Handles the refusal of a message: rejects it or, if it belongs to a stored outbox and the refusal is temporary, sends it
   * again later.
   */
  #refuse(outgoing: Outgoing, error: OspError): void {
    const { queueState, abandoned } = outgoing
    if (!queueState || abandoned || error.retry === 'never') {
      this.#reject(outgoing, error)
      return
    }
    if (!this.#unanswered.delete(outgoing)) return
    const { retryFirstMs, retryMostMs } = outboxRetries
    const waitMs = Math.max(error.retryAfterMs, Math.min(retryMostMs, retryFirstMs * 2 ** queueState.refusals++))
    queueState.retryAtMs = this.#options.platform.clock.now() + waitMs
    queueState.isMarked = false
    // The server forgets the id of a message that it refuses.
    outgoing.knownUntilMs = undefined
    this.#hasDeferred = true
    this.#waiting.add(outgoing)
    this.#isUnsorted = true
    queueState.deferred(error)
  }

  /** Restores the order of the messages that were deferred. */
  #sort(): void {
    if (!this.#isUnsorted) return
    this.#isUnsorted = false
    const numberOf = ({ queueState }: Outgoing) => queueState?.number ?? 0
    this.#waiting = new Set([...this.#waiting].sort((a, b) => numberOf(a) - numberOf(b)))
  }

  /** Sends more; or registers again when every request to a lost instance is answered. */
  #continue(): void {
    if (this.#rejected.size < this.#unanswered.size || this.#rejected.size === 0) {
      if (this.#waiting.size > 0) this.#pumpSoon()
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

  /** Moves the unanswered messages in front of the waiting ones, and removes those that their senders have abandoned. */
  #takeBack(): void {
    this.#rejected.clear()
    for (const outgoing of this.#unanswered) if (outgoing.abandoned) this.#settle(outgoing)
    this.#waiting = new Set([...this.#unanswered, ...this.#waiting])
    this.#unanswered = new Set()
    this.#isUnsorted = this.#hasDeferred
  }

  /** Abandons a message. Rejects its promise with the returned error: `unsent`, or `closed` if the message may have been stored. */
  abandon(outgoing: Outgoing, unsent = neverSent()): OspError {
    const wasSent = outgoing.knownUntilMs !== undefined
    // A message that was sent stays unanswered here, so that no later one overtakes it.
    if (this.#unanswered.has(outgoing)) outgoing.abandoned = true
    else this.#settle(outgoing)
    const error = wasSent ? outcomeUnknown(new OspError('closed', 'the message was abandoned')) : unsent
    outgoing.reject(error, false)
    return error
  }

  #expired({ knownUntilMs = Number.POSITIVE_INFINITY }: Outgoing): OspError | undefined {
    if (knownUntilMs > this.#options.platform.clock.now()) return undefined
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

  #reject(outgoing: Outgoing, error: OspError, isKept = false): void {
    this.#settle(outgoing)
    outgoing.reject(error, isKept)
  }

  #settle(outgoing: Outgoing): void {
    this.#rejected.delete(outgoing)
    if (this.#waiting.delete(outgoing) || this.#unanswered.delete(outgoing)) this.#bytes -= outgoing.bytes
  }
}

export const neverSent = () => new OspError('closed', 'the message was abandoned before it was sent')

/** Returns `error` with the addition that the message may have been stored. */
function outcomeUnknown(error: OspError): OspError {
  const text = `${error.message}; it is unknown whether the message was stored (if it is sent again with its id, it is stored only once)`
  return new OspError(error.code, text, { cause: error })
}

const statuses = new Map(
  Object.entries(deliveryStatus).map(([status, number]) => [number as number, status as keyof typeof deliveryStatus]),
)

/** Returns the states of each message, or its refusal. Throws OspError `malformed` unless the ACK has one of them for each. */
function outcomesOf(
  batch: readonly Outgoing[],
  { statuses: all, refused }: WireMessage<'PostMsgAck'>,
): readonly (readonly RecipientState[] | OspError)[] {
  const refusals = new Map(refused.map((refusal) => [refusal.message, refusal]))
  if (all.length !== batch.length || refusals.size !== refused.length || refused.some(({ message }) => !batch[message]))
    throw protocolViolation('it acknowledged messages other than those of the request')
  return batch.map(({ message: { recipients } }, at) => {
    const refusal = refusals.get(at)
    if (refusal) return refusalFor(recipients, errorOf(refusal))
    const own = all[at] ?? []
    return recipients.map((recipient, index) => {
      const status = statuses.get(own[index] ?? -1)
      if (status === undefined || own.length !== recipients.length)
        throw protocolViolation('it acknowledged a message for other recipients, or with an unknown status')
      return { recipient, status }
    })
  })
}

/** Returns a refusal without the names that are not recipients of the message: they may not be safe to show. */
function refusalFor(asked: readonly string[], error: OspError): OspError {
  const recipients = asked.filter((recipient) => error.recipients?.includes(recipient))
  return new OspError(error.code, error.message, { retryAfterMs: error.retryAfterMs, recipients, cause: error })
}
