import type { Duplex } from 'node:stream'
import { OspError } from '../../errors.ts'
import type { PeerAddress, Socket, SocketEvents, SocketOptions } from '../../ports/socket.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { lengthOf, type Parts } from '../../wire/codec.ts'
import { encodeFrame, type Frame, FrameReader, isContent } from '../../wire/frame.ts'
import { placeOf } from './addresses.ts'
import type { ReceiveBuffers } from './receiveBuffers.ts'
import { socketBounds } from './socketBounds.ts'
import { TurnWrites, WriteBlock } from './turnWrites.ts'

/** A frame below this length is copied into a block together with others, instead of written in pieces. */
const shortBytes = 1_024
/** The same for a frame with content of a file. */
const shortContentBytes = 4_096
/**
 * From this length, a block is written before the turn ends, so that the peer can start while more frames are made. Content of files
 * is written at the end of the turn.
 */
const eagerBytes = 2_048

/** A paused socket without `data` events reads this many bytes, as a stream of node:net does. */
const pausedBytes = 65_536

const empty = new Uint8Array(0)

/** The properties of a stream that its socket reports. */
export interface ByteSocketTraits {
  readonly peer: PeerAddress
  readonly guarded: boolean
  readonly connectedAtMs?: number
  /** Ends the stream so that no more bytes are delivered. By default destroys the stream. */
  readonly reset?: () => void
  /** The stream has no `data` events: its owner reads into `ByteSocket.target` and calls `received`. */
  readonly buffers?: ReceiveBuffers | undefined
  /** Shared by the sockets of a listener. By default the socket has its own. */
  readonly writes?: TurnWrites
}

/**
 * A `Socket` on a connected stream of bytes (TCP, TLS, a Unix socket). It must be created in the turn in which the stream
 * connects, so that no error of the stream is missed. It owns the stream. Received payloads alias the buffers of the stream.
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
  readonly #buffers: ReceiveBuffers | undefined
  /** Resolves when the stream is closed, if an end was requested. */
  #closed: Deferred<void> | undefined
  /** `faulted`: the bytes of the peer are not frames. `closing`: only the end is still reported. */
  #phase: 'open' | 'faulted' | 'closing' | 'gone' = 'open'
  #events: SocketEvents | undefined
  #error: OspError | undefined
  #paused = false
  #readPaused = 0
  /** Received frames that were not delivered yet, because reading is paused. */
  #undelivered: Iterator<Frame, void> | undefined
  /** Whether the stream has ended. The end is handled after the undelivered frames. */
  #endWaits = false
  #full = false
  /** Whether the socket has not yet taken the bytes from `#handShared`. `writableLength` does not include them. */
  #sharedUnsent = false
  #linger: Disposable | undefined
  readonly #writes: TurnWrites
  /** Whether `writeTurn` will be called. */
  #writesLater = false
  /** Gathers short frames while the stream has unsent bytes, which would keep the block of all sockets in memory. */
  #own: WriteBlock | undefined
  /** The bytes of `#block` from `#from` to `#to` are short frames of this turn that are not written to the stream yet. */
  #block: Buffer | undefined
  #from = 0
  #to = 0
  /** Called when the bytes of `#block` have left. */
  #left: (() => void)[] = []

  constructor(stream: Duplex, traits: ByteSocketTraits, options: SocketOptions) {
    this.guarded = traits.guarded
    this.peer = traits.peer
    this.connectedAtMs = traits.connectedAtMs ?? options.platform.clock.now()
    this.#stream = stream
    this.#reset = traits.reset ?? (() => stream.destroy())
    this.#platform = options.platform
    this.#buffers = traits.buffers
    this.#writes = traits.writes ?? new TurnWrites()
    this.#reader = new FrameReader(options.platform.crc32, options.maxPayload, traits.buffers)
    // A TLS stream joins the pieces of a `_writev` in new memory. This would copy each chunk.
    if (traits.guarded) Object.assign(stream, { _writev: undefined })
    stream.pause()
    if (!traits.buffers) stream.on('data', (bytes: Uint8Array) => this.#read(bytes))
    stream.on('end', () => this.#ended())
    stream.on('drain', () => this.#drained())
    stream.on('error', (error) => this.#broken(error))
    stream.on('close', () => {
      this.#closed?.resolve()
      this.#gone()
    })
  }

  get maxPayload(): number {
    return this.#reader.maxPayload
  }

  set maxPayload(bytes: number) {
    this.#reader.maxPayload = bytes
  }

  get checksContent(): boolean {
    return this.#reader.checksContent
  }

  set checksContent(yes: boolean) {
    this.#reader.checksContent = yes
  }

  /** Where the next bytes of the stream belong, on a stream without `data` events. */
  get target(): Uint8Array {
    const whole = this.#undelivered ? undefined : this.#reader.target
    return whole ?? this.#buffers?.shared ?? empty
  }

  /** Handles `length` bytes that were written to `target`. Returns whether to continue reading. */
  received(target: Uint8Array, length: number): boolean {
    if (target === this.#buffers?.shared) this.#read(target.subarray(0, length))
    else if (this.#phase === 'open') this.#deliver(this.#received(length))
    if (!this.#waits || this.#phase !== 'open') return true
    // Reads a little further, to see whether the peer has closed the stream.
    this.#readPaused += length
    return this.#readPaused < pausedBytes
  }

  start(to: SocketEvents): void {
    this.#events = to
    if (this.#phase === 'gone') process.nextTick(() => to.closed(this.#error))
    else if (!this.#paused) this.#readOn()
  }

  send(frame: Frame, left?: () => void): boolean {
    if (this.#phase !== 'open' && this.#phase !== 'faulted') return false
    this.#write(frame, left)
    if (this.#stream.writableLength + this.#to - this.#from > socketBounds.fullBytes) this.#full = true
    return !this.#full
  }

  pause(): void {
    this.#paused = true
    if (this.#phase === 'open' && !this.#buffers) this.#stream.pause()
  }

  resume(): void {
    this.#paused = false
    this.#readPaused = 0
    if (this.#phase === 'open' && this.#events) this.#readOn()
  }

  /** Continues in a later turn, so that other connections are read in between. */
  #readOn(): void {
    if (this.#undelivered) setImmediate(() => this.#deliverRest())
    else this.#stream.resume()
  }

  close(last?: Frame): Promise<void> {
    if (this.#phase === 'open' || this.#phase === 'faulted') {
      if (last) this.#write(last)
      if (this.#stream.closed) process.nextTick(() => this.#gone())
      this.#leave()
    }
    this.#closed ??= deferred()
    if (this.#stream.closed) this.#closed.resolve()
    return this.#closed.promise
  }

  destroy(): void {
    if (this.#phase === 'gone') return
    if (this.#stream.closed) process.nextTick(() => this.#gone())
    this.#phase = 'closing'
    this.#reset()
  }

  /** Writes the frames of a turn to the stream. */
  writeTurn(): void {
    this.#writesLater = false
    this.#writeBlock()
    if (this.#stream.writableLength === 0) this.#own = undefined
  }

  /** Writes the gathered frames, and what the stream has kept for the end of the turn. */
  #writeBlock(): void {
    this.#handBlock()
    if (this.#stream.writableCorked > 0) this.#stream.uncork()
  }

  /** Writes a frame. All frames of one turn need only a few system calls. */
  #write(frame: Frame, left?: () => void): void {
    if (!this.#writesLater) {
      // Nearly every link has only this frame in this turn, so there is nothing to gather.
      if (frame.shared) {
        this.#handShared(this.#sharedBytes(frame, frame.shared))
        return
      }
      this.#writesLater = true
      this.#writes.add(this)
    }
    const parts = encodeFrame(frame, this.#platform.crc32, this.checksContent)
    const length = lengthOf(parts)
    const hasContent = isContent(frame.event)
    if (length < (hasContent ? shortContentBytes : shortBytes)) {
      this.#gather(parts, length, left)
      if (!hasContent && this.#to - this.#from >= eagerBytes) this.#writeBlock()
      return
    }
    this.#cork()
    this.#handBlock()
    const last = parts.length - 1
    for (const [at, part] of parts.entries()) this.#hand(part, at === last ? left : undefined)
  }

  /**
   * Writes bytes that many links share. A TCP stream takes several writes at a time, so the bytes bypass its queue if nothing
   * must be sent before them. The queue would double the time. A TLS stream takes only one write at a time.
   */
  #handShared(bytes: Buffer): void {
    const stream = this.#stream
    if (this.guarded || this.#sharedUnsent || stream.writableLength > 0) {
      stream.write(bytes)
      return
    }
    this.#sharedUnsent = true
    stream._write(bytes, 'buffer' as BufferEncoding, (error) => {
      this.#sharedUnsent = false
      if (error) stream.destroy(error)
    })
  }

  /** Returns the bytes of a frame for many links as a Buffer. A stream would convert any other array again for each link. */
  #sharedBytes(frame: Frame, shared: { bytes?: Uint8Array }): Buffer {
    if (shared.bytes instanceof Buffer) return shared.bytes
    const bytes = Buffer.concat(encodeFrame(frame, this.#platform.crc32, this.checksContent))
    shared.bytes = bytes
    return bytes
  }

  #gather(parts: Parts, length: number, left?: () => void): void {
    const block = this.#blockNow()
    const from = block.place(length)
    // Other sockets can have used the block in the meantime.
    if (this.#block !== block.bytes || this.#to !== from) {
      this.#handInTurn()
      this.#block = block.bytes
      this.#from = from
      this.#to = from
    }
    for (const part of parts) {
      block.bytes.set(part, this.#to)
      this.#to += part.length
    }
    block.filled = this.#to
    if (left) this.#left.push(left)
  }

  #blockNow(): WriteBlock {
    if (this.#stream.writableLength === 0) {
      this.#own = undefined
      return this.#writes.block
    }
    this.#own ??= new WriteBlock()
    return this.#own
  }

  /** Hands the gathered frames to the stream, which keeps them until the end of the turn. */
  #handInTurn(): void {
    if (this.#from === this.#to) return
    this.#cork()
    this.#handBlock()
  }

  #cork(): void {
    if (this.#stream.writableCorked === 0) this.#stream.cork()
  }

  #handBlock(): void {
    const piece = this.#block?.subarray(this.#from, this.#to)
    const all = this.#left
    this.#block = undefined
    this.#from = this.#to
    if (!piece || piece.length === 0) return
    this.#left = []
    const left = () => {
      for (const each of all) each()
    }
    this.#hand(piece, all.length > 0 ? left : undefined)
  }

  #hand(piece: Uint8Array, left?: () => void): void {
    const stream = this.#stream
    if (!left) stream.write(piece)
    // A stream that is destroyed during a write reports success.
    else stream.write(piece, (error) => !error && !stream.destroyed && left())
  }

  #read(bytes: Uint8Array): void {
    const piece = { bytes }
    // A paused stream can still deliver bytes. Their frames follow the undelivered ones.
    const waiting = this.#undelivered
    this.#deliver(waiting ? following(waiting, () => this.#reader.push(piece)) : this.#reader.push(piece))
    // The stream overwrites its buffer when it reads again.
    if (this.#undelivered && this.#buffers) piece.bytes = Uint8Array.from(bytes)
  }

  *#received(length: number): Generator<Frame, void> {
    const frame = this.#reader.received(length)
    if (frame) yield frame
  }

  /** Delivers frames until there are no more or reading is paused. */
  #deliver(frames: Iterator<Frame, void>): void {
    this.#undelivered = undefined
    while (this.#phase === 'open') {
      if (this.#waits) {
        this.#undelivered = frames
        return
      }
      const frame = this.#next(frames)
      if (!frame) break
      this.#events?.frame(frame)
    }
    if (this.#phase === 'open' && !this.#reader.between) this.#events?.begun(this.#reader.announced, this.#reader.held)
  }

  /** Whether received frames must wait. A TLS stream without `data` events can read before `start`. */
  get #waits(): boolean {
    return this.#paused || !this.#events
  }

  #deliverRest(): void {
    const frames = this.#undelivered
    if (this.#paused || !frames || this.#phase !== 'open') return
    this.#deliver(frames)
    if (this.#undelivered || this.#phase !== 'open') return
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
      this.#events?.fault(error)
      return undefined
    }
  }

  /** Handles the end of the stream. An end between two frames is answered by closing this side. */
  #ended(): void {
    if (this.#phase !== 'open') return
    this.#endWaits = this.#undelivered !== undefined
    if (this.#endWaits) return
    if (this.#reader.between) this.#leave()
    else this.#stream.destroy(new Error('the stream ended within a frame'))
  }

  /** Half-closes, and discards further bytes: unread ones would cause a reset, which could overtake the last frame. */
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
    this.#events?.drained()
  }

  /** Handles an error of the stream. After a close by this side, an error is only another form of the end. */
  #broken(error: Error): void {
    if (this.#phase === 'closing') return
    this.#phase = 'closing'
    const { code } = error as NodeJS.ErrnoException
    const place = placeOf(this.peer.host, this.peer.port)
    const text = `the connection to ${place} broke: ${code ?? error.message}`
    this.#error = new OspError('link-lost', text, { cause: error })
  }

  #gone(): void {
    // The stream has ended normally, and its last frames are not delivered yet.
    if (this.#phase === 'gone' || (this.#phase === 'open' && this.#undelivered)) return
    this.#phase = 'gone'
    this.#linger?.[Symbol.dispose]()
    this.#events?.closed(this.#error)
  }
}

function* following(first: Iterator<Frame, void>, then: () => Iterable<Frame>): Generator<Frame, void> {
  for (let next = first.next(); next.value; next = first.next()) yield next.value
  yield* then()
}
