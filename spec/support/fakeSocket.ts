import type { OspError } from '../../lib/errors.ts'
import type { PeerAddress, Socket, SocketEvents } from '../../lib/ports/socket.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import { decode, type WireMessage } from '../../lib/wire/message.ts'
import { frameFor } from './frames.ts'

/** A socket without a connection: it records sent frames, and reports events on behalf of the spec. */
export class FakeSocket implements Socket {
  readonly reliable: boolean
  readonly guarded = true
  readonly peer: PeerAddress = { host: 'fake', port: 0, local: true }
  maxPayload = 4_096
  /** The sent frames in order, with the frame passed to `close` last. */
  readonly sent: Frame[] = []
  last: Frame | undefined
  /** The result of `send`. */
  writable = true
  paused = false
  closings = 0
  /** Whether it was closed immediately, without waiting for what was sent. */
  destroyed = false
  readonly #lefts: (() => void)[] = []
  #to: SocketEvents | undefined

  constructor({ reliable = true } = {}) {
    this.reliable = reliable
  }

  get to(): SocketEvents {
    if (!this.#to) throw new Error('this socket was not started')
    return this.#to
  }

  start(to: SocketEvents): void {
    this.#to = to
  }

  send(frame: Frame, left?: () => void): boolean {
    if (this.closings > 0) throw new Error('a frame was sent after close')
    this.sent.push(frame)
    if (left) this.#lefts.push(left)
    return this.writable
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
  }

  async close(last?: Frame): Promise<void> {
    this.closings++
    this.last ??= last
  }

  destroy(): void {
    this.closings++
    this.destroyed = true
  }

  /** Flushes all pending bytes. */
  leave(): void {
    for (const left of this.#lefts.splice(0)) left()
  }

  drain(): void {
    this.writable = true
    this.to.drained()
  }

  /** Receives a frame from the peer. */
  hear(message: WireMessage, seq: number, instance = 0): void {
    this.to.frame(frameFor(message, seq, instance))
  }

  /** Ends the connection from the other side. */
  break(why?: OspError): void {
    this.to.closed(why)
  }

  get messages(): WireMessage[] {
    return this.sent.map((frame) => decode(frame))
  }
}
