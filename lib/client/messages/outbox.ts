import { checkMessageParts } from '../../core/messageLimits.ts'
import { textsOf } from '../../core/metadata.ts'
import { OspError } from '../../errors.ts'
import { clientLimits, fixed } from '../../limits.ts'
import { checkUserName } from '../../names.ts'
import { checkArgument, checkOptions } from '../../options.ts'
import { Alarm } from '../../runtime/alarm.ts'
import type { Backoff } from '../../runtime/backoff.ts'
import type { Blocks } from '../../runtime/blocks.ts'
import { bytesOfHex } from '../../runtime/hex.ts'
import { errorOf } from '../../runtime/refusal.ts'
import { onAbort } from '../../runtime/wait.ts'
import type { WireMessage } from '../../wire/message.ts'
import { type Attributes, encodeBody } from '../../wire/messageBody.ts'
import { deliveryStatus, events } from '../../wire/protocol.ts'
import { type OnlineLink, protocolViolation, refusalBackoff } from '../connection/session.ts'
import { content as contentKind, recipients as recipientsKind, sendOptions } from '../options.ts'
import type { RecipientState, SendOptions } from './message.ts'
import type { Registered, RegistrationOptions } from './registration.ts'

const encoder = new TextEncoder()

/** A message to send, and the promise of its sender. */
type Outgoing = ReturnType<typeof outgoing>

/**
 * Returns a message to send. Throws OspError `usage` for invalid arguments, `bad-name` for an invalid recipient,
 * `too-many-recipients` or `too-large`. A recipient that is named twice counts once.
 */
export function outgoing(
  to: readonly string[],
  content: string | Uint8Array,
  options: SendOptions,
  newId: () => Uint8Array,
  blocks: Blocks,
) {
  checkArgument('client.send', 'the recipients', recipientsKind, to)
  checkArgument('client.send', 'the content', contentKind, content)
  checkOptions('client.send', sendOptions, options)
  const recipients = (to.length > 1 ? [...new Set(to)] : to).map(checkUserName)
  // The caller may change its bytes later, and a repetition must be identical.
  const given = typeof content === 'string' ? encoder.encode(content) : content
  const attributes = attributesOf(options)
  checkMessageParts(attributes, given)
  const body = encodeBody(attributes, given, (length) => blocks.take(length))
  const messageId = options.id === undefined ? newId() : bytesOfHex(options.id)
  if (recipients.length > mostRecipients) throw tooMany(recipients, mostRecipients)
  const message = { messageId, recipients, body }
  return {
    message,
    /** The size of the payload of a request with only this message. */
    bytes: events.PostMsgReq.codec.size({ messages: [message] }),
    /** Resolves the promise of `send`. */
    resolve: (_states: readonly RecipientState[]): void => {},
    /** Rejects the promise of `send`. */
    reject: (_error: OspError): void => {},
    /** The time from which the server may have forgotten its id, so that it must not be sent again; set at the first try. */
    knownUntilMs: undefined as number | undefined,
    abandoned: false,
  }
}

/** Returns the parts of a message that its sender adds to the content. */
function attributesOf({ headers = {}, inReplyTo, timeToLiveMs }: SendOptions): Attributes {
  return {
    ...(Object.keys(headers).length > 0 ? { headers: textsOf(headers) } : {}),
    ...(timeToLiveMs === undefined ? {} : { timeToLive: Math.min(Math.ceil(timeToLiveMs), Number.MAX_SAFE_INTEGER) }),
    ...(inReplyTo === undefined ? {} : { inReplyTo: bytesOfHex(inReplyTo) }),
  }
}

/** The number of messages that may be unanswered on a reliable link; on other links it is one request. */
const unansweredSends = fixed.batchMessages

export interface OutboxOptions extends Pick<RegistrationOptions, 'platform' | 'retryForMs' | 'failed'> {
  /** Registers the link again after `afterMs`, because its instance is lost. */
  readonly renew: (afterMs: number) => void
}

/** Sends messages in the order of the calls. Unanswered ones are sent again on the next link while the server knows their ids. */
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

  constructor(options: OutboxOptions) {
    this.#options = options
    this.#backoff = refusalBackoff(options.platform, options.retryForMs)
    this.#expiry = new Alarm(options.platform.clock, () => this.#expire())
  }

  /**
   * Rejects with the server's refusal, or with `timed-out` if the outcome is unknown. Throws `rate-limited` beyond the bounds,
   * and the error of a message that cannot be sent.
   */
  send(outgoing: Outgoing, signal: AbortSignal | undefined): Promise<readonly RecipientState[]> {
    if (signal?.aborted) throw neverSent()
    const { sends, sendBytes } = clientLimits
    if (this.#waiting.size + this.#unanswered.size >= sends || this.#bytes + outgoing.bytes > sendBytes) {
      throw new OspError(
        'rate-limited',
        'too many messages are waiting to be sent; wait until some of them are acknowledged',
      )
    }
    const unfit = this.#registered && misfit(outgoing, this.#registered.link)
    if (unfit) throw unfit
    this.#waiting.add(outgoing)
    this.#bytes += outgoing.bytes
    this.#pumpSoon()
    const states = new Promise<readonly RecipientState[]>((resolve, reject) => {
      outgoing.resolve = resolve
      outgoing.reject = reject
    })
    if (signal) {
      const aborted = onAbort(signal, () => this.#abandon(outgoing))
      const end = () => aborted[Symbol.dispose]()
      states.then(end, end)
    }
    return states
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

  fail(error: OspError): void {
    this.#registered = undefined
    this.#expiry.stop()
    for (const outgoing of [...this.#unanswered, ...this.#waiting]) {
      this.#reject(outgoing, outgoing.knownUntilMs === undefined ? error : outcomeUnknown(error))
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
    for (const outgoing of this.#waiting) {
      if (batch.length >= mostMessages) break
      const unfit = this.#expired(outgoing) ?? misfit(outgoing, registered.link)
      bytes += unfit ? 0 : outgoing.bytes
      if (batch.length > 0 && bytes > mostBytes) break
      if (unfit) this.#reject(outgoing, unfit)
      else batch.push(outgoing)
    }
    return batch
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
        this.#settle(outgoing)
        if (outcome instanceof OspError) outgoing.reject(outcome)
        else if (outcome) outgoing.resolve(outcome)
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
      for (const outgoing of batch) this.#reject(outgoing, error)
      this.#backoff.reset()
    }
    this.#continue()
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

  /** Moves the unanswered messages before the waiting ones, and drops those that their senders have given up. */
  #takeBack(): void {
    this.#rejected.clear()
    for (const outgoing of this.#unanswered) if (outgoing.abandoned) this.#settle(outgoing)
    this.#waiting = new Set([...this.#unanswered, ...this.#waiting])
    this.#unanswered = new Set()
  }

  #abandon(outgoing: Outgoing): void {
    const wasSent = outgoing.knownUntilMs !== undefined
    // A message that was sent stays unanswered here, so that no later one overtakes it.
    if (this.#unanswered.has(outgoing)) outgoing.abandoned = true
    else this.#settle(outgoing)
    outgoing.reject(wasSent ? outcomeUnknown(new OspError('closed', 'the message was abandoned')) : neverSent())
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

  #reject(outgoing: Outgoing, error: OspError): void {
    this.#settle(outgoing)
    outgoing.reject(error)
  }

  #settle(outgoing: Outgoing): void {
    this.#rejected.delete(outgoing)
    if (this.#waiting.delete(outgoing) || this.#unanswered.delete(outgoing)) this.#bytes -= outgoing.bytes
  }
}

/** The number that the wire format can hold. */
const mostRecipients = 0xffff

/** Returns `too-many-recipients` or `too-large` if the message exceeds what the server of this link accepts. */
function misfit(
  { message: { recipients }, bytes }: Outgoing,
  { welcome }: Pick<OnlineLink, 'welcome'>,
): OspError | undefined {
  const { maxFrame, maxRecipients } = welcome
  if (recipients.length > maxRecipients) return tooMany(recipients, maxRecipients)
  if (bytes > maxFrame)
    return new OspError('too-large', `the message has ${bytes} bytes; the server accepts at most ${maxFrame}`)
  return undefined
}

function tooMany({ length }: readonly string[], most: number): OspError {
  return new OspError('too-many-recipients', `a message has at most ${most} recipients; this one has ${length}`)
}

const neverSent = () => new OspError('closed', 'the message was abandoned before it was sent')

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
