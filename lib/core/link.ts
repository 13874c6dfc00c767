/*
 * How a link works.
 *
 * A link is one connection of a client and a server. Both sides run the code of this file: each sends requests (REQ) and
 * replies to the requests of the other with exactly one ACK or NACK, and either may send notifications (NTF), which have no
 * reply. `Link` holds the rules only. It opens no socket and reads no clock: `runtime/linkDriver.ts` passes the frames that
 * arrived to `receive`, takes the frames to send from `next`, and calls `advance` at `deadline`.
 *
 * Sequence numbers. Each side numbers its requests from 1, independently of the other side. A reply carries the number of its
 * request, so replies may arrive in any order. Notifications have the number 0. After 2^32 - 1 requests the link is used up and
 * the client opens another one.
 *
 * Replies. A request is carried out at most once. `Replies` remembers the latest 512 replies: a request that was answered
 * gets the same reply again, and one that is still running, or is older than the memory, is dropped. For that to be enough a
 * side sends at most 511 requests after its oldest unanswered one; `Requests` makes the others wait. Chunks, pings and LIST_REQ
 * are exempt: a repeated chunk is rejected because of its offset, and the others change nothing.
 *
 * Retransmission. A socket may lose and reorder frames (`reliable: false`). Then `Requests` sends an unanswered request again
 * after the time-out of RFC 6298, which `RoundTrip` estimates from the replies: same number, flag bit 0 set, time-out doubled.
 * On TCP and TLS nothing is lost, so chunks are never repeated and other requests only after 10 s, which detects a peer that
 * does not answer. Deliveries wait for a person or a program, so their sender decides when to repeat them. A try counts only if
 * not one byte arrived since it; after 8 such tries the link is dead. So a slow answer never ends a link.
 *
 * Keep-alive. `KeepAlive` makes each side send something in every interval, a ping if there is nothing else, and ends the link
 * after two intervals without a byte from the peer. It also ends a link whose peer takes nothing for two intervals, or begins a
 * frame and does not complete it. Time in which this side does not read, or its process is frozen, does not count.
 *
 * Priorities. `SendQueues` holds the frames that the socket has not taken. Replies, notifications and repetitions come first,
 * then requests, then chunks, so that a message does not wait behind the bytes of a file. At most two chunks are in the socket
 * at a time, because a frame cannot overtake a chunk that was handed over. The frames of one priority keep their order, and a
 * request that must wait for a reply holds up only its own priority. `onFlushed` tells the owner of a buffer that the bytes of
 * its frame have left and that no repetition needs them.
 *
 * Errors. What the protocol does not allow throws OspError `malformed` out of `receive`; the driver then sends GOODBYE_NTF and
 * closes. A fault of our own is never hidden as a fault of the peer.
 */
import { OspError } from '../errors.ts'
import { lengthOf } from '../wire/codec.ts'
import { type Frame, isContent, repetition } from '../wire/frame.ts'
import {
  ackNameOf,
  decode,
  type Encoded,
  type EventName,
  encode,
  isRequest,
  type NoticeName,
  nackNameOf,
  type RequestName,
  type WireMessage,
} from '../wire/message.ts'
import { apps, events, version } from '../wire/protocol.ts'
import { KeepAlive } from './keepAlive.ts'
import { Replies } from './replies.ts'
import { Requests, type Timing } from './requests.ts'
import { type QueuedFrame, type SendPriority, SendQueues } from './sendQueues.ts'

/** A request of the peer. Answer it exactly once with `Link.reply`. */
export interface Request<K extends RequestName = RequestName> {
  readonly message: WireMessage<K>
  readonly seq: number
  readonly instance: number
  /** The length of the payload, whose buffer the message may share. */
  readonly payloadBytes: number
  /** Lets the buffer of the payload be reused. Call it after the last use of the message, if it is there. */
  readonly release?: () => void
}

/** The contents of a frame of the peer; `undefined` if the link has handled it. */
export type Received<C> =
  | { readonly kind: 'request'; readonly request: Request }
  | {
      readonly kind: 'reply'
      readonly message: WireMessage
      readonly context: C
      readonly instance: number
      /** As that of a request. */
      readonly release?: () => void
    }
  | { readonly kind: 'notice'; readonly message: WireMessage<NoticeName> }
  /** The answer to a ping. */
  | { readonly kind: 'pong'; readonly listVersion: number | undefined }
  | undefined

export interface LinkOptions {
  readonly keepAliveMs: number
  /** Returns 0 <= fraction < 1, for the jitter of repetitions. */
  readonly fraction: () => number
  /** Which side this is. */
  readonly side: 'client' | 'server'
  /** On a server: the version of the online list up to which all changes have been sent. */
  readonly listVersion?: () => number
  /** The event that the peer must send first, if any. */
  readonly first?: EventName
}

/** The current contents of one link. Each of them is bounded. */
export interface LinkGauges {
  readonly unsentBytes: number
  readonly unsentReplies: number
  /** Requests of the other side that are not answered yet. */
  readonly runningRequests: number
  readonly rememberedReplies: number
}

/** The requests that do not use the timer of other requests (docs/protocol.md, "Messages"). */
const timings: { readonly [K in RequestName]?: Timing } = {
  PostFileReq: 'chunk',
  PutFileReq: 'bulk',
  PutFilesReq: 'bulk',
  ReadFileReq: 'bulk',
  DeliverMsgReq: 'own',
}

/** The rules of one link. The context `C` of a request comes back with its reply. `now` is monotonic, in ms. */
export class Link<C> {
  readonly keepAlive: KeepAlive
  readonly #replies = new Replies()
  readonly #options: LinkOptions
  readonly #reliable: boolean
  /** The requests of this side. Created for the first one, since a server sends no request to many of its clients. */
  #requests: Requests<C | 'ping'> | undefined
  readonly queues = new SendQueues()
  #seq = 0
  /** Whether the first frame of the peer has arrived. */
  #begun = false

  /** `reliable`: the socket neither loses nor reorders frames. */
  constructor(options: LinkOptions, reliable: boolean, now: number) {
    this.#options = options
    this.#reliable = reliable
    this.keepAlive = new KeepAlive(options.keepAliveMs, now)
  }

  get gauges(): LinkGauges {
    const { smallBytes: unsentBytes, replies: unsentReplies } = this.queues
    const { unanswered: runningRequests, remembered: rememberedReplies } = this.#replies
    return { unsentBytes, unsentReplies, runningRequests, rememberedReplies }
  }

  /** Queues a request. Returns its seq. `onFlushed` runs when its bytes may be overwritten, or never. */
  request(
    message: WireMessage<RequestName> | Encoded<RequestName>,
    instance: number,
    context: C | 'ping',
    priority: SendPriority = 'requests',
    onFlushed?: () => void,
  ): number {
    if (this.usedUp) throw new OspError('link-lost', 'the link has used up its sequence numbers')
    const frame = frameWith(message, ++this.#seq, instance)
    this.#requests ??= new Requests(this.#reliable, this.#options.fraction)
    this.queues.push(priority, this.#requests.add(frame, context, timings[message.event], onFlushed))
    return frame.seq
  }

  /** The contexts of the unanswered requests. */
  get unanswered(): readonly C[] {
    return (this.#requests?.contexts ?? []).filter((context): context is C => context !== 'ping')
  }

  /** Stops sending and repeating a request, and ignores its reply. Returns its context if it was unanswered. */
  abandon(seq: number): C | undefined {
    const context = this.#requests?.abandon(seq)
    return context === 'ping' ? undefined : context
  }

  /** Returns whether the request was handed to the socket and has not been answered yet. */
  isAwaitingReply(seq: number): boolean {
    return this.#requests?.isAwaitingReply(seq) ?? false
  }

  /** Queues a request again with its seq and the current `message`. Returns false if it is answered or not sent yet. */
  repeat(
    seq: number,
    message: WireMessage<RequestName> | Encoded<RequestName>,
    instance: number,
    onFlushed?: () => void,
  ): boolean {
    if (!this.isAwaitingReply(seq)) return false
    const frame = frameWith(message, seq, instance)
    this.queues.add('requests', { ...frame, flags: frame.flags | repetition }, onFlushed)
    return true
  }

  /** Queues the reply to a request. `onFlushed` runs when its bytes may be overwritten, or never. */
  reply(to: Request, message: WireMessage | Encoded, onFlushed?: () => void): void {
    const frame = frameWith(message, to.seq, to.instance)
    if (!idempotent(to.message.event)) this.#replies.remember(to.seq, frame)
    this.queues.add(isContent(frame.event) ? 'chunks' : 'replies', frame, onFlushed)
  }

  notify(message: WireMessage<NoticeName> | Encoded<NoticeName>): void {
    this.queues.add('replies', ('frame' in message && message.frame) || frameWith(message))
  }

  /** Returns the next frame for the socket, if any. Call `onFlushed` when its bytes have left. */
  next(now: number): QueuedFrame | undefined {
    const requests = this.#requests
    const decide = ({ event, seq }: Frame) => (requests && repliesByNumber.has(event) ? requests.decide(seq) : 'now')
    const next = this.queues.next(decide)
    if (!next) return undefined
    this.keepAlive.spoke(now)
    if (repliesByNumber.has(next.frame.event)) requests?.sent(next.frame.seq, now)
    return next
  }

  /** Handles a frame of the peer. Throws OspError `malformed` if the protocol does not allow it. */
  receive(frame: Frame, now: number): Received<C> {
    this.keepAlive.heard(now)
    const message = decode(frame)
    const { event } = message
    const { side, first = event } = this.#options
    if (!this.#begun && event !== first)
      throw new OspError('malformed', `the first frame must be ${first}, not ${event}`)
    this.#begun = true
    const row = events[event]
    if (row.from === side) throw new OspError('malformed', `only a ${row.from} sends ${event}`)
    if (frame.version !== version && !event.startsWith('Hello')) {
      throw new OspError('malformed', `a frame of version ${frame.version} after version ${version} was agreed on`)
    }
    if (row.kind === 'request') return this.#carryOut(frame, message as WireMessage<RequestName>)
    if (row.kind === 'notice') return { kind: 'notice', message: message as WireMessage<NoticeName> }
    return this.#settle(frame, message, now)
  }

  /** The earliest time at which `advance` has something to do. */
  get deadline(): number {
    return Math.min(this.keepAlive.deadline, this.#requests?.deadline ?? Number.POSITIVE_INFINITY)
  }

  /** Repeats the requests that are due and pings the peer if nothing was sent for an interval. Returns an error if the link is dead. */
  advance(now: number): OspError | undefined {
    const dead = this.keepAlive.dead(now)
    if (dead) return dead
    const due = this.#requests?.due(now, this.keepAlive.heardAt(now))
    if (due?.dead) return new OspError('timed-out', 'the peer did not answer repeated requests')
    for (const { frame, onFlushed } of due?.copies ?? []) {
      this.queues.add(isContent(frame.event) ? 'chunks' : 'replies', frame, onFlushed)
    }
    if (this.keepAlive.silent(now)) this.#speak(now)
    return undefined
  }

  /** Whether every sequence number is used. */
  get usedUp(): boolean {
    return this.#seq === 0xffff_ffff
  }

  /** Pings the peer, or repeats a request if a ping would have to wait for replies. */
  #speak(now: number): void {
    this.keepAlive.spoke(now)
    if (this.#options.first && !this.#begun) return // The ping could overtake the frame that must be first.
    const repetition = this.#requests?.instead()
    if (repetition) this.queues.add('replies', repetition.frame, repetition.onFlushed)
    else this.request({ event: 'PingReq' }, 0, 'ping')
  }

  #carryOut(frame: Frame, message: WireMessage<RequestName>): Received<C> {
    const { event } = message
    const { to } = events[event]
    if (frame.seq === 0) throw new OspError('malformed', `${event} has no sequence number`)
    if (to === 'instance' ? frame.instance === 0 : frame.instance !== 0) {
      throw new OspError('malformed', `${event} was sent to instance ${frame.instance}`)
    }
    const { seq, instance, payload, release } = frame
    const request = { message, seq, instance, payloadBytes: lengthOf(payload), ...(release && { release }) }
    if (event === 'PingReq') {
      this.reply(request, { event: 'PingAck', listVersion: this.#options.listVersion?.() })
      return undefined
    }
    const admitted = idempotent(event) ? 'carry out' : this.#replies.admit(frame.seq)
    if (admitted === 'carry out') return { kind: 'request', request }
    if (admitted !== 'drop') this.queues.add('replies', admitted)
    return undefined
  }

  #settle(frame: Frame, message: WireMessage, now: number): Received<C> {
    const settled = this.#requests?.settle(frame.seq, now)
    if (!settled) return undefined
    if (!repliesByNumber.get(settled.frame.event)?.includes(message.event)) {
      throw new OspError('malformed', `${message.event} does not answer this request`)
    }
    if (settled.context === 'ping') {
      return { kind: 'pong', listVersion: message.event === 'PingAck' ? message.listVersion : undefined }
    }
    const { instance, release } = frame
    return { kind: 'reply', message, context: settled.context as C, instance, ...(release && { release }) }
  }
}

/** Returns the frame of a message; without a seq that of a notification. */
export function frameWith(message: WireMessage | Encoded, seq = 0, instance = 0): Frame {
  const { number, app } = events[message.event]
  const payload = 'payload' in message ? message.payload : encode(message)
  return { flags: 0, version, event: number, seq, app: apps[app], instance, payload }
}

/** The requests that may be carried out twice: a chunk has an offset, and the others change nothing. */
const idempotentRequests: ReadonlySet<RequestName> = new Set<RequestName>([
  'PostFileReq',
  'PingReq',
  'ListReq',
  'ListFilesReq',
  'ListMsgReq',
  'ListDevicesReq',
  'StatFileReq',
  'ReadFileReq',
])

const idempotent = (event: RequestName) => idempotentRequests.has(event)

const repliesByNumber: ReadonlyMap<number, readonly (EventName | undefined)[]> = new Map(
  (Object.keys(events) as EventName[])
    .filter(isRequest)
    .map((name) => [events[name].number, [ackNameOf(name), nackNameOf(name)]]),
)
