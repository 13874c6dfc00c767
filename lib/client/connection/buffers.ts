import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { onAbort } from '../../runtime/wait.ts'

/** A pool of the buffers for chunks of one link: a bounded number, allocated when first needed. */
export class Buffers {
  readonly #bytes: number
  readonly #closed: AbortSignal
  #made = 0
  readonly #free: Uint8Array[] = []
  readonly #waiting: Deferred<Uint8Array>[] = []

  /** `maxFrame`: the longest frame that the server accepts, which bounds a chunk. `closed` aborts when the link has ended. */
  constructor(maxFrame: number, closed: AbortSignal) {
    this.#bytes = Math.min(clientLimits.bufferBytes, maxFrame)
    this.#closed = closed
    // No buffer comes back from a link that has ended.
    onAbort(closed, (error) => {
      for (const waiting of this.#waiting.splice(0)) waiting.reject(error)
    })
  }

  get gauges() {
    return { chunkBuffers: this.#made, waitingChunks: this.#waiting.length }
  }

  /** Resolves with a buffer for the caller alone until `put`; rejects when the link has ended. */
  async take(): Promise<Uint8Array> {
    if (this.#closed.aborted) throw OspError.from(this.#closed.reason)
    const free = this.#free.pop()
    if (free) return free
    if (this.#made < clientLimits.buffers) {
      this.#made++
      return new Uint8Array(this.#bytes)
    }
    const waiting = deferred<Uint8Array>()
    this.#waiting.push(waiting)
    return waiting.promise
  }

  put(buffer: Uint8Array): void {
    const next = this.#waiting.shift()
    if (next) next.resolve(buffer)
    else this.#free.push(buffer)
  }
}
