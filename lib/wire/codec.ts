import { OspError } from '../errors.ts'

/** Consecutive pieces of bytes, to avoid copying them into one array. */
export type Parts = readonly Uint8Array[]

/** Returns the total length of `parts`. */
export function lengthOf(parts: Parts): number {
  let length = 0
  for (const part of parts) length += part.length
  return length
}

/** A value's form on the wire. `write` is given room for exactly `size` bytes, parts excepted. */
export interface Codec<T> {
  /** What docs/protocol.md calls this form. */
  readonly form: string
  /** Bytes that `write` takes. Throws a RangeError for a value that has no form on the wire. */
  size(value: T): number
  write(to: Writer, value: T): void
  /** Throws OspError `malformed` if the bytes are not such a value. */
  read(from: Reader): T
}

/** The type of a codec's values. */
export type ValueOf<C> = C extends Codec<infer T> ? T : never

/** Fills one buffer from its start; `tail` collects parts that follow it uncopied. */
export class Writer {
  readonly bytes: Uint8Array
  tail: Parts = []
  at = 0

  constructor(length: number) {
    this.bytes = new Uint8Array(length)
  }

  /** Writes a number of `length` bytes, the highest byte first. */
  unsigned(length: number, value: number): void {
    let rest = value
    this.at += length
    for (let at = this.at - 1; at >= this.at - length; at--) {
      this.bytes[at] = rest % 256
      rest = Math.floor(rest / 256)
    }
  }

  /** The place where the next `length` bytes go. */
  take(length: number): number {
    const { at } = this
    this.at += length
    return at
  }
}

/** Reads a payload that lies in parts. What it hands out aliases them where it can. */
export class Reader {
  readonly #parts: Parts
  #part = 0
  #at = 0
  left: number

  constructor(parts: Parts) {
    this.#parts = parts
    this.left = lengthOf(parts)
  }

  /** The next `length` bytes, aliasing the input unless they cross a border between parts. */
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

  /** Everything that is left, aliasing the input. */
  rest(): Parts {
    const part = this.#skipEmpty()
    if (!part) return []
    const parts = [part.subarray(this.#at), ...this.#parts.slice(this.#part + 1)]
    this.#part = this.#parts.length
    this.left = 0
    return parts
  }

  /** The next `length` bytes as a number, the highest byte first; beyond 2^53 it is only about right. */
  unsigned(length: number): number {
    if (length > this.left) throw new OspError('malformed', 'the payload is too short')
    this.left -= length
    let value = 0
    for (let missing = length; missing > 0; missing--) {
      const part = this.#skipEmpty()
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
