import { fixed } from '../limits.ts'
import { type Frame, repetition } from '../wire/frame.ts'
import { RoundTrip } from './roundTrip.ts'
import type { SendDecision } from './sendQueues.ts'

/**
 * How a REQ is repeated: by its timer; as a `chunk`, which no timer repeats where nothing is lost, and which is not counted
 * among the 511; or by its `own` sender alone, so that its bytes are not kept and its answer may take as long as it likes.
 */
export type Timing = 'timer' | 'chunk' | 'own'

/** An unanswered REQ; `context` is whatever its sender wants back with the reply. */
interface Pending<C> {
  readonly frame: Frame
  readonly context: C
  readonly timing: Timing
  /** Runs once when its bytes may be overwritten. */
  readonly left: (() => void) | undefined
  /** Copies of it that have not left this process' memory. */
  copies: number
  /** It was answered or given up. */
  settled: boolean
  freed: boolean
  /** Its place among the REQs that are no chunks. */
  readonly ordinal: number
  /** When it was handed to the socket the latest time. */
  sentAt: number | undefined
  repeats: number
  /** Tries in whose time not one byte arrived. */
  tries: number
  /** Infinity: not sent yet, or never repeated by a timer. */
  repeatAt: number
}

/** A frame for the lanes, with what to run when its bytes have left. */
export interface Copy {
  readonly frame: Frame
  readonly left: (() => void) | undefined
}

export interface RequestsOptions {
  /** The socket loses and reorders nothing. */
  readonly reliable: boolean
  /** 0 <= fraction < 1, for jitter. */
  readonly fraction: () => number
}

/** A link's own unanswered REQs, and the timers that repeat them (docs/protocol.md, "Delivery", 2). */
export class Requests<C> {
  readonly #options: RequestsOptions
  readonly #pending = new Map<number, Pending<C>>()
  readonly #roundTrip = new RoundTrip({
    firstMs: fixed.firstTimeoutMs,
    leastMs: fixed.leastTimeoutMs,
    mostMs: fixed.mostTimeoutMs,
  })
  /** Those that are no chunks, by their ordinal. */
  readonly #ordered = new Map<number, Pending<C>>()
  #ordinal = 0
  /** No ordinal below it is unanswered. */
  #oldest = 1
  #deadline = Number.POSITIVE_INFINITY

  constructor(options: RequestsOptions) {
    this.#options = options
  }

  /** Returns the frame to send; `left` runs once when no copy of it is needed, or under way, any more. */
  add(frame: Frame, context: C, timing: Timing = 'timer', left?: () => void): Copy {
    const ordinal = timing === 'chunk' ? this.#ordinal : ++this.#ordinal
    const timers = { sentAt: undefined, repeats: 0, tries: 0, repeatAt: Number.POSITIVE_INFINITY }
    const kept = timing === 'own' ? { ...frame, payload: [] } : frame
    const pending = { frame: kept, context, timing, left, copies: 0, settled: false, freed: false, ordinal, ...timers }
    this.#pending.set(frame.seq, pending)
    if (timing !== 'chunk') this.#ordered.set(ordinal, pending)
    return this.#copy(pending, frame)
  }

  /** When a REQ may be sent: chunks not counted, at most 511 follow the oldest unanswered one. */
  turn(seq: number): SendDecision {
    const pending = this.#pending.get(seq)
    if (!pending) return 'never'
    return pending.timing === 'chunk' || this.#follows(pending.ordinal) ? 'now' : 'later'
  }

  /** Whether a REQ was handed to the socket and is unanswered. */
  underWay(seq: number): boolean {
    return this.#pending.get(seq)?.sentAt !== undefined
  }

  /** A REQ was handed to the socket: its timer starts. */
  sent(seq: number, now: number): void {
    const pending = this.#pending.get(seq)
    if (!pending) return
    pending.sentAt = now
    pending.repeatAt = now + this.#timeoutMs(pending)
    this.#deadline = Math.min(this.#deadline, pending.repeatAt)
  }

  /** Takes a reply to `seq`: the context of its REQ, or `undefined` if none is unanswered. */
  settle(seq: number, now: number): { context: C; frame: Frame } | undefined {
    const pending = this.#pending.get(seq)
    if (pending?.sentAt === undefined) return undefined
    this.#forget(pending)
    if (pending.repeats === 0 && pending.timing !== 'own') this.#roundTrip.sample(now - pending.sentAt)
    return pending
  }

  /** Forgets an unanswered REQ: it is not sent or repeated any more. Returns its context, if it was unanswered. */
  abandon(seq: number): C | undefined {
    const pending = this.#pending.get(seq)
    if (!pending) return undefined
    this.#forget(pending)
    return pending.context
  }

  /** When `due` may have something to say at the earliest; it may turn out to be nothing. */
  get deadline(): number {
    return this.#deadline
  }

  /**
   * The frames whose time is up, marked as repetitions. `dead` is set once a REQ was tried the fixed number of times
   * without a byte from the peer; `heardAt` is when the latest one arrived.
   */
  due(now: number, heardAt: number): { copies: readonly Copy[]; dead: boolean } {
    const copies: Copy[] = []
    let dead = false
    if (now < this.#deadline) return { copies, dead }
    this.#deadline = Number.POSITIVE_INFINITY
    for (const pending of this.#pending.values()) {
      if (pending.repeatAt > now) {
        this.#deadline = Math.min(this.#deadline, pending.repeatAt)
        continue
      }
      if (pending.sentAt !== undefined && heardAt <= pending.sentAt) pending.tries++
      dead ||= pending.tries >= fixed.tries
      copies.push(this.#repetition(pending))
    }
    return { copies, dead }
  }

  /** Where no further REQ may be sent for now, the oldest unanswered one, to be repeated if something has to be said. */
  instead(): Copy | undefined {
    if (this.#follows(this.#ordinal + 1)) return undefined
    const oldest = this.#ordered.get(this.#oldest)
    return oldest && oldest.repeatAt !== Number.POSITIVE_INFINITY ? this.#repetition(oldest) : undefined
  }

  #forget(pending: Pending<C>): void {
    const { frame, timing, ordinal } = pending
    this.#pending.delete(frame.seq)
    if (timing !== 'chunk') this.#ordered.delete(ordinal)
    if (this.#pending.size === 0) this.#deadline = Number.POSITIVE_INFINITY
    pending.settled = true
    this.#free(pending)
  }

  #copy(pending: Pending<C>, frame: Frame): Copy {
    if (!pending.left) return { frame, left: undefined }
    pending.copies++
    const left = () => {
      pending.copies--
      this.#free(pending)
    }
    return { frame, left }
  }

  /** Where frames are lost a REQ may have to be sent again, so its bytes are free only once it is answered as well. */
  #free(pending: Pending<C>): void {
    if (pending.freed || pending.copies > 0) return
    if (!pending.settled && !this.#options.reliable && pending.timing !== 'own') return
    pending.freed = true
    pending.left?.()
  }

  #follows(ordinal: number): boolean {
    while (this.#oldest <= this.#ordinal && !this.#ordered.has(this.#oldest)) this.#oldest++
    return ordinal - this.#oldest < fixed.replies
  }

  #repetition(pending: Pending<C>): Copy {
    pending.repeats++
    pending.repeatAt = Number.POSITIVE_INFINITY
    this.#roundTrip.repeated(pending.repeats)
    return this.#copy(pending, { ...pending.frame, flags: pending.frame.flags | repetition })
  }

  #timeoutMs({ repeats, timing }: Pending<C>): number {
    const { reliable, fraction } = this.#options
    if (timing === 'own' || (reliable && timing === 'chunk')) return Number.POSITIVE_INFINITY
    const base = reliable ? fixed.reliableTimeoutMs * 2 ** repeats : this.#roundTrip.timeoutMs(repeats)
    return Math.min(fixed.mostTimeoutMs, base * (1 + 0.25 * fraction()))
  }
}
