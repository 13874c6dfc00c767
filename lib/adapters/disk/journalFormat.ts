import { OspError } from '../../errors.ts'
import type { Platform } from '../../ports/platform.ts'

/** The header of a segment, stored twice: these eight bytes, the seed of its CRCs u32, and a CRC-32 of both u32. */
const magic = 'ospdlog1'
const halfBytes = magic.length + 8
export const journalHeaderBytes = 2 * halfBytes

/** The prefix of a record: a CRC-32 u32 of the rest, and the length of the record u32, whose highest bit is a flag. */
export const frameBytes = 8
const firstFlag = 0x8000_0000

/** A record in a segment with its prefix, or unreadable bytes. */
export interface JournalFrame {
  /** The offset of the prefix. */
  readonly at: number
  readonly end: number
  readonly isReadable: boolean
  /** The record is the first of a group. When it was written, everything before it was durable. */
  readonly isFirst: boolean
}

/** The format of a segment. Its CRCs have a secret seed, so that after damage no message passes for a record. */
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

  /** Returns the seed in the header of a segment, or `undefined` if the header is damaged. */
  seedOf(header: Buffer): number | undefined {
    for (const half of [header.subarray(0, halfBytes), header.subarray(halfBytes)]) {
      if (half.length < halfBytes) continue
      if (half.readUInt32BE(magic.length + 4) !== this.#crc32(half.subarray(0, magic.length + 4))) continue
      if (half.toString('latin1', 0, magic.length) === magic) return half.readUInt32BE(magic.length)
      throw new OspError('data-format', 'a journal was written by another version of ospd; use that version')
    }
    return undefined
  }

  /** Encodes a group (or more of one). Returns its bytes and the offset of each record. */
  frame(records: readonly Buffer[], seed: number, isGroup = true): { bytes: Buffer; offsets: number[] } {
    const bytes = Buffer.allocUnsafe(records.reduce((sum, { length }) => sum + frameBytes + length, 0))
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

  /** Returns the frame at this offset, if it is readable. */
  frameAt(bytes: Buffer, at: number, seed: number): JournalFrame | undefined {
    if (at + frameBytes >= bytes.length) return undefined
    const length = (bytes.readUInt32BE(at + 4) & ~firstFlag) >>> 0
    const end = at + frameBytes + length
    if (length === 0 || end > bytes.length) return undefined
    if (this.#crc32(bytes.subarray(at + 4, end), seed) !== bytes.readUInt32BE(at)) return undefined
    return { at, end, isReadable: true, isFirst: bytes.readUInt8(at + 4) >= 0x80 }
  }

  /** Yields the frames of `bytes` from `start` on. After damage it continues with the next readable record. */
  *frames(bytes: Buffer, start: number, seed: number): Generator<JournalFrame> {
    for (let at = start; at < bytes.length; ) {
      const frame = this.frameAt(bytes, at, seed)
      let end = frame?.end ?? at + 1
      while (!frame && end < bytes.length && !this.frameAt(bytes, end, seed)) end++
      yield frame ?? { at, end, isReadable: false, isFirst: false }
      at = end
    }
  }
}
