import { OspError } from '../errors.ts'

/** A sequence of bytes in several arrays, which avoids a copy into one array. */
export type Parts = readonly Uint8Array[]

/** Returns the total length of `parts`. */
export function lengthOf(parts: Parts): number {
  let length = 0
  for (const part of parts) length += part.length
  return length
}

/** The encoding of a type of values. `write` writes exactly `size` bytes, and parts in addition. */
export interface Codec<T> {
  /** The name of this encoding in docs/protocol.md. */
  readonly form: string
  /** Returns the number of bytes that `write` writes. Throws RangeError for a value that cannot be encoded. */
  size(value: T): number
  write(to: Writer, value: T): void
  /** Returns the next value. Throws OspError `malformed` if the bytes are not such a value. */
  read(from: Reader): T
}

/** The type of the values of a codec. */
export type ValueOf<C> = C extends Codec<infer T> ? T : never

/** Fills a buffer. `tail` is for the parts after it, which are not copied. */
export class Writer {
  readonly bytes: Uint8Array
  tail: Parts = []
  at = 0

  constructor(to: number | Uint8Array) {
    this.bytes = typeof to === 'number' ? new Uint8Array(to) : to
  }

  /** Writes a number of `length` bytes, the most significant byte first. */
  unsigned(length: number, value: number): void {
    let rest = value
    this.at += length
    for (let at = this.at - 1; at >= this.at - length; at--) {
      this.bytes[at] = rest % 256
      rest = Math.floor(rest / 256)
    }
  }

  /** Reserves the next `length` bytes. Returns their position. */
  take(length: number): number {
    const { at } = this
    this.at += length
    return at
  }
}

/** Reads a payload. The returned bytes alias its parts if possible. */
export class Reader {
  readonly #parts: Parts
  #part = 0
  #at = 0
  left: number

  constructor(parts: Parts) {
    this.#parts = parts
    this.left = lengthOf(parts)
  }

  /** Returns the next `length` bytes, which alias the input unless they belong to several parts. */
  take(length: number): Uint8Array {
    if (length > this.left) throw new OspError('malformed', 'the payload is too short')
    const first = this.#skipEmpty()
    if (first && first.length - this.#at >= length) {
      this.#at += length
      this.left -= length
      return first.subarray(this.#at - length, this.#at)
    }
    const joined = new Uint8Array(length)
    for (let filled = 0; filled < length; ) {
      const part = this.#skipEmpty()
      if (!part) break
      const piece = part.subarray(this.#at, this.#at + length - filled)
      joined.set(piece, filled)
      filled += piece.length
      this.#at += piece.length
    }
    this.left -= length
    return joined
  }

  /** Returns all remaining bytes, which alias the input. */
  rest(): Parts {
    const part = this.#skipEmpty()
    if (!part) return []
    const parts = [part.subarray(this.#at), ...this.#parts.slice(this.#part + 1)]
    this.#part = this.#parts.length
    this.left = 0
    return parts
  }

  /** Returns the next `length` bytes as a number, the most significant byte first. Above 2^53 it is only approximate. */
  unsigned(length: number): number {
    if (length > this.left) throw new OspError('malformed', 'the payload is too short')
    this.left -= length
    let value = 0
    let part = this.#skipEmpty()
    for (let missing = length; missing > 0; missing--) {
      if (part && this.#at === part.length) part = this.#skipEmpty()
      value = value * 256 + (part?.[this.#at++] ?? 0)
    }
    return value
  }

  #skipEmpty(): Uint8Array | undefined {
    let part = this.#parts[this.#part]
    while (part && this.#at === part.length) {
      this.#at = 0
      part = this.#parts[++this.#part]
    }
    return part
  }
}
