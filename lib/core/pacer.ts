import { clientLimits } from '../limits.ts'

/**
 * Sets the length of chunks and the time of the next one: a chunk takes about one second at most at the measured rate of the link,
 * and all chunks stay within the rate that the user has set (docs/protocol.md, "Delivery"). A link can break during a long chunk,
 * and the received part of it is lost. So each link begins with short chunks, whatever the previous link carried, and after a link
 * that acknowledged none with chunks of half the length.
 */
export class Pacer {
  /** The maximum rate in bytes per second, for everything that passes; Infinity if there is none. */
  readonly #limitRate: number
  /** The time from which the bytes passed so far are within the maximum rate. */
  #clearAt = Number.NEGATIVE_INFINITY
  #measured: number | undefined
  /** The maximum length of a chunk on a link that is not measured yet. */
  #firstBytes: number = clientLimits.firstChunkBytes
  /** The length of the longest chunk that was sent on this link. */
  #longest = 0
  /** Whether a chunk was acknowledged on this link. */
  #answered = false
  #sampled = false
  #inFlight = 0
  /** The bytes that were acknowledged since the latest sample. */
  #sampleBytes = 0
  /** The time with chunks in flight since the latest sample, without the time since `#busySince`. */
  #sampleMs = 0
  #busySince = 0

  constructor(limitRate: number = Number.POSITIVE_INFINITY) {
    this.#limitRate = limitRate
  }

  /** Returns the length of the next chunk, at most `granted`. */
  chunkBytes(granted: number, now: number): number {
    const { bufferBytes, chunkMs, leastChunkBytes, limitedChunkSeconds } = clientLimits
    const first = this.#sampled ? Number.POSITIVE_INFINITY : this.#firstBytes
    const measured = (this.#rate(now) * chunkMs) / 1_000
    const wanted = Math.min(measured, first, this.#limitRate * limitedChunkSeconds)
    return Math.min(granted, bufferBytes, Math.max(leastChunkBytes, Math.floor(wanted)))
  }

  /** Returns the measured bytes per second, or fewer if the bytes in flight have already taken longer. */
  #rate(now: number): number {
    const { chunkMs } = clientLimits
    const waitedMs = this.#inFlight > 0 ? now - this.#busySince : 0
    const most = waitedMs > chunkMs ? (this.#inFlight / waitedMs) * 1_000 : Number.POSITIVE_INFINITY
    return Math.min(this.#measured ?? Number.POSITIVE_INFINITY, most)
  }

  /** Counts bytes toward the maximum rate. Returns the milliseconds until they may be sent. */
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
    this.refused(bytes, now)
    if (this.#sampleMs < clientLimits.sampleMs && this.#sampleBytes < clientLimits.sampleBytes) return
    const rate = (this.#sampleBytes / Math.max(1, this.#sampleMs)) * 1_000
    // A lower rate applies at once. Otherwise chunks would stay too long until the average adapts.
    const slower = this.#measured === undefined || !this.#sampled || rate < this.#measured
    this.#measured = slower ? rate : ((this.#measured ?? rate) + rate) / 2
    this.#sampled = true
    this.#sampleMs = 0
    this.#sampleBytes = 0
  }

  /** Records that a chunk is no longer in flight. A refused chunk does not count toward the measured rate. */
  refused(bytes: number, now: number): void {
    this.#inFlight = Math.max(0, this.#inFlight - bytes)
    this.#sampleMs += now - this.#busySince
    this.#busySince = now
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
}
