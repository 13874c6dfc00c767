import { clientLimits } from '../limits.ts'
import { DeliveryRate, type DeliverySample } from './deliveryRate.ts'
import { Queue } from './queue.ts'

/** A chunk that waits until fewer bytes are in flight. */
interface WaitingChunk {
  readonly bytes: number
  admitted: (() => void) | undefined
}

/**
 * Sets the length of chunks, the time of the next one, and the number of unacknowledged bytes of a link, for all its uploads
 * together (docs/protocol.md, "Delivery").
 *
 * A chunk takes about 0.15 s at the measured rate of the link. If a link breaks during a long chunk, the received part of the
 * chunk is lost. Each link therefore begins with short chunks, whatever the previous link carried; after a link on which no
 * chunk was acknowledged, the chunks have half the length used there.
 *
 * The bytes in flight wait in a queue at the slowest part of the path, and all other traffic on this path waits behind them.
 * Their number is therefore limited to what the link carries in one round trip plus 0.3 s. Because the bound is more than the
 * link carries in one round trip, the measured rate grows with each round trip when the path gets faster. On a new link the
 * bound begins at two short chunks, and grows by the acknowledged bytes until chunks take so long that a queue is visible.
 */
export class Pacer {
  /** The maximum rate in bytes per second, for everything that passes; Infinity if there is none. */
  readonly #limitRate: number
  /** The time from which the bytes passed so far are within the maximum rate. */
  #clearAt = Number.NEGATIVE_INFINITY
  #delivery = new DeliveryRate()
  /** The measured rate for the length of chunks: falls at once, and rises by half of the difference. */
  #measured: number | undefined
  /** The highest rates of the current and of the previous second, for the bound: one slow chunk does not lower it. */
  #fastest = 0
  #formerFastest = 0
  #fastestSince = 0
  /** The shortest known round trip of this link. */
  #roundTripMs = Number.POSITIVE_INFINITY
  /** While a new link has shown no queue: the bytes that may be in flight. */
  #startBytes: number | undefined = 2 * clientLimits.firstChunkBytes
  /** The maximum length of a chunk on a link that is not measured yet. */
  #firstBytes: number = clientLimits.firstChunkBytes
  /** The length of the longest chunk that was sent on this link. */
  #longest = 0
  /** Whether a chunk was acknowledged on this link. */
  #answered = false
  readonly #waiting = new Queue<WaitingChunk>()

  constructor(limitRate: number = Number.POSITIVE_INFINITY) {
    this.#limitRate = limitRate
  }

  /** Returns the length of the next chunk, at most `granted`. */
  chunkBytes(granted: number, now: number): number {
    const { bufferBytes, chunkMs, leastChunkBytes } = clientLimits
    const first = this.#answered ? Number.POSITIVE_INFINITY : this.#firstBytes
    const wanted = Math.min((Math.min(this.#rate(now), this.#limitRate) * chunkMs) / 1_000, first)
    return Math.min(granted, bufferBytes, Math.max(leastChunkBytes, Math.floor(wanted)))
  }

  /**
   * Returns the maximum length of a file that is sent in one request, at most `granted`: that of a chunk, or half of the bytes
   * that may be in flight if that is more. On a link with a long round trip, short files alone do not show its rate.
   */
  fileBytes(granted: number, now: number): number {
    const { bufferBytes, chunkMs } = clientLimits
    const half = Math.floor(Math.min(this.boundBytes / 2, (this.#limitRate * chunkMs) / 1_000))
    return Math.max(this.chunkBytes(granted, now), Math.min(granted, bufferBytes, half))
  }

  /** Returns the time in ms that sending takes at the measured rate; 0 if the rate is not known. */
  sendingMs(bytes: number, now: number): number {
    return (bytes / Math.min(this.#rate(now), this.#limitRate)) * 1_000
  }

  /** Returns the measured bytes per second, or fewer if the bytes in flight have already taken longer. */
  #rate(now: number): number {
    const waitedMs = this.#delivery.waitedMs(now)
    const isStalled = waitedMs > clientLimits.stallMs
    const most = isStalled ? (this.#delivery.inFlight / waitedMs) * 1_000 : Number.POSITIVE_INFINITY
    return Math.min(this.#measured ?? Number.POSITIVE_INFINITY, most)
  }

  /** Counts bytes toward the maximum rate. Returns the milliseconds until they may be sent. */
  delayMs(bytes: number, now: number): number {
    if (this.#limitRate === Number.POSITIVE_INFINITY) return 0
    const delay = Math.max(0, this.#clearAt - now)
    this.#clearAt = now + delay + (bytes / this.#limitRate) * 1_000
    return delay
  }

  /** The number of bytes that may be in flight. Two chunks are always allowed, however long they are. */
  get boundBytes(): number {
    const ms = this.#roundTripMs + clientLimits.queuedMs
    const rate = Math.max(this.#fastest, this.#formerFastest)
    const measured = rate === 0 ? 0 : (rate * ms) / 1_000
    return Math.max(measured, this.#startBytes ?? 0)
  }

  /** Counts the bytes of a chunk as sent, and returns true, if it may be sent now. Otherwise call `queue`. */
  admit(bytes: number, now: number): boolean {
    if (this.#waiting.length > 0 || !this.#fits(bytes)) return false
    this.sent(bytes, now)
    return true
  }

  /**
   * Calls `admitted` when the chunk may be sent, in the order of the calls. From then on its bytes count as sent. Calls it only
   * during another call of the pacer, and never after the disposal.
   */
  queue(bytes: number, admitted: () => void): Disposable {
    const chunk: WaitingChunk = { bytes, admitted }
    this.#waiting.push(chunk)
    return {
      [Symbol.dispose]: () => {
        chunk.admitted = undefined
      },
    }
  }

  #fits(bytes: number): boolean {
    const { chunks, inFlight } = this.#delivery
    return chunks < 2 || inFlight + bytes <= this.boundBytes
  }

  #admitWaiting(now: number): void {
    for (let next = this.#waiting.first; next; next = this.#waiting.first) {
      const { bytes, admitted } = next
      if (admitted && !this.#fits(bytes)) return
      this.#waiting.shift()
      if (!admitted) continue
      this.sent(bytes, now)
      admitted()
    }
  }

  /** Counts the bytes of a chunk as sent, whatever the bound is. */
  sent(bytes: number, now: number): void {
    this.#delivery.sent(bytes, now)
    this.#longest = Math.max(this.#longest, bytes)
  }

  /** Counts the bytes of a chunk as acknowledged. `serverMs`: the time that the server may have taken before its reply. */
  acknowledged(bytes: number, now: number, serverMs = 0): void {
    const sample = this.#delivery.acknowledged(bytes, now)
    if (sample) this.#measure(bytes, sample, now, serverMs)
    this.#admitWaiting(now)
  }

  #measure(bytes: number, { bytesPerSecond: rate, roundTripMs }: DeliverySample, now: number, serverMs: number): void {
    const { queueSeenMs, queuedMs, rateMemoryMs, chunkMs } = clientLimits
    const pathMs = roundTripMs - serverMs
    // Without a queue, the sender or the server set the rate, and the link may be faster.
    const isFull = pathMs > queueSeenMs + (Number.isFinite(this.#roundTripMs) ? this.#roundTripMs : 0)
    this.#roundTripMs = Math.min(this.#roundTripMs, roundTripMs)
    // An empty file shows no rate.
    if (rate === 0) return
    // A lower rate applies at once. Otherwise chunks would stay too long until the average adapts.
    if (!this.#answered || this.#measured === undefined) {
      this.#measured = isFull ? rate : Math.max(rate, (this.#firstBytes * 1_000) / chunkMs)
    } else if (rate > this.#measured) this.#measured = (this.#measured + rate) / 2
    else if (isFull) this.#measured = rate
    this.#answered = true
    if (isFull && now - this.#fastestSince > rateMemoryMs) {
      this.#formerFastest = this.#fastest
      this.#fastest = 0
      this.#fastestSince = now
    }
    this.#fastest = Math.max(this.#fastest, rate)
    if (pathMs > 2 * (this.#roundTripMs + queuedMs)) this.#startBytes = undefined
    else if (this.#startBytes !== undefined) this.#startBytes += bytes
  }

  /** Records that a chunk is no longer in flight. A refused chunk does not count toward the measured rate. */
  refused(bytes: number, now: number): void {
    this.#delivery.dropped(bytes)
    this.#admitWaiting(now)
  }

  /**
   * Starts a new link, with nothing in flight. `roundTripMs`: the round trip of a short request on it, if it is known. The
   * measured rate stays as the upper bound of the first estimate.
   */
  reset(now: number, roundTripMs: number = Number.POSITIVE_INFINITY): void {
    const { firstChunkBytes, leastChunkBytes } = clientLimits
    if (this.#answered) this.#firstBytes = firstChunkBytes
    else if (this.#longest > 0) {
      this.#firstBytes = Math.max(leastChunkBytes, Math.floor(Math.min(this.#firstBytes, this.#longest) / 2))
    }
    this.#longest = 0
    this.#answered = false
    this.#delivery = new DeliveryRate()
    this.#fastest = 0
    this.#formerFastest = 0
    this.#roundTripMs = roundTripMs
    this.#startBytes = 2 * this.#firstBytes
    this.#admitWaiting(now)
  }
}
