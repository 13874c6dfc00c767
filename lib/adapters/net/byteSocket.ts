import type { Duplex } from 'node:stream'
import { OspError } from '../../errors.ts'
import type { PeerAddress, Socket, SocketEvents, SocketOptions } from '../../ports/socket.ts'
import { lengthOf, type Parts } from '../../wire/codec.ts'
import { encodeFrame, type Frame, FrameReader } from '../../wire/frame.ts'
import { placeOf } from './addresses.ts'
import { socketBounds } from './socketBounds.ts'

/** Below it a frame is copied, behind others, into a block of `blockBytes`, rather than written in pieces. */
const shortBytes = 1_024
const blockBytes = 16_384
/** So much leaves before its turn is over, so that the peer begins while more is made: else the two would work in turn. */
const eagerBytes = 2_048

/** What a stream of bytes is to be taken for. */
export interface ByteSocketTraits {
  readonly peer: PeerAddress
  readonly guarded: boolean
  readonly connectedAtMs?: number
  /** Ends the stream so that nothing more of it is delivered. By default, destroys the stream. */
  readonly reset?: () => void
}

/**
 * A connected stream of bytes (TCP, TLS, a Unix socket) as a `Socket`. It owns the stream from the moment of
 * its making, which must be the one of connecting: an error of the stream is never unheard. Received payloads
 * alias the stream's buffers.
 */
export class ByteSocket implements Socket {
  readonly reliable = true
  readonly guarded: boolean
  peer: PeerAddress
  readonly connectedAtMs: number
  readonly #stream: Duplex
  readonly #reset: () => void
  readonly #platform: SocketOptions['platform']
  readonly #reader: FrameReader
  readonly #whenGone: Promise<void>
  /** `faulted`: the peer's bytes are no frames; `closing`: nothing more is taken or told but the end. */
  #phase: 'open' | 'faulted' | 'closing' | 'gone' = 'open'
  #to: SocketEvents | undefined
  #why: OspError | undefined
  #paused = false
  /** Frames of what the stream has delivered that were not told yet, since reading was paused. */
  #untold: Iterator<Frame, void> | undefined
  /** The stream has ended, which is dealt with after them. */
  #endWaits = false
  #full = false
  #linger: Disposable | undefined
  /** Where short frames are gathered within one turn: from `#blockFrom` to `#blockTo` they were not handed to the stream yet. */
  #block = Buffer.alloc(0)
  #blockFrom = 0
  #blockTo = 0

  constructor(stream: Duplex, traits: ByteSocketTraits, options: SocketOptions) {
    this.guarded = traits.guarded
    this.peer = traits.peer
    this.connectedAtMs = traits.connectedAtMs ?? options.platform.clock.now()
    this.#stream = stream
    this.#reset = traits.reset ?? (() => stream.destroy())
    this.#platform = options.platform
    this.#reader = new FrameReader(options.platform.crc32, options.maxPayload)
    stream.pause()
    stream.on('data', (bytes: Uint8Array) => this.#read(bytes))
    stream.on('end', () => this.#ended())
    stream.on('drain', () => this.#drained())
    stream.on('error', (error) => this.#broken(error))
    this.#whenGone = new Promise((resolve) => {
      stream.on('close', () => {
        resolve()
        this.#gone()
      })
    })
  }

  get maxPayload(): number {
    return this.#reader.maxPayload
  }

  set maxPayload(bytes: number) {
    this.#reader.maxPayload = bytes
  }

  start(to: SocketEvents): void {
    this.#to = to
    if (this.#phase === 'gone') process.nextTick(() => to.closed(this.#why))
    else if (!this.#paused) this.#stream.resume()
  }

  send(frame: Frame, left?: () => void): boolean {
    if (this.#phase !== 'open' && this.#phase !== 'faulted') return false
    this.#write(frame, left)
    if (this.#stream.writableLength + this.#blockTo - this.#blockFrom > socketBounds.fullBytes) this.#full = true
    return !this.#full
  }

  pause(): void {
    this.#paused = true
    if (this.#phase === 'open') this.#stream.pause()
  }

  resume(): void {
    this.#paused = false
    if (this.#phase !== 'open' || !this.#to) return
    // In a turn of its own, so that other links are read in between.
    if (this.#untold) setImmediate(() => this.#goOn())
    else this.#stream.resume()
  }

  close(last?: Frame): Promise<void> {
    if (this.#phase === 'open' || this.#phase === 'faulted') {
      if (last) this.#write(last)
      if (this.#stream.closed) process.nextTick(() => this.#gone())
      this.#leave()
    }
    return this.#whenGone
  }

  destroy(): void {
    if (this.#phase === 'gone') return
    if (this.#stream.closed) process.nextTick(() => this.#gone())
    this.#phase = 'closing'
    this.#reset()
  }

  /** What is written within one turn leaves by few system calls, however many frames it is. */
  #write(frame: Frame, left?: () => void): void {
    const stream = this.#stream
    if (stream.writableCorked === 0) {
      stream.cork()
      process.nextTick(() => {
        this.#handBlock()
        stream.uncork()
      })
    }
    const parts = encodeFrame(frame, this.#platform.crc32)
    const length = lengthOf(parts)
    if (length < shortBytes) {
      this.#gather(parts, length)
      if (left) this.#handBlock(left)
      return
    }
    this.#handBlock()
    const last = parts.length - 1
    for (const [at, part] of parts.entries()) this.#hand(part, at === last ? left : undefined)
  }

  #gather(parts: Parts, length: number): void {
    if (length > this.#block.length - this.#blockTo) {
      this.#handBlock()
      this.#block = Buffer.allocUnsafe(blockBytes)
      this.#blockFrom = 0
      this.#blockTo = 0
    }
    for (const part of parts) {
      this.#block.set(part, this.#blockTo)
      this.#blockTo += part.length
    }
    if (this.#blockTo - this.#blockFrom < eagerBytes) return
    this.#handBlock()
    this.#stream.uncork()
    this.#stream.cork()
  }

  #handBlock(left?: () => void): void {
    if (this.#blockFrom === this.#blockTo) return
    const piece = this.#block.subarray(this.#blockFrom, this.#blockTo)
    this.#blockFrom = this.#blockTo
    this.#hand(piece, left)
  }

  #hand(piece: Uint8Array, left?: () => void): void {
    const stream = this.#stream
    if (!left) stream.write(piece)
    // A stream that is destroyed while it writes reports success: only a living one tells the truth.
    else stream.write(piece, (error) => !error && !stream.destroyed && left())
  }

  #read(bytes: Uint8Array): void {
    // A stream that was paused before can still deliver: it is told in its order.
    this.#tell(this.#untold ? following(this.#untold, () => this.#reader.push(bytes)) : this.#reader.push(bytes))
  }

  /** Tells frames until there is none left or reading is paused. */
  #tell(frames: Iterator<Frame, void>): void {
    this.#untold = undefined
    while (this.#phase === 'open') {
      if (this.#paused) {
        this.#untold = frames
        return
      }
      const frame = this.#next(frames)
      if (!frame) break
      this.#to?.frame(frame)
    }
    if (this.#phase === 'open' && !this.#reader.between) this.#to?.begun(this.#reader.announced, this.#reader.held)
  }

  #goOn(): void {
    const frames = this.#untold
    if (this.#paused || !frames || this.#phase !== 'open') return
    this.#tell(frames)
    if (this.#untold || this.#phase !== 'open') return
    if (this.#stream.closed) this.#gone()
    else if (this.#endWaits) this.#ended()
    else if (!this.#paused) this.#stream.resume()
  }

  #next(frames: Iterator<Frame, void>): Frame | undefined {
    try {
      return frames.next().value ?? undefined
    } catch (error) {
      if (!(error instanceof OspError)) throw error
      this.#phase = 'faulted'
      this.#stream.pause()
      this.#to?.fault(error)
      return undefined
    }
  }

  /** The peer has said all that it will: an end between two frames is answered with our own. */
  #ended(): void {
    if (this.#phase !== 'open') return
    this.#endWaits = this.#untold !== undefined
    if (this.#endWaits) return
    if (this.#reader.between) this.#leave()
    else this.#stream.destroy(new Error('it ended within a frame'))
  }

  /**
   * Half-closes and reads on without looking: were unread bytes left behind, the system would answer them with
   * a reset, and a reset can overtake our last frame.
   */
  #leave(): void {
    this.#phase = 'closing'
    this.#reader.clear()
    this.#handBlock()
    this.#stream.end()
    this.#stream.resume()
    const { clock } = this.#platform
    this.#linger = clock.alarm(clock.now() + socketBounds.lingerMs, () => this.#stream.destroy())
  }

  #drained(): void {
    if (!this.#full) return
    this.#full = false
    this.#to?.drained()
  }

  /** An error after our own close is the peer's way of closing. */
  #broken(error: Error): void {
    if (this.#phase === 'closing') return
    this.#phase = 'closing'
    const { code } = error as NodeJS.ErrnoException
    const place = placeOf(this.peer.host, this.peer.port)
    this.#why = new OspError('link-lost', `the link to ${place} broke: ${code ?? error.message}`, { cause: error })
  }

  #gone(): void {
    // The stream has ended well, and its last frames are still to be told.
    if (this.#phase === 'gone' || (this.#phase === 'open' && this.#untold)) return
    this.#phase = 'gone'
    this.#linger?.[Symbol.dispose]()
    this.#to?.closed(this.#why)
  }
}

function* following(first: Iterator<Frame, void>, then: () => Iterable<Frame>): Generator<Frame, void> {
  for (let next = first.next(); next.value; next = first.next()) yield next.value
  yield* then()
}
