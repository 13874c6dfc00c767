import type { GaugeSink, LinkGauges, LinkQueue } from '../core/gauges.ts'
import { Link, type Received, type Request } from '../core/link.ts'
import type { SendPriority } from '../core/sendQueues.ts'
import { OspError } from '../errors.ts'
import { fixed } from '../limits.ts'
import type { Socket } from '../ports/socket.ts'
import { lengthOf } from '../wire/codec.ts'
import { type Frame, headerBytes } from '../wire/frame.ts'
import type { AckOf, Encoded, Message, NackName, NoticeName, RequestName } from '../wire/message.ts'
import { events } from '../wire/protocol.ts'
import { Alarm } from './alarm.ts'
import { type Deferred, deferred } from './deferred.ts'
import type { Asked, LinkDriverEvents, LinkDriverOptions } from './linkDriverOptions.ts'
import { errorOf, goodbyeOf, nackOf } from './refusal.ts'

type Waiting = Pick<Deferred<Message>, 'resolve' | 'reject'>

/** A link's rules at work on a socket and a clock. */
export class LinkDriver {
  readonly socket: Socket
  readonly #platform: LinkDriverOptions['platform']
  readonly #link: Link<Waiting>
  readonly #events: LinkDriverEvents
  readonly #unsentBytes: number
  readonly #arrived: LinkDriverOptions['arrived']
  readonly #begunFrame: LinkDriverOptions['begun']
  readonly #waiting = new Set<Waiting>()
  #writable = true
  readonly #alarm: Alarm
  #ended: OspError | undefined
  #pumping = false

  /** The number of REQs that the other side has answered. */
  answered = 0

  constructor(options: LinkDriverOptions, events: LinkDriverEvents) {
    const { socket, platform } = options
    this.socket = socket
    this.#platform = platform
    this.#events = events
    this.#unsentBytes = options.unsentBytes
    this.#arrived = options.arrived
    this.#begunFrame = options.begun
    const fraction = () => platform.random.fraction('request jitter')
    this.#link = new Link({ ...options, reliable: socket.reliable, fraction }, platform.clock.now())
    this.#alarm = new Alarm(platform.clock, () => this.#guarded(() => this.#advance()))
    socket.start({
      frame: (frame) => this.#guarded(() => this.#receive(frame)),
      begun: (payloadBytes, heldBytes = 0) => this.#guarded(() => this.#begun(payloadBytes, heldBytes)),
      fault: (why) => void this.close(why),
      drained: () => this.#guarded(() => this.#drained()),
      closed: (why) => this.#end(why ?? new OspError('link-lost', 'the other side closed the link')),
    })
    this.#arm()
  }

  /** Why the link has ended, once it has. */
  get ended(): OspError | undefined {
    return this.#ended
  }

  set keepAliveMs(intervalMs: number) {
    this.#link.keepAlive.intervalMs = intervalMs
    this.#arm()
  }

  /** Sends a REQ. `left` runs once when its bytes may be overwritten, or never if the link ends first. */
  ask<K extends RequestName>(
    message: Message<K>,
    instance = 0,
    lane: SendPriority = 'requests',
    left?: () => void,
  ): Asked<K> {
    if (this.#link.usedUp) void this.close(new OspError('link-lost', 'the link has used up its sequence numbers'))
    const waiting = deferred<Message>()
    const asked = { seq: 0, reply: waiting.promise as Promise<Message<AckOf<K>>> }
    if (this.#ended) {
      waiting.reject(this.#ended)
      return asked
    }
    asked.seq = this.#link.request(message, instance, waiting, lane, left)
    this.#waiting.add(waiting)
    this.#pump()
    return asked
  }

  /**
   * Sends a REQ once more, under its seq, as `message` now says it. Returns false, and does nothing, where it is answered or
   * still waits for the socket.
   */
  repeat(seq: number, message: Message<RequestName>, instance = 0, left?: () => void): boolean {
    if (this.#ended) return false
    const repeated = this.#link.repeat(seq, message, instance, left)
    this.#pump()
    return repeated
  }

  /** Gives up a REQ that was asked: it is not repeated any more, and its reply is nobody's. */
  abandon(seq: number): void {
    const waiting = this.#link.abandon(seq)
    if (!waiting) return
    this.#waiting.delete(waiting)
    waiting.reject(new OspError('closed', 'the request was given up'))
  }

  reply(to: Request, message: Message | Encoded): void {
    if (this.#ended) return
    this.#link.reply(to, message)
    this.#pump()
  }

  /** Answers a REQ with its NACK, or ends the link where the protocol has none for it or the peer's bytes are at fault. */
  refuse(to: Request, why: OspError): void {
    const nack = nackOf(to.message.event, why)
    if (nack && why.code !== 'malformed') this.reply(to, nack)
    else this.close(why)
  }

  notify(message: Message<NoticeName> | Encoded<NoticeName>): void {
    if (this.#ended) return
    this.#link.notify(message)
    this.#pump()
  }

  /** Returns what its link holds, or `undefined` after the end of the link. */
  get gauges(): LinkGauges | undefined {
    if (this.#ended) return undefined
    const { unsentBytes, unsentReplies, replies } = this.#link
    return {
      unsentBytes,
      unsentReplies,
      runningRequests: replies.unanswered,
      rememberedReplies: replies.remembered,
    }
  }

  /** Tells what its link holds. */
  held(tell: GaugeSink<LinkQueue>): void {
    const { gauges } = this
    if (!gauges) return
    tell('bytes unsent on a link', gauges.unsentBytes)
    tell('replies unsent on a link', gauges.unsentReplies)
    tell('requests of a link that are carried out', gauges.runningRequests)
    tell('replies of a link that are remembered', gauges.rememberedReplies)
  }

  /** Reads nothing until `resume`. */
  pause(): void {
    if (this.#ended) return
    this.#link.keepAlive.paused(this.#now())
    this.socket.pause()
  }

  resume(): void {
    if (this.#ended) return
    this.#link.keepAlive.resumed(this.#now())
    this.socket.resume()
    this.#arm()
  }

  /** Says GOODBYE with `why` and ends the link. Resolves when the socket is gone. Idempotent. */
  close(why: OspError): Promise<void> {
    const last = this.#ended ? undefined : this.#link.last(goodbyeOf(why))
    this.#end(why)
    return this.socket.close(last)
  }

  /** Ends the link after what waits was sent, without GOODBYE. */
  closeQuietly(why: OspError): Promise<void> {
    this.#end(why)
    return this.socket.close()
  }

  /** Ends the link at once. Data that has not arrived is lost. */
  reset(why: OspError): void {
    this.#end(why)
    this.socket.destroy()
  }

  #begun(payloadBytes: number, heldBytes: number): void {
    this.#link.keepAlive.begun(payloadBytes, this.#now())
    this.#begunFrame?.(heldBytes)
  }

  #receive(frame: Frame): void {
    this.#arrived?.(headerBytes + lengthOf(frame.payload))
    const received: Received<Waiting> = this.#link.receive(frame, this.#now())
    if (received?.kind === 'request') this.#events.request(received.request)
    else if (received?.kind === 'reply') this.#settle(received.context, received.message)
    else if (received?.kind === 'notice') this.#notice(received.message)
    else if (received?.kind === 'pong') this.#events.pong?.(received.listVersion ?? 0)
    this.#pump()
  }

  #settle(waiting: Waiting, message: Message): void {
    this.answered++
    this.#waiting.delete(waiting)
    if (events[message.event].kind === 'nack') waiting.reject(errorOf(message as Message<NackName>))
    else waiting.resolve(message)
  }

  #notice(message: Message<NoticeName>): void {
    if (message.event === 'GoodbyeNtf') void this.closeQuietly(errorOf(message))
    else this.#events.notice(message)
  }

  #drained(): void {
    this.#writable = true
    this.#link.keepAlive.drained()
    this.#pump()
  }

  /** Hands frames to the socket for as long as it takes them. */
  #pump(): void {
    if (this.#pumping || this.#ended) return
    this.#pumping = true
    try {
      this.#hand()
    } finally {
      this.#pumping = false
    }
    if (!this.#writable) this.#link.keepAlive.full(this.#now())
    if (this.#link.unsentBytes > this.#unsentBytes || this.#link.unsentReplies > fixed.unsentReplies) {
      void this.close(new OspError('slow-consumer', 'the peer does not take what it is sent'))
    }
    this.#arm()
  }

  #hand(): void {
    while (this.#writable && !this.#ended) {
      const next = this.#link.next(this.#now())
      if (!next) return
      const { left } = next
      this.#writable = this.socket.send(next.frame, left && (() => this.#left(left)))
    }
  }

  #left(left: () => void): void {
    left()
    this.#link.keepAlive.took(this.#now())
    this.#pump()
  }

  #arm(): void {
    if (!this.#ended) this.#alarm.by(this.#link.deadline)
  }

  #advance(): void {
    const dead = this.#link.advance(this.#now())
    if (dead) void this.close(dead)
    else this.#pump()
  }

  /** Runs what may find a fault of the peer; such a fault ends the link. */
  #guarded(run: () => void): void {
    if (this.#ended) return
    try {
      run()
    } catch (error) {
      void this.close(OspError.from(error))
    }
  }

  #end(why: OspError): void {
    if (this.#ended) return
    this.#ended = why
    this.#alarm.stop()
    for (const waiting of this.#waiting) waiting.reject(why)
    this.#waiting.clear()
    this.#events.closed(why)
  }

  #now(): number {
    return this.#platform.clock.now()
  }
}
