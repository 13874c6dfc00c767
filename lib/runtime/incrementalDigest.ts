import { KiB } from '../limits.ts'
import type { Digest, DigestName, Digests } from '../ports/platform.ts'
import type { Checkpoint } from '../ports/storage.ts'
import type { Parts } from '../wire/codec.ts'

/** Reads bytes of a file at `offset`. Resolves with their number, which is less than the length of `into` only at the end. */
type ReadBytes = (into: Uint8Array, offset: number) => Promise<number>

export interface IncrementalDigestOptions {
  readonly digests: Digests
  readonly algorithm: DigestName
  /** Reads bytes that are already in the file. */
  readonly read: ReadBytes
  /** Digests to compare with, by ascending offset. */
  readonly checkpoints?: readonly Checkpoint[]
}

const readBytes = 256 * KiB

/**
 * The digest of the leading bytes of a file while the file is being sent or received. Bytes that arrive in order are added
 * immediately. If earlier bytes are missing (an upload that a new process continues), they are read from the file in parallel with
 * the transfer. No chunk is kept in memory.
 */
export class IncrementalDigest {
  readonly #options: IncrementalDigestOptions
  #digest: Digest
  /** The number of leading bytes in the digest. */
  position = 0
  #end = 0
  #checkpoints: Checkpoint[]
  /** The number of checkpoints that were equal. */
  #matched = 0
  #isDifferent = false
  #catchingUp: Promise<void> | undefined
  /** Increases with each reading that starts, and when one is abandoned. */
  #readings = 0

  constructor(options: IncrementalDigestOptions) {
    this.#options = options
    this.#digest = options.digests.create(options.algorithm)
    this.#checkpoints = [...(options.checkpoints ?? [])]
  }

  /** Returns the digest of the first `position` bytes. */
  now(): Uint8Array {
    return this.#digest.digest()
  }

  /** Adds a digest to compare with. Returns false if it is too late, because the position is after that offset. */
  expect(checkpoint: Checkpoint): boolean {
    if (checkpoint.offset < this.position || checkpoint.offset === 0) return false
    this.#checkpoints.push(checkpoint)
    this.#checkpoints.sort((a, b) => a.offset - b.offset)
    this.#compare()
    return true
  }

  /** Records that the file has these bytes at `offset`. Does not keep the bytes. */
  follow(offset: number, parts: Parts): void {
    let at = offset
    for (const part of parts) {
      if (!this.#catchingUp && at <= this.position) this.#add(part.subarray(Math.min(part.length, this.position - at)))
      at += part.length
    }
    this.#end = Math.max(this.#end, at)
  }

  /**
   * Reads the file until the digest contains the first `end` bytes and those recorded meanwhile. Resolves with `undefined`, or, if
   * a checkpoint is different, with the offset of the last one that was equal (0 if none). Then call `rewind`.
   */
  async catchUp(end: number): Promise<number | undefined> {
    this.#end = Math.max(this.#end, end)
    while (this.position < this.#end && !this.#isDifferent) {
      this.#catchingUp ??= this.#readOn(++this.#readings)
      await this.#catchingUp
    }
    return this.#isDifferent ? (this.#checkpoints[this.#matched - 1]?.offset ?? 0) : undefined
  }

  /**
   * Goes back to `offset`, which is 0 or that of an equal checkpoint, and removes the later checkpoints. The digest begins again
   * at 0: unless `offset` is 0, call `catchUp` to have the bytes before it read and compared once more.
   */
  rewind(offset: number): void {
    const { digests, algorithm } = this.#options
    this.position = 0
    this.#digest = digests.create(algorithm)
    this.#end = offset
    const equal = this.#checkpoints.slice(0, this.#matched)
    this.#checkpoints = equal.filter((checkpoint) => checkpoint.offset <= offset)
    this.#matched = 0
    this.#isDifferent = false
    this.#catchingUp = undefined
    this.#readings++
  }

  /** Reads up to the end. Bytes that arrive after the reading was abandoned are ignored. */
  async #readOn(reading: number): Promise<void> {
    const isCurrent = () => this.#readings === reading
    const buffer = new Uint8Array(readBytes)
    try {
      while (isCurrent() && this.position < this.#end && !this.#isDifferent) {
        const length = Math.min(readBytes, this.#end - this.position)
        const read = await this.#options.read(buffer.subarray(0, length), this.position)
        if (!isCurrent()) return
        if (read === 0) throw new RangeError(`the file ends at ${this.position} instead of ${this.#end}`)
        this.#add(buffer.subarray(0, read))
      }
    } finally {
      if (isCurrent()) this.#catchingUp = undefined
    }
  }

  #add(bytes: Uint8Array): void {
    let left = bytes
    while (left.length > 0 && !this.#isDifferent) {
      const next = this.#checkpoints[this.#matched]
      const piece = next ? left.subarray(0, next.offset - this.position) : left
      this.#digest.update(piece)
      this.position += piece.length
      left = left.subarray(piece.length)
      this.#compare()
    }
  }

  #compare(): void {
    while (!this.#isDifferent) {
      const next = this.#checkpoints[this.#matched]
      if (next?.offset !== this.position) return
      if (same(next.digest, this.now())) this.#matched++
      else this.#isDifferent = true
    }
  }
}

/** Returns whether two digests are equal. */
export function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at])
}

/** Returns the digest of bytes that are all in memory. */
export function digestOfParts(digests: Digests, algorithm: DigestName, parts: Parts): Uint8Array {
  const [first] = parts
  const known = parts.length === 1 && first ? digests.once?.(algorithm, first) : undefined
  if (known) return known
  const digest = digests.create(algorithm)
  for (const part of parts) digest.update(part)
  return digest.digest()
}

/** Resolves with the digest of the first `length` bytes from `read`, or with `undefined` if there are fewer. */
export async function digestOf(
  digests: Digests,
  algorithm: DigestName,
  length: number,
  read: ReadBytes,
): Promise<Uint8Array | undefined> {
  await digests.load(algorithm)
  const digest = digests.create(algorithm)
  const buffer = new Uint8Array(Math.min(length, readBytes))
  for (let at = 0; at < length; ) {
    const count = await read(buffer.subarray(0, Math.min(buffer.length, length - at)), at)
    if (count === 0) return undefined
    digest.update(buffer.subarray(0, count))
    at += count
  }
  return digest.digest()
}
