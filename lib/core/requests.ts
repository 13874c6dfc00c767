import { fixed } from '../limits.ts'
import { type Frame, repetition } from '../wire/frame.ts'
import { RoundTrip } from './roundTrip.ts'

/** An unanswered REQ; `context` is whatever its sender wants back with the reply. */
interface Pending<C> {
  readonly frame: Frame
  readonly context: C
  readonly chunk: boolean
  /** Its place among the REQs that are no chunks. */
  readonly ordinal: number
  sentAt: number
  repeats: number
  /** Tries in whose time not one byte arrived. */
  tries: number
  /** Infinity: not sent yet, or never repeated by a timer. */
  repeatAt: number
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
  #ordinal = 0

  constructor(options: RequestsOptions) {
    this.#options = options
  }

  add(frame: Frame, context: C, chunk: boolean): void {
    const ordinal = chunk ? this.#ordinal : ++this.#ordinal
    const timers = { sentAt: 0, repeats: 0, tries: 0, repeatAt: Number.POSITIVE_INFINITY }
    this.#pending.set(frame.seq, { frame, context, chunk, ordinal, ...timers })
  }

  /** Whether a REQ may be sent now: chunks not counted, at most 511 follow the oldest unanswered one. */
  mayFollow(seq: number): boolean {
    const pending = this.#pending.get(seq)
    if (!pending || pending.chunk) return true
    for (const other of this.#pending.values()) {
      if (!other.chunk) return pending.ordinal - other.ordinal < fixed.replies
    }
    return true
  }

  /** A REQ was handed to the socket: its timer starts. */
  sent(seq: number, now: number): void {
    const pending = this.#pending.get(seq)
    if (!pending) return
    pending.sentAt = now
    pending.repeatAt = now + this.#timeoutMs(pending)
  }

  /** Takes a reply to `seq`: the context of its REQ, or `undefined` if none is unanswered. */
  settle(seq: number, now: number): { context: C; frame: Frame } | undefined {
    const pending = this.#pending.get(seq)
    if (!pending) return undefined
    this.#pending.delete(seq)
    if (pending.repeats === 0) this.#roundTrip.sample(now - pending.sentAt)
    return pending
  }

  /** When `due` has something to say at the earliest. */
  get deadline(): number {
    let deadline = Number.POSITIVE_INFINITY
    for (const { repeatAt } of this.#pending.values()) deadline = Math.min(deadline, repeatAt)
    return deadline
  }

  /**
   * The frames whose time is up, marked as repetitions. `dead` is set once a REQ was tried the fixed number of times
   * without a byte from the peer; `heardAt` is when the latest one arrived.
   */
  due(now: number, heardAt: number): { frames: readonly Frame[]; dead: boolean } {
    const frames: Frame[] = []
    let dead = false
    for (const pending of this.#pending.values()) {
      if (pending.repeatAt > now) continue
      if (heardAt <= pending.sentAt) pending.tries++
      dead ||= pending.tries >= fixed.tries
      pending.repeats++
      pending.repeatAt = Number.POSITIVE_INFINITY
      frames.push({ ...pending.frame, flags: pending.frame.flags | repetition })
    }
    return { frames, dead }
  }

  #timeoutMs({ repeats, chunk }: Pending<C>): number {
    const { reliable, fraction } = this.#options
    if (reliable && chunk) return Number.POSITIVE_INFINITY
    const base = reliable ? fixed.reliableTimeoutMs * 2 ** repeats : this.#roundTrip.timeoutMs(repeats)
    return Math.min(fixed.mostTimeoutMs, base * (1 + 0.25 * fraction()))
  }
}
