import { OspError } from '../errors.ts'
import { lengthOf, type Parts, Writer } from './codec.ts'
import { events } from './protocol.ts'

/** Bytes of the header of a frame. */
export const headerBytes = 20
/** Bytes of the header before the checksum, which covers them. */
const checkedBytes = 16

/** Bit 0 of the flags: this REQ is a repetition. */
export const repetition = 1

/** Bytes of the payload of a POST_FILE_REQ, and of a READ_FILE_ACK, before its content. */
const chunkHeadBytes = 8

/** Maximum size of the payload of a PUT_FILE_REQ, and of a PUT_FILES_REQ, before its content. */
export const putHeadBytes = 2_048
export const putFilesHeadBytes = 16_384

/** Payloads with content of a file from this length on are received into a buffer of their own. */
const wholePayload = 65_536

/** Pieces below this length are copied into blocks. Longer ones are not copied, unless they fit into the open block. */
const smallPiece = 4_096
/** Payloads below this length are copied. Otherwise a stored payload would keep the whole buffer that arrived with it in memory. */
const shortPayload = 16_384
const blockBytes = 65_536

const none = new Uint8Array(0)
const noParts: Uint8Array[] = []

/** For each event with content of a file, how many leading bytes of the payload the checksum covers at most. */
const coveredBytes: ReadonlyMap<number, number> = new Map([
  [events.PostFileReq.number, chunkHeadBytes],
  [events.ReadFileAck.number, chunkHeadBytes],
  [events.PutFileReq.number, putHeadBytes],
  [events.PutFilesReq.number, putFilesHeadBytes],
])

/** Returns whether an event carries content of a file. Small frames overtake it. */
export const isContent = (event: number): boolean => coveredBytes.has(event)

/** CRC-32 (IEEE) of `bytes`, continuing `start`. */
export type Crc32 = (bytes: Uint8Array, start?: number) => number

/** One frame. Its payload can have several parts. */
export interface Frame {
  readonly version: number
  readonly flags: number
  readonly event: number
  /** The number of a REQ, or of the REQ that this frame answers; 0 in an NTF. */
  readonly seq: number
  readonly app: number
  readonly instance: number
  readonly payload: Parts
  /** Lets the payload be overwritten. Call it once, after the last use of the payload; without a call nothing is reused. */
  readonly release?: () => void
  /** Of a frame that is sent over many links: keeps its bytes after the first of them has encoded it. */
  readonly shared?: { bytes?: Uint8Array }
}

/** Buffers for payloads that are received in one piece. */
export interface PayloadBuffers {
  /** Returns a buffer of at least this length, or `undefined` if the incomplete payloads have too much memory. */
  take(length: number): Uint8Array | undefined
  /** The payload in a buffer is complete, or is given up. */
  settled(buffer: Uint8Array): void
  /** Gives back a buffer that is not used any more. */
  put(buffer: Uint8Array): void
}

/**
 * Returns the bytes of a frame: its header, and its payload without a copy. If `checksContent` is false, the checksum does
 * not cover the content of a file (docs/protocol.md, feature bit 0).
 */
export function encodeFrame(frame: Frame, crc32: Crc32, checksContent = true): Parts {
  const { shared } = frame
  if (!shared) return encoded(frame, crc32, checksContent)
  shared.bytes ??= joined(encoded(frame, crc32, checksContent))
  return [shared.bytes]
}

/** Returns the bytes of all parts in one array. */
export function joined(parts: Parts): Uint8Array {
  const whole = new Uint8Array(lengthOf(parts))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

function encoded(frame: Frame, crc32: Crc32, checksContent: boolean): Parts {
  // The creation of a short array whose `buffer` is never read is the cheapest.
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
  header.unsigned(4, checksum(checked.bytes, frame.payload, crc32, coverOf(frame.event, checksContent)))
  return [header.bytes, ...frame.payload]
}

/** Returns how many bytes of a payload the checksum covers, at most. */
function coverOf(event: number, checksContent: boolean): number {
  return (checksContent ? undefined : coveredBytes.get(event)) ?? Number.POSITIVE_INFINITY
}

/** Returns the checksum of a frame. `checked` is the header before the checksum. */
function checksum(checked: Uint8Array, payload: Parts, crc32: Crc32, covered: number): number {
  let crc = crc32(checked)
  let left = covered
  for (const part of payload) {
    if (left <= 0) break
    crc = crc32(left < part.length ? part.subarray(0, left) : part, crc)
    left -= part.length
  }
  return crc
}

/** Bytes of a stream that a reader splits. Replace them by a copy before their buffer is used again. */
export interface StreamPiece {
  bytes: Uint8Array
}

/**
 * Splits a stream of bytes, which arrive in pieces of any size, into frames. Payloads alias the pieces, except that short payloads
 * and small pieces are copied. With `buffers`, all pieces are copied, and a long payload with content of a file is received in one
 * buffer: the owner of the stream reads the next bytes into `target`.
 */
export class FrameReader {
  /** Maximum length of a payload in bytes. */
  maxPayload: number
  /** Whether the checksum of a frame covers the content of a file. */
  checksContent = true
  readonly #crc32: Crc32
  readonly #buffers: PayloadBuffers | undefined
  /** The header before the checksum. A short array whose `buffer` is never read takes the least memory. */
  readonly #checked = new Uint8Array(checkedBytes)
  #checksum = 0
  #headerFilled = 0
  #payload: Uint8Array[] = noParts
  /** Bytes of memory that the payload of the incomplete frame uses. */
  held = 0
  #missing = 0
  /** The open block for small pieces, or `none`. Its filled part is the last part of the payload. */
  #block = none
  #filled = 0
  /** The buffer that receives the whole payload, if it has one. */
  #whole: Uint8Array | undefined

  constructor(crc32: Crc32, maxPayload: number, buffers?: PayloadBuffers) {
    this.#crc32 = crc32
    this.maxPayload = maxPayload
    this.#buffers = buffers
  }

  /** Where the next bytes of the stream belong, if the incomplete payload has a buffer. Call `received` after writing there. */
  get target(): Uint8Array | undefined {
    return this.#whole?.subarray(this.announced - this.#missing, this.announced)
  }

  /** Takes `length` bytes that were written to `target`. Returns the frame that they complete. Throws as `push` does. */
  received(length: number): Frame | undefined {
    this.#missing -= length
    return this.#missing === 0 ? this.#complete() : undefined
  }

  /** Whether the stream is between two frames. */
  get between(): boolean {
    return this.#headerFilled === 0
  }

  /** The length of the payload in the header of the incomplete frame; 0 until the header is complete. */
  get announced(): number {
    return this.#headerFilled === headerBytes ? this.#field(4, 0) : 0
  }

  get #event(): number {
    return this.#field(2, 6)
  }

  /** Releases the incomplete frame. The reader cannot be used afterwards. */
  clear(): void {
    this.#payload = noParts
    this.held = 0
    this.#closeBlock()
    if (this.#whole) this.#buffers?.settled(this.#whole)
    this.#whole = undefined
  }

  /**
   * Returns the frames that a piece completes; the piece can be replaced by a copy meanwhile. Throws OspError `malformed` for a
   * payload that is too long, before memory is used for it, or whose CRC is wrong. The reader cannot be used afterwards.
   */
  *push(piece: StreamPiece): Generator<Frame, void> {
    let at = 0
    while (at < piece.bytes.length) {
      const { bytes } = piece
      at += this.#headerFilled < headerBytes ? this.#fillHeader(bytes, at) : this.#fillPayload(bytes, at)
      if (this.#headerFilled === headerBytes && this.#missing === 0) yield this.#complete()
    }
  }

  #fillHeader(bytes: Uint8Array, at: number): number {
    const length = Math.min(bytes.length - at, headerBytes - this.#headerFilled)
    for (let n = 0; n < length; n++, this.#headerFilled++) {
      const byte = bytes[at + n] ?? 0
      if (this.#headerFilled < checkedBytes) this.#checked[this.#headerFilled] = byte
      else this.#checksum = ((this.#checksum << 8) | byte) >>> 0
    }
    if (this.#headerFilled === headerBytes) {
      this.#missing = this.announced
      if (this.#missing > this.maxPayload) {
        const text = `a frame announces ${this.#missing} bytes, over the limit of ${this.maxPayload}`
        throw new OspError('malformed', text)
      }
      if (this.#missing >= wholePayload && isContent(this.#event)) {
        this.#whole = this.#buffers?.take(this.#missing)
        if (this.#whole) this.held = this.#whole.byteLength
      }
    }
    return length
  }

  #fillPayload(bytes: Uint8Array, at: number): number {
    const piece = bytes.subarray(at, at + this.#missing)
    if (this.#whole) {
      this.#whole.set(piece, this.announced - this.#missing)
      this.#missing -= piece.length
      return piece.length
    }
    const small = piece.length < smallPiece && piece.length < this.#missing
    const short = this.announced < shortPayload
    if (short || small || this.#buffers || piece.length <= this.#block.length - this.#filled) this.#gather(piece)
    else this.#pass(piece)
    this.#missing -= piece.length
    return piece.length
  }

  #pass(piece: Uint8Array): void {
    this.#add(piece)
    // The whole buffer that arrived with the piece stays in memory.
    this.held += Math.min(piece.buffer.byteLength, piece.length + blockBytes)
    this.#closeBlock()
  }

  /**
   * Copies a piece into the open block, so that a peer that sends single bytes does not cause an object for each of them, nor,
   * between longer pieces, a block for each. A block is at most as long as the bytes that have arrived, with a small minimum, so
   * that a peer that announces a long payload and sends little causes little memory.
   */
  #gather(piece: Uint8Array): void {
    if (piece.length > this.#block.length - this.#filled) {
      const { announced } = this
      const arrived = announced - this.#missing
      const most = announced < shortPayload ? shortPayload : Math.max(smallPiece, piece.length, arrived)
      // A piece of the shared buffer can be longer than a block.
      this.#block = new Uint8Array(Math.min(Math.max(blockBytes, piece.length), this.#missing, most))
      this.held += this.#block.length
      this.#filled = 0
      this.#add(this.#block)
    }
    this.#block.set(piece, this.#filled)
    this.#filled += piece.length
    const { length } = this.#block
    this.#payload[this.#payload.length - 1] =
      this.#filled < length ? this.#block.subarray(0, this.#filled) : this.#block
  }

  #add(part: Uint8Array): void {
    if (this.#payload === noParts) this.#payload = [part]
    else this.#payload.push(part)
  }

  #closeBlock(): void {
    this.#block = none
    this.#filled = 0
  }

  #complete(): Frame {
    const whole = this.#whole
    const payload = whole ? [whole.subarray(0, this.announced)] : this.#payload
    const covered = coverOf(this.#event, this.checksContent)
    if (checksum(this.#checked, payload, this.#crc32, covered) !== this.#checksum) {
      throw new OspError('malformed', 'a frame arrived damaged: its CRC is wrong')
    }
    this.clear()
    this.#headerFilled = 0
    const frame = {
      version: this.#field(1, 4),
      flags: this.#field(1, 5),
      event: this.#event,
      seq: this.#field(4, 8),
      app: this.#field(2, 12),
      instance: this.#field(2, 14),
      payload,
    }
    return whole ? { ...frame, release: () => this.#buffers?.put(whole) } : frame
  }

  /** Returns the header field of `length` bytes at `at`. */
  #field(length: number, at: number): number {
    let value = 0
    for (let n = at; n < at + length; n++) value = ((value << 8) | (this.#checked[n] ?? 0)) >>> 0
    return value
  }
}
