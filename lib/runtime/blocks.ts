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

  copy(bytes: Uint8Array): Uint8Array {
    const { length } = bytes
    if (length > shortBytes) return new Uint8Array(bytes)
    if (length > this.#block.length - this.#filled) {
      this.#block = new Uint8Array(blockBytes)
      this.#filled = 0
    }
    const copy = this.#block.subarray(this.#filled, this.#filled + length)
    copy.set(bytes)
    this.#filled += length
    return copy
  }
}
