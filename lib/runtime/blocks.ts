/** The length of a block. */
const blockBytes = 4_096
/** The maximum length of a copy that shares a block. */
const shortBytes = 512

/**
 * Copies bytes. Short copies share blocks of memory, because an array with memory of its own takes many times as long to create
 * and to collect. A block stays in memory as long as one of its copies. A copy must not reach the application, which could
 * transfer its buffer.
 */
export class Blocks {
  #block = new Uint8Array(0)
  #filled = 0

  /** Returns zero bytes, to which the caller writes. */
  take(length: number): Uint8Array {
    if (length > shortBytes) return new Uint8Array(length)
    if (length > this.#block.length - this.#filled) {
      this.#block = new Uint8Array(blockBytes)
      this.#filled = 0
    }
    this.#filled += length
    return this.#block.subarray(this.#filled - length, this.#filled)
  }

  copy(bytes: Uint8Array): Uint8Array {
    const copy = this.take(bytes.length)
    copy.set(bytes)
    return copy
  }
}
