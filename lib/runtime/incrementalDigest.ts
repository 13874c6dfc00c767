import { KiB } from '../limits.ts'
import type { Digest, DigestName, Digests } from '../ports/platform.ts'
import type { Parts } from '../wire/codec.ts'

/** What the first `offset` bytes are known to have as their digest. */
export interface DigestCheckpoint {
  readonly offset: number
  readonly digest: Uint8Array
}

export interface IncrementalDigestOptions {
  readonly digests: Digests
  readonly algorithm: DigestName
  /** Reads written bytes; fewer than `into` holds only at the end. */
  readonly read: (into: Uint8Array, offset: number) => Promise<number>
  /** Known digests to compare with, by rising offset. */
  readonly marks?: readonly DigestCheckpoint[]
}

/** The length of one read; each digest that catches up has a buffer of this length. */
const readBytes = 256 * KiB

/**
 * The digest of the leading bytes of a file while the file is being sent or received. Bytes that come in order are added as
 * they come. If earlier bytes are missing (an upload that a new process continues), it reads them from the file in parallel
 * with the transfer until it has caught up, and keeps no chunk in memory.
 */
export class IncrementalDigest {
  readonly #options: IncrementalDigestOptions
  #digest: Digest
  #position = 0
  #end = 0
  #marks: DigestCheckpoint[]
  #agreed: { offset: number; digest: Digest } | undefined
  #disagrees = false
  #catchingUp: Promise<void> | undefined
  /** Rises with each reading that begins, and when one is called off. */
  #readings = 0

  constructor(options: IncrementalDigestOptions) {
    this.#options = options
    this.#digest = options.digests.create(options.algorithm)
    this.#marks = [...(options.marks ?? [])]
  }

  /** Leading bytes that it covers. */
  get position(): number {
    return this.#position
  }

  /** The digest so far, of the first `position` bytes. */
  now(): Uint8Array {
    return this.#digest.copy().digest()
  }

  /** Adds a digest to compare with; false if it is too late, because the digest has passed that offset. */
  expect(mark: DigestCheckpoint): boolean {
    if (mark.offset < this.#position || mark.offset === 0) return false
    this.#marks.push(mark)
    this.#marks.sort((a, b) => a.offset - b.offset)
    this.#judge()
    return true
  }

  /** The file now has these bytes at `offset`. The bytes are not kept. */
  follow(offset: number, parts: Parts): void {
    let at = offset
    for (const part of parts) {
      if (!this.#catchingUp && at <= this.#position)
        this.#take(part.subarray(Math.min(part.length, this.#position - at)))
      at += part.length
    }
    this.#end = Math.max(this.#end, at)
  }

  /**
   * Reads until it covers the first `end` bytes, and what was followed meanwhile. Resolves with `undefined`, or, where
   * the bytes disagree with a mark, with the offset of the last mark that agreed (0 if none): `rewind` is next then.
   */
  async catchUp(end: number): Promise<number | undefined> {
    this.#end = Math.max(this.#end, end)
    while (this.#position < this.#end && !this.#disagrees) {
      this.#catchingUp ??= this.#readOn(++this.#readings)
      await this.#catchingUp
    }
    return this.#disagrees ? (this.#agreed?.offset ?? 0) : undefined
  }

  /** Goes back to `offset`, which is 0 or that of the last mark that agreed, and forgets the later ones. */
  rewind(offset: number): void {
    const { digests, algorithm } = this.#options
    const agreed = this.#agreed?.offset === offset ? this.#agreed : undefined
    this.#agreed = agreed
    this.#position = agreed?.offset ?? 0
    this.#digest = agreed?.digest.copy() ?? digests.create(algorithm)
    this.#end = this.#position
    this.#marks = []
    this.#disagrees = false
    this.#catchingUp = undefined
    this.#readings++
  }

  /** A reading that was called off takes nothing more: what it reads belongs elsewhere. */
  async #readOn(reading: number): Promise<void> {
    const current = () => this.#readings === reading
    const buffer = new Uint8Array(readBytes)
    try {
      while (current() && this.#position < this.#end && !this.#disagrees) {
        const length = Math.min(readBytes, this.#end - this.#position)
        const read = await this.#options.read(buffer.subarray(0, length), this.#position)
        if (!current()) return
        if (read === 0) throw new RangeError(`the file ends at ${this.#position} instead of ${this.#end}`)
        this.#take(buffer.subarray(0, read))
      }
    } finally {
      if (current()) this.#catchingUp = undefined
    }
  }

  /** Takes bytes at its position, stopping at each mark to compare. */
  #take(bytes: Uint8Array): void {
    let left = bytes
    while (left.length > 0 && !this.#disagrees) {
      const next = this.#marks[0]
      const piece = next ? left.subarray(0, next.offset - this.#position) : left
      this.#digest.update(piece)
      this.#position += piece.length
      left = left.subarray(piece.length)
      this.#judge()
    }
  }

  #judge(): void {
    while (this.#marks[0]?.offset === this.#position && !this.#disagrees) {
      const mark = this.#marks.shift()
      if (mark && same(mark.digest, this.now())) this.#agreed = { offset: mark.offset, digest: this.#digest.copy() }
      else this.#disagrees = true
    }
  }
}

/** Whether two digests are the same bytes. */
export function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at])
}
