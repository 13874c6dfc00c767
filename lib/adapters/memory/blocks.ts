import { KiB, MiB } from '../../limits.ts'

interface Block {
  readonly start: number
  readonly bytes: Uint8Array
}

/** Bytes that grow at the end without being copied. */
export class Blocks {
  #blocks: Block[] = []
  #length = 0
  #durable = 0

  get length(): number {
    return this.#length
  }

  /** The number of leading bytes that survive a power failure. */
  get durable(): number {
    return this.#durable
  }

  /** Makes all bytes durable. */
  flush(): void {
    this.#durable = this.#length
  }

  /** Returns a copy of the first `length` bytes, which counts as flushed. */
  copy(length: number): Blocks {
    const bytes = new Uint8Array(length)
    this.read(bytes, 0)
    const copy = new Blocks()
    copy.write(0, bytes)
    copy.flush()
    return copy
  }

  /** Copies `bytes` to `offset`, which must not exceed `length`. */
  write(offset: number, bytes: Uint8Array): void {
    this.#durable = Math.min(this.#durable, offset)
    let done = 0
    while (done < bytes.length) {
      const { start, bytes: block } = this.#at(offset + done) ?? this.#grow()
      const from = offset + done - start
      const part = bytes.subarray(done, done + block.length - from)
      block.set(part, from)
      done += part.length
    }
    this.#length = Math.max(this.#length, offset + bytes.length)
  }

  /** Copies the bytes from `offset` on to `into`. Returns the number of copied bytes. */
  read(into: Uint8Array, offset: number): number {
    const wanted = Math.min(into.length, Math.max(0, this.#length - offset))
    let done = 0
    while (done < wanted) {
      const block = this.#at(offset + done)
      if (!block) break
      const from = offset + done - block.start
      const part = block.bytes.subarray(from, from + wanted - done)
      into.set(part, done)
      done += part.length
    }
    return done
  }

  truncate(length: number): void {
    if (length >= this.#length) return
    this.#length = length
    this.#durable = Math.min(this.#durable, length)
    this.#blocks = this.#blocks.filter(({ start }) => start < length)
  }

  #at(offset: number): Block | undefined {
    const block = this.#blocks.findLast(({ start }) => start <= offset)
    return block && offset < block.start + block.bytes.length ? block : undefined
  }

  #grow(): Block {
    const last = this.#blocks.at(-1)
    const start = last ? last.start + last.bytes.length : 0
    const block = { start, bytes: new Uint8Array(Math.min(Math.max(start, 4 * KiB), MiB)) }
    this.#blocks.push(block)
    return block
  }
}
