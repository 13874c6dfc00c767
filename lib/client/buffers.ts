/** The buffers for chunks of one link: a bounded number, made when first needed, handed out in turn. */
export class Buffers {
  readonly #bytes: number
  #left: number
  readonly #free: Uint8Array[] = []
  readonly #waiting: ((buffer: Uint8Array) => void)[] = []

  constructor(count: number, bytes: number) {
    this.#left = count
    this.#bytes = bytes
  }

  /** Resolves with a buffer that is nobody else's until it is given back. */
  async take(): Promise<Uint8Array> {
    const free = this.#free.pop()
    if (free) return free
    if (this.#left > 0) {
      this.#left--
      return new Uint8Array(this.#bytes)
    }
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** Gives a buffer back. */
  put(buffer: Uint8Array): void {
    const next = this.#waiting.shift()
    if (next) next(buffer)
    else this.#free.push(buffer)
  }
}
