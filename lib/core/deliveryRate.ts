import { Queue } from './queue.ts'

/** A chunk in flight. */
interface SentChunk {
  readonly sentAtMs: number
  /** The bytes that were acknowledged before it was sent, and when the last of them were. */
  readonly acknowledged: number
  readonly acknowledgedAtMs: number
}

/** What the acknowledgement of a chunk shows about its link. */
export interface DeliverySample {
  readonly bytesPerSecond: number
  /** The time between sending the chunk and its acknowledgement. */
  readonly roundTripMs: number
}

/**
 * Measures the rate of acknowledgements over the round trip of each chunk, as in the delivery rate estimation of BBR
 * (draft-ietf-ccwg-bbr). The time counts from the acknowledgement before the chunk was sent, so that a stall is included in the
 * samples of the chunks that are acknowledged together after it. Idle time does not count.
 */
export class DeliveryRate {
  /** The chunks in flight. Replies in a different order only swap the times of neighbouring chunks. */
  readonly #sent = new Queue<SentChunk>()
  #acknowledged = 0
  #acknowledgedAtMs = 0
  /** The bytes that were sent and neither acknowledged nor dropped. */
  inFlight = 0

  /** The number of chunks in flight. */
  get chunks(): number {
    return this.#sent.length
  }

  sent(bytes: number, now: number): void {
    if (this.inFlight === 0) this.#acknowledgedAtMs = now
    this.#sent.push({ sentAtMs: now, acknowledged: this.#acknowledged, acknowledgedAtMs: this.#acknowledgedAtMs })
    this.inFlight += bytes
  }

  acknowledged(bytes: number, now: number): DeliverySample | undefined {
    const chunk = this.#sent.shift()
    if (!chunk) return undefined
    this.inFlight -= bytes
    this.#acknowledged += bytes
    this.#acknowledgedAtMs = now
    const seconds = Math.max(1, now - chunk.acknowledgedAtMs) / 1_000
    return {
      bytesPerSecond: (this.#acknowledged - chunk.acknowledged) / seconds,
      roundTripMs: now - chunk.sentAtMs,
    }
  }

  /** Records that a chunk of this length is no longer in flight, without a sample. */
  dropped(bytes: number): void {
    if (this.#sent.shift()) this.inFlight -= bytes
  }

  /** Returns the time since the latest acknowledgement while chunks are in flight. */
  waitedMs(now: number): number {
    return this.inFlight > 0 ? now - this.#acknowledgedAtMs : 0
  }
}
