import { fixed } from '../limits.ts'
import { type Frame, repetition } from '../wire/frame.ts'
import { RoundTrip } from './roundTrip.ts'
import type { QueuedFrame, SendDecision } from './sendQueues.ts'

/**
 * How a request is repeated:
 * - `timer`: after a time-out.
 * - `bulk`: after a time-out, but never on a reliable socket.
 * - `chunk`: as `bulk`. It does not count among the 511 requests.
 * - `own`: by its sender only. Its bytes are not kept, and its reply may take any time.
 */
export type Timing = 'timer' | 'bulk' | 'chunk' | 'own'

type Pending<C> = ReturnType<typeof pendingOf<C>>

/** Returns an unanswered request. Its sender gets `context` back with the reply. */
function pendingOf<C>(frame: Frame, context: C, timing: Timing, ordinal: number, onFlushed?: () => void) {
  return {
    frame,
    context,
    timing,
    /** Its number among the requests other than chunks. */
    ordinal,
    /** Runs once when its bytes may be overwritten. */
    onFlushed,
    /** Copies that have not left the memory of this process. */
    copies: 0,
    /** It was answered or abandoned. */
    settled: false,
    freed: false,
    /** When it was last handed to the socket. */
    sentAt: undefined as number | undefined,
    repeats: 0,
    /** Tries after which no byte arrived. */
    tries: 0,
    /** Infinity if it is not sent yet, or never repeated by a timer. */
    repeatAt: Number.POSITIVE_INFINITY,
  }
}

/** The unanswered requests of this side, and the timers that repeat them (docs/protocol.md, "Delivery"). */
export class Requests<C> {
  readonly #reliable: boolean
  readonly #fraction: () => number
  readonly #pending = new Map<number, Pending<C>>()
  readonly #roundTrip = new RoundTrip()
  /** The requests other than chunks, by ordinal. */
  readonly #ordered = new Map<number, Pending<C>>()
  #ordinal = 0
  /** Every lower ordinal is answered. */
  #oldest = 1
  /** The earliest time at which `due` may return something. */
  deadline = Number.POSITIVE_INFINITY

  /** `reliable`: the socket neither loses nor reorders frames. `fraction` returns 0 <= fraction < 1, for jitter. */
  constructor(reliable: boolean, fraction: () => number) {
    this.#reliable = reliable
    this.#fraction = fraction
  }

  /** The contexts of all requests. */
  get contexts(): readonly C[] {
    return Array.from(this.#pending.values(), ({ context }) => context)
  }

  /** Adds a request. Returns the frame to send. `onFlushed` runs once when no copy of the frame is needed or queued. */
  add(frame: Frame, context: C, timing: Timing = 'timer', onFlushed?: () => void): QueuedFrame {
    const ordinal = timing === 'chunk' ? this.#ordinal : ++this.#ordinal
    // The bytes of a request that only its sender repeats are not kept.
    const kept = timing === 'own' ? { ...frame, payload: [] } : frame
    const pending = pendingOf(kept, context, timing, ordinal, onFlushed)
    this.#pending.set(frame.seq, pending)
    if (timing !== 'chunk') this.#ordered.set(ordinal, pending)
    return this.#copy(pending, frame)
  }

  /** Returns whether a request may be sent: at most 511, chunks excluded, follow the oldest unanswered one. */
  decide(seq: number): SendDecision {
    const pending = this.#pending.get(seq)
    if (!pending) return 'never'
    return pending.timing === 'chunk' || this.#follows(pending.ordinal) ? 'now' : 'later'
  }

  /** Returns whether the request was handed to the socket and has not been answered yet. */
  isAwaitingReply(seq: number): boolean {
    return this.#pending.get(seq)?.sentAt !== undefined
  }

  /** Starts the timer of a request that was handed to the socket. */
  sent(seq: number, now: number): void {
    const pending = this.#pending.get(seq)
    if (!pending) return
    pending.sentAt = now
    pending.repeatAt = now + this.#timeoutMs(pending)
    this.deadline = Math.min(this.deadline, pending.repeatAt)
  }

  /** Removes the request that a reply answers. Returns it, or `undefined` if no sent request has this seq. */
  settle(seq: number, now: number): { context: C; frame: Frame } | undefined {
    const pending = this.#pending.get(seq)
    if (pending?.sentAt === undefined) return undefined
    this.#forget(pending)
    if (pending.repeats === 0 && pending.timing !== 'own') this.#roundTrip.sample(now - pending.sentAt)
    return pending
  }

  /** Stops sending and repeating a request. Returns its context if it was unanswered. */
  abandon(seq: number): C | undefined {
    const pending = this.#pending.get(seq)
    if (!pending) return undefined
    this.#forget(pending)
    return pending.context
  }

  /** Returns the frames to repeat. `dead`: one was tried `fixed.tries` times since the latest byte, at `heardAt`. */
  due(now: number, heardAt: number): { copies: readonly QueuedFrame[]; dead: boolean } {
    const copies: QueuedFrame[] = []
    let dead = false
    if (now < this.deadline) return { copies, dead }
    this.deadline = Number.POSITIVE_INFINITY
    for (const pending of this.#pending.values()) {
      if (pending.repeatAt > now) {
        this.deadline = Math.min(this.deadline, pending.repeatAt)
        continue
      }
      if (pending.sentAt !== undefined && heardAt <= pending.sentAt) pending.tries++
      dead ||= pending.tries >= fixed.tries
      copies.push(this.#repetition(pending))
    }
    return { copies, dead }
  }

  /** Returns a repetition of the oldest unanswered request if no new request may be sent now. */
  instead(): QueuedFrame | undefined {
    if (this.#follows(this.#ordinal + 1)) return undefined
    const oldest = this.#ordered.get(this.#oldest)
    return oldest && oldest.repeatAt !== Number.POSITIVE_INFINITY ? this.#repetition(oldest) : undefined
  }

  #forget(pending: Pending<C>): void {
    const { frame, timing, ordinal } = pending
    this.#pending.delete(frame.seq)
    if (timing !== 'chunk') this.#ordered.delete(ordinal)
    if (this.#pending.size === 0) this.deadline = Number.POSITIVE_INFINITY
    pending.settled = true
    this.#free(pending)
  }

  #copy(pending: Pending<C>, frame: Frame): QueuedFrame {
    if (!pending.onFlushed) return { frame, onFlushed: undefined }
    pending.copies++
    const onFlushed = () => {
      pending.copies--
      this.#free(pending)
    }
    return { frame, onFlushed }
  }

  /** On an unreliable socket the bytes are free only after the reply, since the request may have to be sent again. */
  #free(pending: Pending<C>): void {
    if (pending.freed || pending.copies > 0) return
    if (!pending.settled && !this.#reliable && pending.timing !== 'own') return
    pending.freed = true
    pending.onFlushed?.()
  }

  #follows(ordinal: number): boolean {
    while (this.#oldest <= this.#ordinal && !this.#ordered.has(this.#oldest)) this.#oldest++
    return ordinal - this.#oldest < fixed.replies
  }

  #repetition(pending: Pending<C>): QueuedFrame {
    pending.repeats++
    pending.repeatAt = Number.POSITIVE_INFINITY
    this.#roundTrip.repeated(pending.repeats)
    return this.#copy(pending, { ...pending.frame, flags: pending.frame.flags | repetition })
  }

  #timeoutMs({ repeats, timing }: Pending<C>): number {
    const reliable = this.#reliable
    const fraction = this.#fraction
    if (timing === 'own' || (reliable && timing !== 'timer')) return Number.POSITIVE_INFINITY
    const base = reliable ? fixed.reliableTimeoutMs * 2 ** repeats : this.#roundTrip.timeoutMs(repeats)
    return Math.min(fixed.mostTimeoutMs, base * (1 + 0.25 * fraction()))
  }
}
