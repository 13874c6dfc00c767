import { clientLimits } from '../limits.ts'

/**
 * How long chunks are, and when the next one may go (docs/protocol.md, "Delivery", 5): no longer than about one second of
 * the link, as it was measured, and within the rate that the user has set.
 */
export class Pace {
  /** The user's bound in bytes a second, for everything that passes here; Infinity: none. */
  readonly #limitRate: number
  /** When the bytes let through so far are within the bound. */
  #clearAt = Number.NEGATIVE_INFINITY
  #measured: number | undefined
  #inFlight = 0
  /** Bytes that were acknowledged since the latest sample … */
  #sampleBytes = 0
  /** … and the time in which something was in flight: what came before `#busySince` stands in `#sampleMs`. */
  #sampleMs = 0
  #busySince = 0

  constructor(limitRate: number = Number.POSITIVE_INFINITY) {
    this.#limitRate = limitRate
  }

  /** The length of the next chunk, where the server grants `granted`. */
  chunkBytes(granted: number): number {
    const { bufferBytes, chunkMs, firstChunkBytes, leastChunkBytes, limitedChunkSeconds } = clientLimits
    const measured = this.#measured === undefined ? firstChunkBytes : (this.#measured * chunkMs) / 1_000
    const wanted = Math.min(measured, this.#limitRate * limitedChunkSeconds)
    return Math.min(granted, bufferBytes, Math.max(leastChunkBytes, Math.floor(wanted)))
  }

  /** Lets `bytes` through; returns in how many milliseconds they may go. */
  delayMs(bytes: number, now: number): number {
    if (this.#limitRate === Number.POSITIVE_INFINITY) return 0
    const delay = Math.max(0, this.#clearAt - now)
    this.#clearAt = now + delay + (bytes / this.#limitRate) * 1_000
    return delay
  }

  sent(bytes: number, now: number): void {
    if (this.#inFlight === 0) this.#busySince = now
    this.#inFlight += bytes
  }

  acknowledged(bytes: number, now: number): void {
    this.#sampleBytes += bytes
    this.#landed(bytes, now)
    if (this.#sampleMs < clientLimits.sampleMs && this.#sampleBytes < clientLimits.sampleBytes) return
    const rate = (this.#sampleBytes / Math.max(1, this.#sampleMs)) * 1_000
    this.#measured = this.#measured === undefined ? rate : (this.#measured + rate) / 2
    this.#sampleMs = 0
    this.#sampleBytes = 0
  }

  /** What was sent is in flight no more, and says nothing about the rate: the server has refused it. */
  refused(bytes: number, now: number): void {
    this.#landed(bytes, now)
  }

  /** A new link: nothing is in flight. What was measured stays, as a first guess. */
  reset(): void {
    this.#inFlight = 0
    this.#sampleMs = 0
    this.#sampleBytes = 0
  }

  #landed(bytes: number, now: number): void {
    this.#inFlight = Math.max(0, this.#inFlight - bytes)
    this.#sampleMs += now - this.#busySince
    this.#busySince = now
  }
}
