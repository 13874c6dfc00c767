import { OspError } from '../errors.ts'
import { lengthOf, type Parts, Writer } from './codec.ts'

/** Bytes of a frame's header. */
export const headerBytes = 20
/** Of them those before the checksum, which it covers. */
const checkedBytes = 16

/** Bit 0 of the flags: this REQ is a repetition. */
export const repetition = 1

/** Pieces below this length are gathered into blocks; longer ones are passed through if no block has room. */
const smallPiece = 4_096
/** Shorter payloads are copied: a payload that is kept would otherwise keep the whole block that arrived with it. */
const shortPayload = 16_384
const blockBytes = 65_536

const none = new Uint8Array(0)

/** CRC-32 (IEEE) of `bytes`, continuing `start`. */
export type Crc32 = (bytes: Uint8Array, start?: number) => number

/** One frame; its payload may have several parts. */
export interface Frame {
  readonly version: number
  readonly flags: number
  readonly event: number
  /** The REQ's own number or the one that it answers; 0 in an NTF. */
  readonly seq: number
  readonly app: number
  readonly instance: number
  readonly payload: Parts
}

/** Returns the bytes of a frame: its header, and its payload without a copy. */
export function encodeFrame(frame: Frame, crc32: Crc32): Parts {
  // A short array whose `buffer` is never read is the cheapest.
  const checked = new Writer(checkedBytes)
  checked.unsigned(4, lengthOf(frame.payload))
  checked.unsigned(1, frame.version)
  checked.unsigned(1, frame.flags)
  checked.unsigned(2, frame.event)
  checked.unsigned(4, frame.seq)
  checked.unsigned(2, frame.app)
  checked.unsigned(2, frame.instance)
  const header = new Writer(headerBytes)
  header.bytes.set(checked.bytes)
  header.at = checkedBytes
  header.unsigned(4, checksum(checked.bytes, frame.payload, crc32))
  return [header.bytes, ...frame.payload]
}

/** `checked`: what stands in the header before the checksum. */
function checksum(checked: Uint8Array, payload: Parts, crc32: Crc32): number {
  let crc = crc32(checked)
  for (const part of payload) crc = crc32(part, crc)
  return crc
}

/**
 * Finds frames in a byte stream, however it is cut up. Payloads alias the pieces of the stream; short ones, and what
 * comes in small pieces, are copied.
 */
export class FrameReader {
  /** Longest payload that is taken, in bytes. */
  maxPayload: number
  readonly #crc32: Crc32
  readonly #header = new Uint8Array(headerBytes)
  readonly #checked = this.#header.subarray(0, checkedBytes)
  readonly #view = new DataView(this.#header.buffer)
  #headerFilled = 0
  #payload: Uint8Array[] = []
  #held = 0
  #missing = 0
  /** Where small pieces are gathered: the last part of the payload is the filled part of it, if it is not `none`. */
  #block = none
  #filled = 0

  constructor(crc32: Crc32, maxPayload: number) {
    this.#crc32 = crc32
    this.maxPayload = maxPayload
  }

  /** Whether the stream stands between two frames. */
  get between(): boolean {
    return this.#headerFilled === 0
  }

  /** The length that the begun frame's payload announces; 0 while its header is not complete. */
  get announced(): number {
    return this.#headerFilled === headerBytes ? this.#view.getUint32(0) : 0
  }

  /** Bytes of memory that the begun frame's payload takes. */
  get held(): number {
    return this.#held
  }

  /** Forgets the begun frame. The reader is of no use after that. */
  clear(): void {
    this.#payload = []
    this.#held = 0
    this.#closeBlock()
  }

  /**
   * The frames that `bytes` completes. Throws OspError `malformed` for a payload that is too long (before
   * anything is kept for it) or whose CRC is wrong; the reader is of no use after that.
   */
  *push(bytes: Uint8Array): Generator<Frame, void> {
    let at = 0
    while (at < bytes.length) {
      at += this.#headerFilled < headerBytes ? this.#fillHeader(bytes, at) : this.#fillPayload(bytes, at)
      if (this.#headerFilled === headerBytes && this.#missing === 0) yield this.#complete()
    }
  }

  #fillHeader(bytes: Uint8Array, at: number): number {
    const length = Math.min(bytes.length - at, headerBytes - this.#headerFilled)
    for (let n = 0; n < length; n++) this.#header[this.#headerFilled++] = bytes[at + n] ?? 0
    if (this.#headerFilled === headerBytes) {
      this.#missing = this.#view.getUint32(0)
      if (this.#missing > this.maxPayload) {
        throw new OspError(
          'malformed',
          `a frame announces ${this.#missing} bytes, over the limit of ${this.maxPayload}`,
        )
      }
    }
    return length
  }

  #fillPayload(bytes: Uint8Array, at: number): number {
    const piece = bytes.subarray(at, at + this.#missing)
    const small = piece.length < smallPiece && piece.length < this.#missing
    const short = this.#view.getUint32(0) < shortPayload
    if (short || small || piece.length <= this.#block.length - this.#filled) this.#gather(piece)
    else this.#pass(piece)
    this.#missing -= piece.length
    return piece.length
  }

  #pass(piece: Uint8Array): void {
    this.#payload.push(piece)
    // All that arrived together stays in memory with it.
    this.#held += Math.min(piece.buffer.byteLength, piece.length + blockBytes)
    this.#closeBlock()
  }

  /**
   * A peer that sends single bytes must not make us keep an object for each, and one that sends them between
   * longer pieces no block for each: what fits into an open block goes there, however long it is. One that announces much
   * and sends little must not make us keep much: a block is as long as what has arrived, from a small one on.
   */
  #gather(piece: Uint8Array): void {
    if (piece.length > this.#block.length - this.#filled) {
      const announced = this.#view.getUint32(0)
      const arrived = announced - this.#missing
      const most = announced < shortPayload ? shortPayload : Math.max(smallPiece, piece.length, arrived)
      this.#block = new Uint8Array(Math.min(blockBytes, this.#missing, most))
      this.#held += this.#block.length
      this.#filled = 0
      this.#payload.push(this.#block)
    }
    this.#block.set(piece, this.#filled)
    this.#filled += piece.length
    const { length } = this.#block
    this.#payload[this.#payload.length - 1] =
      this.#filled < length ? this.#block.subarray(0, this.#filled) : this.#block
  }

  #closeBlock(): void {
    this.#block = none
    this.#filled = 0
  }

  #complete(): Frame {
    const payload = this.#payload
    if (checksum(this.#checked, payload, this.#crc32) !== this.#view.getUint32(16)) {
      throw new OspError('malformed', 'a frame arrived damaged: its CRC is wrong')
    }
    this.#payload = []
    this.#held = 0
    this.#closeBlock()
    this.#headerFilled = 0
    return {
      version: this.#view.getUint8(4),
      flags: this.#view.getUint8(5),
      event: this.#view.getUint16(6),
      seq: this.#view.getUint32(8),
      app: this.#view.getUint16(12),
      instance: this.#view.getUint16(14),
      payload,
    }
  }
}
