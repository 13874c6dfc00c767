import type { OspError } from '../../errors.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import type { ClientGaugeSink } from '../gauges.ts'

/** The buffers for chunks of one link: a bounded number, made when first needed, handed out in turn. */
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

  held(tell: ClientGaugeSink): void {
    tell('buffers of chunks', this.#made)
    tell('chunks that wait for a buffer', this.#waiting.length)
  }

  /** Resolves with a buffer that is nobody else's until it is given back; rejects once the link has ended. */
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

  /** The link has ended with `why`: who waits is rejected with it, since no buffer comes back from there. */
  end(why: OspError): void {
    this.#ended = why
    for (const waiting of this.#waiting.splice(0)) waiting.reject(why)
  }
}
