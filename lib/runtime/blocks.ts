/** Length of a block, and the longest bytes that are copied into one. */
const blockBytes = 4_096
const shortBytes = 512

/**
 * Copies bytes. Short ones share blocks of memory, because an array with memory of its own takes many times as long to create
 * and to collect. A copy that is kept keeps its block in memory.
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
