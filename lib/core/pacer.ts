import { clientLimits } from '../limits.ts'

/**
 * How long chunks are, and when the next one may go (docs/protocol.md, "Delivery", 5): no longer than about one second of
 * the link, as it was measured, and within the rate that the user has set. A link can break before a long chunk is
 * through, and the part that the server has received of it is lost. So each link begins with short chunks, whatever the
 * former one carried, and with chunks of half the length after a link that acknowledged none.
 */
export class Pacer {
  /** The user's bound in bytes a second, for everything that passes here; Infinity: none. */
  readonly #limitRate: number
  /** When the bytes let through so far are within the bound. */
  #clearAt = Number.NEGATIVE_INFINITY
  #measured: number | undefined
  /** The longest chunk of a link that was not measured yet … */
  #firstBytes: number = clientLimits.firstChunkBytes
  /** … and of those that were sent on this link the longest. */
  #longest = 0
  /** Whether a chunk was acknowledged on this link, and whether its rate was measured. */
  #answered = false
  #sampled = false
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
  chunkBytes(granted: number, now: number): number {
    const { bufferBytes, chunkMs, leastChunkBytes, limitedChunkSeconds } = clientLimits
    const first = this.#sampled ? Number.POSITIVE_INFINITY : this.#firstBytes
    const measured = (this.#rate(now) * chunkMs) / 1_000
    const wanted = Math.min(measured, first, this.#limitRate * limitedChunkSeconds)
    return Math.min(granted, bufferBytes, Math.max(leastChunkBytes, Math.floor(wanted)))
  }

  /** The measured bytes a second, or less if the bytes in flight have taken longer than that. */
  #rate(now: number): number {
    const { chunkMs } = clientLimits
    const waitedMs = this.#inFlight > 0 ? now - this.#busySince : 0
    const most = waitedMs > chunkMs ? (this.#inFlight / waitedMs) * 1_000 : Number.POSITIVE_INFINITY
    return Math.min(this.#measured ?? Number.POSITIVE_INFINITY, most)
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
    this.#longest = Math.max(this.#longest, bytes)
  }

  acknowledged(bytes: number, now: number): void {
    this.#answered = true
    this.#sampleBytes += bytes
    this.#landed(bytes, now)
    if (this.#sampleMs < clientLimits.sampleMs && this.#sampleBytes < clientLimits.sampleBytes) return
    const rate = (this.#sampleBytes / Math.max(1, this.#sampleMs)) * 1_000
    // A lower rate applies at once. Otherwise chunks would stay too long until the average adapts.
    const slower = this.#measured === undefined || !this.#sampled || rate < this.#measured
    this.#measured = slower ? rate : ((this.#measured ?? rate) + rate) / 2
    this.#sampled = true
    this.#sampleMs = 0
    this.#sampleBytes = 0
  }

  /** What was sent is in flight no more, and says nothing about the rate: the server has refused it. */
  refused(bytes: number, now: number): void {
    this.#landed(bytes, now)
  }

  /** Starts a new link, with nothing in flight. The measured rate stays as the upper bound of the first estimate. */
  reset(): void {
    const { firstChunkBytes, leastChunkBytes } = clientLimits
    if (this.#answered) this.#firstBytes = firstChunkBytes
    else if (this.#longest > 0) {
      this.#firstBytes = Math.max(leastChunkBytes, Math.floor(Math.min(this.#firstBytes, this.#longest) / 2))
    }
    this.#longest = 0
    this.#answered = false
    this.#sampled = false
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
