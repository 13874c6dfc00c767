import { OspError } from '../errors.ts'
import { lengthOf } from '../wire/codec.ts'
import { type Frame, repetition } from '../wire/frame.ts'
import {
  decode,
  type Encoded,
  type EventName,
  encode,
  type Message,
  type NoticeName,
  type RequestName,
} from '../wire/message.ts'
import { apps, events, version } from '../wire/protocol.ts'
import { KeepAlive } from './keepAlive.ts'
import { Replies } from './replies.ts'
import { Requests, type Timing } from './requests.ts'
import { type SendPriority, SendQueues } from './sendQueues.ts'

/** A REQ of the peer, to be answered exactly once with `Link.reply`. */
export interface Request<K extends RequestName = RequestName> {
  readonly message: Message<K>
  readonly seq: number
  readonly instance: number
  /** Of the payload, which the message may alias. */
  readonly payloadBytes: number
}

/** What a frame of the peer was; `undefined` where the link has dealt with it by itself. */
export type Received<C> =
  | { readonly kind: 'request'; readonly request: Request }
  | { readonly kind: 'reply'; readonly message: Message; readonly context: C; readonly instance: number }
  | { readonly kind: 'notice'; readonly message: Message<NoticeName> }
  /** The answer to a ping. */
  | { readonly kind: 'pong'; readonly listVersion: number | undefined }
  | undefined

export interface LinkOptions {
  /** The socket loses and reorders nothing. */
  readonly reliable: boolean
  readonly keepAliveMs: number
  /** Which side this is. */
  readonly side: 'client' | 'server'
  /** 0 <= fraction < 1, for jitter. */
  readonly fraction: () => number
  /** A server's version of the online list up to which all changes have been sent. */
  readonly listVersion?: () => number
  /** What the peer's first frame must be, if it matters. */
  readonly first?: EventName
}

/** After it a link is renewed. */
const lastSeq = 0xffff_ffff

const chunkEvent = events.PostFileReq.number

/** How REQs are repeated where no timer does it (docs/protocol.md, "Messages"). */
const timings: { readonly [K in RequestName]?: Timing } = { PostFileReq: 'chunk', DeliverMsgReq: 'own' }

/**
 * The rules of one link: REQs and their repetition, remembered replies, keep-alive, the sending lanes. `C` is what the
 * owner wants back with a reply. Every method that takes `now` wants milliseconds of one monotonic clock. A fault of the
 * peer is thrown as OspError: the owner then says GOODBYE and closes.
 */
export class Link<C> {
  readonly keepAlive: KeepAlive
  readonly replies = new Replies()
  readonly #options: LinkOptions
  readonly #requests: Requests<C | 'ping'>
  readonly #lanes = new SendQueues()
  #seq = 0
  /** The peer's first frame has come. */
  #begun = false

  constructor(options: LinkOptions, now: number) {
    this.#options = options
    this.#requests = new Requests(options)
    this.keepAlive = new KeepAlive(options.keepAliveMs, now)
  }

  /** Bytes of small frames that wait for the socket. */
  get unsentBytes(): number {
    return this.#lanes.smallBytes
  }

  /** Replies and notifications that wait for the socket. */
  get unsentReplies(): number {
    return this.#lanes.replies
  }

  /** Queues a REQ; returns its seq. `left` runs when its bytes have left, or never. */
  request(
    message: Message<RequestName>,
    instance: number,
    context: C,
    lane: SendPriority = 'requests',
    left?: () => void,
  ): number {
    return this.#ask(message, instance, context, lane, left)
  }

  /** Gives up a REQ: it is not sent or repeated any more, and its reply is nobody's. Returns its context, if it was unanswered. */
  abandon(seq: number): C | undefined {
    const context = this.#requests.abandon(seq)
    return context === 'ping' ? undefined : context
  }

  /** Queues a REQ once more, under its seq, as `message` now says it. False: it is answered, or has not left yet. */
  repeat(seq: number, message: Message<RequestName>, instance: number, left?: () => void): boolean {
    if (!this.#requests.underWay(seq)) return false
    const frame = this.#frame(message, seq, instance)
    this.#lanes.add('requests', { ...frame, flags: frame.flags | repetition }, left)
    return true
  }

  /** Queues the one reply of a REQ. */
  reply(to: Request, message: Message | Encoded): void {
    const frame = this.#frame(message, to.seq, to.instance)
    if (!idempotent(to.message.event)) this.replies.remember(to.seq, frame)
    this.#lanes.add('replies', frame)
  }

  notify(message: Message<NoticeName> | Encoded<NoticeName>): void {
    this.#lanes.add('replies', this.#frame(message, 0, 0))
  }

  /** A frame for `Socket.close`, past all that waits. */
  last(message: Message<NoticeName>): Frame {
    return this.#frame(message, 0, 0)
  }

  /** The next frame for the socket, if any, with what to run when its bytes have left. */
  next(now: number): { frame: Frame; left: (() => void) | undefined } | undefined {
    const next = this.#lanes.next(({ event, seq }) => (asked.has(event) ? this.#requests.turn(seq) : 'now'))
    if (!next) return undefined
    this.keepAlive.spoke(now)
    if (asked.has(next.frame.event)) this.#requests.sent(next.frame.seq, now)
    return next
  }

  /** Takes a frame of the peer. Throws OspError `malformed` for what the protocol does not allow. */
  receive(frame: Frame, now: number): Received<C> {
    this.keepAlive.heard(now)
    const message = decode(frame)
    const { event } = message
    this.#checkFirst(event)
    const row = events[event]
    if (row.from === this.#options.side) throw new OspError('malformed', `only a ${row.from} sends ${event}`)
    if (frame.version !== version && !event.startsWith('Hello')) {
      throw new OspError('malformed', `a frame of version ${frame.version} after version ${version} was agreed on`)
    }
    if (row.kind === 'request') return this.#carryOut(frame, message as Message<RequestName>)
    if (row.kind === 'notice') return { kind: 'notice', message: message as Message<NoticeName> }
    return this.#settle(frame, message, now)
  }

  /** When `advance` has something to do at the earliest. */
  get deadline(): number {
    return Math.min(this.keepAlive.deadline, this.#requests.deadline)
  }

  /** Repeats what is due and pings a silent peer. Returns why the link is dead, if it is. */
  advance(now: number): OspError | undefined {
    const dead = this.keepAlive.dead(now)
    if (dead) return dead
    const due = this.#requests.due(now, this.keepAlive.heardAt(now))
    if (due.dead) return new OspError('timed-out', 'the peer has not answered however often it was asked')
    for (const { frame, left } of due.copies) {
      this.#lanes.add(frame.event === chunkEvent ? 'chunks' : 'replies', frame, left)
    }
    if (this.keepAlive.silent(now)) this.#speak(now)
    return undefined
  }

  /** Whether no further REQ can be asked, since every number was given. */
  get usedUp(): boolean {
    return this.#seq === lastSeq
  }

  /** Pings the peer, or repeats a REQ where so many are unanswered that a ping would have to wait. */
  #speak(now: number): void {
    this.keepAlive.spoke(now)
    if (this.#options.first && !this.#begun) return // The answer could overtake what must be first.
    const repetition = this.#requests.instead()
    if (repetition) this.#lanes.add('replies', repetition.frame, repetition.left)
    else this.#ask({ event: 'PingReq' }, 0, 'ping', 'requests')
  }

  #checkFirst(event: EventName): void {
    const { first = event } = this.#options
    if (!this.#begun && event !== first) throw new OspError('malformed', `${event} came where ${first} must be first`)
    this.#begun = true
  }

  #ask(
    message: Message<RequestName>,
    instance: number,
    context: C | 'ping',
    lane: SendPriority,
    left?: () => void,
  ): number {
    if (this.usedUp) throw new OspError('link-lost', 'the link has used up its sequence numbers')
    const frame = this.#frame(message, ++this.#seq, instance)
    const copy = this.#requests.add(frame, context, timings[message.event], left)
    this.#lanes.add(lane, copy.frame, copy.left)
    return frame.seq
  }

  #carryOut(frame: Frame, message: Message<RequestName>): Received<C> {
    const { event } = message
    const { to } = events[event]
    if (frame.seq === 0) throw new OspError('malformed', `${event} has no sequence number`)
    if (to === 'instance' ? frame.instance === 0 : frame.instance !== 0) {
      throw new OspError('malformed', `${event} was sent to instance ${frame.instance}`)
    }
    const request = { message, seq: frame.seq, instance: frame.instance, payloadBytes: lengthOf(frame.payload) }
    if (event === 'PingReq') {
      this.reply(request, { event: 'PingAck', listVersion: this.#options.listVersion?.() })
      return undefined
    }
    if (idempotent(event)) return { kind: 'request', request }
    const admitted = this.replies.admit(frame.seq)
    if (admitted === 'drop') return undefined
    if (admitted !== 'carry out') {
      this.#lanes.add('replies', admitted)
      return undefined
    }
    return { kind: 'request', request }
  }

  #settle(frame: Frame, message: Message, now: number): Received<C> {
    const settled = this.#requests.settle(frame.seq, now)
    if (!settled) return undefined
    const request = asked.get(settled.frame.event)
    if (message.event !== request?.ack && message.event !== request?.nack) {
      throw new OspError('malformed', `${message.event} is no reply to what was asked`)
    }
    if (settled.context === 'ping') {
      return { kind: 'pong', listVersion: message.event === 'PingAck' ? message.listVersion : undefined }
    }
    return { kind: 'reply', message, context: settled.context as C, instance: frame.instance }
  }

  #frame(message: Message | Encoded, seq: number, instance: number): Frame {
    const { number, app } = events[message.event]
    const payload = 'payload' in message ? message.payload : encode(message)
    return { flags: 0, version, event: number, seq, app: apps[app], instance, payload }
  }
}

/** What may be carried out twice needs no memory of its replies: chunks by their offset, questions by nature. */
const idempotent = (event: RequestName) => event === 'PostFileReq' || event === 'PingReq' || event === 'ListReq'

/** The requests by their number, with the names of their replies. */
const asked: ReadonlyMap<number, { readonly ack: EventName; readonly nack: EventName | undefined }> = new Map(
  Object.values(events).flatMap((row) => (row.kind === 'request' ? [[row.number, row] as const] : [])),
)
