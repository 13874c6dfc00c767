import { OspError } from '../../errors.ts'
import type { Platform } from '../../ports/platform.ts'

/** What each segment begins with, twice: these eight bytes, the seed of its CRCs u32, and a CRC-32 of both u32. */
const magic = 'ospdlog1'
const halfBytes = magic.length + 8
export const headerBytes = 2 * halfBytes

/** In front of each record: a CRC-32 u32 of what follows, and the record's length u32, of which the highest bit is a flag. */
export const frameBytes = 8
const firstFlag = 0x8000_0000

/** A record in a segment, or bytes that are none. */
export interface Frame {
  /** Where it begins, the eight bytes in front of a record included. */
  readonly at: number
  readonly end: number
  readonly isReadable: boolean
  /** It is the first of a group: when it was written, all before it was durable. */
  readonly isFirst: boolean
}

/**
 * The form of a segment. Its CRCs begin with a seed that nobody outside knows: so the content of a message is not taken for
 * a record where the search for the next readable one passes over it.
 */
export class JournalFormat {
  readonly #crc32: Platform['crc32']

  constructor(crc32: Platform['crc32']) {
    this.#crc32 = crc32
  }

  header(seed: number): Buffer {
    const half = Buffer.alloc(halfBytes)
    half.write(magic, 'latin1')
    half.writeUInt32BE(seed, magic.length)
    half.writeUInt32BE(this.#crc32(half.subarray(0, magic.length + 4)), magic.length + 4)
    return Buffer.concat([half, half])
  }

  /** The seed of a segment that begins with `header`, unless that is damaged. */
  seedOf(header: Buffer): number | undefined {
    for (const half of [header.subarray(0, halfBytes), header.subarray(halfBytes)]) {
      if (half.length < halfBytes) continue
      if (half.readUInt32BE(magic.length + 4) !== this.#crc32(half.subarray(0, magic.length + 4))) continue
      if (half.toString('latin1', 0, magic.length) === magic) return half.readUInt32BE(magic.length)
      throw new OspError('data-format', 'a journal was written by another version of ospd; use that one')
    }
    return undefined
  }

  /** Encodes a group (or more of one). Returns its bytes and the offset of each record. */
  frame(
    records: readonly Buffer[],
    seed: number,
    isGroup = true,
  ): { readonly bytes: Buffer; readonly offsets: number[] } {
    let length = 0
    for (const record of records) length += frameBytes + record.length
    const bytes = Buffer.allocUnsafe(length)
    const offsets: number[] = []
    let at = 0
    for (const record of records) {
      offsets.push(at)
      bytes.writeUInt32BE((record.length | (at === 0 && isGroup ? firstFlag : 0)) >>> 0, at + 4)
      bytes.set(record, at + frameBytes)
      const end = at + frameBytes + record.length
      bytes.writeUInt32BE(this.#crc32(bytes.subarray(at + 4, end), seed), at)
      at = end
    }
    return { bytes, offsets }
  }

  /** Returns a frame of this length without a record. */
  filler(length: number, seed: number): Buffer {
    return this.frame([Buffer.alloc(length - frameBytes)], seed, false).bytes
  }

  /** Returns whether the readable frame at this offset is a filler. No record begins with a zero. */
  isFiller(bytes: Buffer, at: number): boolean {
    return bytes[at + frameBytes] === 0
  }

  /** The length of the record in the frame that begins there; it may be nonsense. Needs `frameBytes`. */
  lengthAt(bytes: Buffer, at: number): number {
    return (bytes.readUInt32BE(at + 4) & ~firstFlag) >>> 0
  }

  /** The frame of a record that begins there, if one does. */
  frameAt(bytes: Buffer, at: number, seed: number): Frame | undefined {
    if (at + frameBytes >= bytes.length) return undefined
    const length = this.lengthAt(bytes, at)
    const end = at + frameBytes + length
    if (length === 0 || end > bytes.length) return undefined
    if (this.#crc32(bytes.subarray(at + 4, end), seed) !== bytes.readUInt32BE(at)) return undefined
    return { at, end, isReadable: true, isFirst: bytes.readUInt8(at + 4) >= 0x80 }
  }

  /** All that `bytes` hold from `start` on: behind damage it goes on with the next record that can be read. */
  *frames(bytes: Buffer, start: number, seed: number): Generator<Frame> {
    for (let at = start; at < bytes.length; ) {
      const frame = this.frameAt(bytes, at, seed)
      if (frame) yield frame
      const end = frame?.end ?? this.#nextRecord(bytes, at + 1, seed)
      if (!frame) yield { at, end, isReadable: false, isFirst: false }
      at = end
    }
  }

  #nextRecord(bytes: Buffer, from: number, seed: number): number {
    let at = from
    while (at < bytes.length && !this.frameAt(bytes, at, seed)) at++
    return at
  }
}
