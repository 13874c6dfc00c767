import { frameWith, Link, type LinkGauges, type LinkOptions, type Received, type Request } from '../core/link.ts'
import type { SendPriority } from '../core/sendQueues.ts'
import { OspError } from '../errors.ts'
import { fixed } from '../limits.ts'
import type { Platform } from '../ports/platform.ts'
import type { Socket, SocketEvents } from '../ports/socket.ts'
import { lengthOf } from '../wire/codec.ts'
import { type Frame, headerBytes } from '../wire/frame.ts'
import type { AckOf, Encoded, NackName, NoticeName, RequestName, WireMessage } from '../wire/message.ts'
import { events } from '../wire/protocol.ts'
import { Alarm } from './alarm.ts'
import { type Deferred, deferred } from './deferred.ts'
import { errorOf, goodbyeOf, nackOf } from './refusal.ts'

/** The events of a link. None occurs after `closed`. */
export interface LinkDriverEvents {
  /** A request, to be answered once with `reply` or `refuse`. */
  request(request: Request): void
  notice(message: WireMessage<NoticeName>): void
  /** The answer of a server to a ping: all changes of the presence list up to this version were sent before. */
  pong?(listVersion: number): void
  /** The link has ended, with the error of the peer or of the rules. Occurs exactly once, also after `close`. */
  closed(error: OspError): void
  /** A frame of `bytes` bytes has arrived. It is processed after this call. */
  arrived?(bytes: number, frame: Frame): void
  /** More of an incomplete frame has arrived. It takes `heldBytes` of memory. */
  begun?(heldBytes: number): void
}

/** The options of a link. The links of a server share them. */
export interface LinkDriverOptions extends LinkOptions {
  readonly platform: Pick<Platform, 'clock'>
  /** Maximum number of bytes of small frames that wait for a peer that does not read. */
  readonly unsentBytes: number
}

/** A request that was sent. */
export interface Asked<K extends RequestName> {
  readonly seq: number
  /** Resolves with the ACK. Rejects with the error of the NACK or of the end of the link; ignoring the rejection is safe. */
  readonly reply: Promise<WireMessage<AckOf<K>> & Releasable>
}

/** A message whose content can be in a buffer that is reused. */
export interface Releasable {
  /**
   * Allows the buffer to be reused. Call it, if it exists, after the last use of the content; otherwise the buffer is not reused.
   */
  readonly release?: () => void
}

type Waiting = Pick<Deferred<WireMessage>, 'resolve' | 'reject'>

/** Runs a link on a socket and a clock. It handles the events of the socket. */
export class LinkDriver implements SocketEvents {
  readonly socket: Socket
  readonly #options: LinkDriverOptions
  readonly #link: Link<Waiting>
  readonly #events: LinkDriverEvents
  #writable = true
  readonly #alarm: Alarm
  /** The error that ended the link, if it has ended. */
  ended: OspError | undefined
  #pumping = false

  /** The number of requests that the peer has answered. */
  answered = 0

  constructor(socket: Socket, options: LinkDriverOptions, events: LinkDriverEvents) {
    const { clock } = options.platform
    this.socket = socket
    this.#options = options
    this.#events = events
    this.#link = new Link(options, socket.reliable, clock.now())
    this.#alarm = new Alarm(clock, () => this.#guarded(() => this.#advance()))
    socket.start(this)
    this.#arm()
  }

  set keepAliveMs(intervalMs: number) {
    this.#link.keepAlive.intervalMs = intervalMs
    this.#arm()
  }

  /** Sends a request. `onFlushed` runs once when its bytes may be overwritten, or never if the link ends first. */
  ask<K extends RequestName>(
    message: WireMessage<K> | Encoded<K>,
    instance = 0,
    priority: SendPriority = 'requests',
    onFlushed?: () => void,
  ): Asked<K> {
    const waiting = deferred<WireMessage>()
    const seq = this.request(message, waiting, instance, priority, onFlushed)
    return { seq, reply: waiting.promise as Asked<K>['reply'] }
  }

  /** Like `ask`, without a promise: calls `waiting.resolve` or `waiting.reject`. Returns the seq. */
  request(
    message: WireMessage<RequestName> | Encoded<RequestName>,
    waiting: Waiting,
    instance = 0,
    priority: SendPriority = 'requests',
    onFlushed?: () => void,
  ): number {
    if (this.#link.usedUp) void this.close(new OspError('link-lost', 'the link has used up its sequence numbers'))
    if (this.ended) {
      waiting.reject(this.ended)
      return 0
    }
    const seq = this.#link.request(message, instance, waiting, priority, onFlushed)
    this.#pump()
    return seq
  }

  /** Sends a request again with the current `message`. Returns false if it is answered or still waits to be sent. */
  repeat(
    seq: number,
    message: WireMessage<RequestName> | Encoded<RequestName>,
    instance = 0,
    onFlushed?: () => void,
  ): boolean {
    if (this.ended) return false
    const repeated = this.#link.repeat(seq, message, instance, onFlushed)
    this.#pump()
    return repeated
  }

  /** Rejects a request with OspError `closed`, stops repeating it, and ignores its reply. */
  abandon(seq: number): void {
    const waiting = this.#link.abandon(seq)
    if (!waiting) return
    waiting.reject(new OspError('closed', 'the request was abandoned'))
  }

  /** Returns whether the request was handed to the socket and has not been answered yet. */
  isAwaitingReply(seq: number): boolean {
    return this.#link.isAwaitingReply(seq)
  }

  /** Answers a request. `onFlushed` is called when its bytes may be overwritten, or never. */
  reply(to: Request, message: WireMessage | Encoded, onFlushed?: () => void): void {
    if (this.ended) return
    this.#link.reply(to, message, onFlushed)
    this.#pump()
  }

  /** Answers a request with its NACK, or ends the link if the request has no NACK or the error is `malformed`. */
  refuse(to: Request, error: OspError): void {
    const nack = nackOf(to.message.event, error)
    if (nack && error.code !== 'malformed') this.reply(to, nack)
    else this.close(error)
  }

  notify(message: WireMessage<NoticeName> | Encoded<NoticeName>): void {
    if (this.ended) return
    const frame = 'frame' in message ? message.frame : undefined
    // While the socket takes frames, no reply or notification is queued that this frame could overtake.
    if (frame && this.#writable && !this.#pumping) {
      this.#handShared(frame)
      return
    }
    this.#link.notify(message)
    this.#pump()
  }

  /** The gauges of the link, or `undefined` after its end. */
  get gauges(): LinkGauges | undefined {
    return this.ended ? undefined : this.#link.gauges
  }

  /** Stops reading until `resume`. */
  pause(): void {
    if (this.ended) return
    this.#link.keepAlive.paused(this.#now())
    this.socket.pause()
  }

  resume(): void {
    if (this.ended) return
    this.#link.keepAlive.resumed(this.#now())
    this.socket.resume()
    this.#arm()
  }

  /** Sends GOODBYE with `error` and ends the link. Resolves when the socket is closed. Idempotent. */
  close(error: OspError): Promise<void> {
    const last = this.ended ? undefined : frameWith(goodbyeOf(error))
    this.#end(error)
    return this.socket.close(last)
  }

  /** Ends the link without GOODBYE after the waiting frames were sent. */
  closeQuietly(error: OspError): Promise<void> {
    this.#end(error)
    return this.socket.close()
  }

  /** Ends the link at once. Data that has not arrived is lost. */
  reset(error: OspError): void {
    this.#end(error)
    this.socket.destroy()
  }

  frame(frame: Frame): void {
    this.#guarded(() => this.#receive(frame))
  }

  begun(payloadBytes: number, heldBytes = 0): void {
    this.#guarded(() => {
      this.#link.keepAlive.begun(payloadBytes, this.#now())
      this.#events.begun?.(heldBytes)
    })
  }

  fault(error: OspError): void {
    void this.close(error)
  }

  drained(): void {
    this.#guarded(() => {
      this.#writable = true
      this.#link.keepAlive.drained()
      this.#pump()
    })
  }

  closed(error?: OspError): void {
    this.#end(error ?? new OspError('link-lost', 'the other side closed the link'))
  }

  #receive(frame: Frame): void {
    this.#events.arrived?.(headerBytes + lengthOf(frame.payload), frame)
    const received: Received<Waiting> = this.#link.receive(frame, this.#now())
    if (received?.kind === 'request') this.#events.request(received.request)
    else if (received?.kind === 'reply') this.#settle(received)
    else if (received?.kind === 'notice') this.#notice(received.message)
    else if (received?.kind === 'pong') this.#events.pong?.(received.listVersion ?? 0)
    this.#pump()
  }

  #settle({ context: waiting, message, release }: Received<Waiting> & { readonly kind: 'reply' }): void {
    this.answered++
    if (events[message.event].kind === 'nack') waiting.reject(errorOf(message as WireMessage<NackName>))
    else waiting.resolve(release ? Object.assign(message, { release }) : message)
  }

  #notice(message: WireMessage<NoticeName>): void {
    if (message.event === 'GoodbyeNtf') void this.closeQuietly(errorOf(message))
    else this.#events.notice(message)
  }

  /** Hands frames to the socket while it takes them. */
  #pump(): void {
    if (this.#pumping || this.ended || this.#link.queues.isEmpty) return
    this.#pumping = true
    try {
      this.#hand()
    } finally {
      this.#pumping = false
    }
    if (!this.#writable) this.#link.keepAlive.full(this.#now())
    const { smallBytes, replies } = this.#link.queues
    if (smallBytes > this.#options.unsentBytes || replies > fixed.unsentReplies) {
      void this.close(new OspError('slow-consumer', 'the peer does not read fast enough'))
    }
    this.#arm()
  }

  /**
   * Hands the frame of a notification for many links to the socket. To take as little time as possible for each link, the frame
   * is not queued and does not defer the next ping.
   */
  #handShared(frame: Frame): void {
    this.#writable = this.socket.send(frame)
    if (this.#writable) return
    this.#link.keepAlive.full(this.#now())
    this.#arm()
  }

  #hand(): void {
    while (this.#writable && !this.ended) {
      const next = this.#link.next(this.#now())
      if (!next) return
      const { onFlushed } = next
      this.#writable = this.socket.send(next.frame, onFlushed && (() => this.#flushed(onFlushed)))
    }
  }

  #flushed(onFlushed: () => void): void {
    onFlushed()
    this.#link.keepAlive.took(this.#now())
    this.#pump()
  }

  #arm(): void {
    if (!this.ended) this.#alarm.by(this.#link.deadline)
  }

  #advance(): void {
    const dead = this.#link.advance(this.#now())
    if (dead) void this.close(dead)
    else this.#pump()
    this.#arm()
  }

  /** Runs code that throws on a fault of the peer, which ends the link. */
  #guarded(run: () => void): void {
    if (this.ended) return
    try {
      run()
    } catch (error) {
      void this.close(OspError.from(error))
    }
  }

  #end(error: OspError): void {
    if (this.ended) return
    this.ended = error
    this.#alarm.stop()
    for (const waiting of this.#link.unanswered) waiting.reject(error)
    this.#events.closed(error)
  }

  #now(): number {
    return this.#options.platform.clock.now()
  }
}
