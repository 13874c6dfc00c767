import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { onAbort } from '../../runtime/wait.ts'
import type { OnlineLink } from '../connection/session.ts'

/** A link that carries uploads. */
export interface UploadLink extends OnlineLink {
  readonly buffers: Buffers
}

/** Adds the buffers for chunks to a link. They end with it. */
export function uploadLink(link: OnlineLink): UploadLink {
  // A chunk is at most as long as the longest frame that the server accepts.
  const bytes = Math.min(clientLimits.bufferBytes, link.welcome.maxFrame)
  const buffers = new Buffers(clientLimits.buffers, bytes)
  onAbort(link.closed, (error) => buffers.end(OspError.from(error)))
  return { ...link, buffers }
}

/** A pool of the buffers for chunks of one link: a bounded number, allocated when first needed. */
export class Buffers {
  readonly #bytes: number
  readonly #most: number
  #made = 0
  readonly #free: Uint8Array[] = []
  readonly #waiting: Deferred<Uint8Array>[] = []
  #ended: OspError | undefined

  constructor(count: number, bytes: number) {
    this.#most = count
    this.#bytes = bytes
  }

  get gauges() {
    return { chunkBuffers: this.#made, waitingChunks: this.#waiting.length }
  }

  /** Resolves with a buffer for the caller alone until `put`; rejects when the link has ended. */
  async take(): Promise<Uint8Array> {
    if (this.#ended) throw this.#ended
    const free = this.#free.pop()
    if (free) return free
    if (this.#made < this.#most) {
      this.#made++
      return new Uint8Array(this.#bytes)
    }
    const waiting = deferred<Uint8Array>()
    this.#waiting.push(waiting)
    return waiting.promise
  }

  /** Gives a buffer back. */
  put(buffer: Uint8Array): void {
    const next = this.#waiting.shift()
    if (next) next.resolve(buffer)
    else this.#free.push(buffer)
  }

  /** Rejects the waiting callers with `error`: no buffer comes back from a link that has ended. */
  end(error: OspError): void {
    this.#ended = error
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error)
  }
}
