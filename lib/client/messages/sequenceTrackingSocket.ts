import { fixed } from '../../limits.ts'
import type { PeerAddress, Socket, SocketEvents, Transport } from '../../ports/socket.ts'
import type { Frame } from '../../wire/frame.ts'
import { events } from '../../wire/protocol.ts'

/** Wraps a transport so that its sockets that lose or reorder frames track the arriving REQs. */
export function tracked(transport: Transport): Transport {
  return {
    listen: (options) => transport.listen(options),
    async dial(options, signal) {
      const socket = await transport.dial(options, signal)
      return socket.reliable ? socket : new SequenceTrackingSocket(socket)
    },
  }
}

const requests: ReadonlySet<number> = new Set(
  Object.values(events).flatMap(({ kind, number }) => (kind === 'request' ? [number] : [])),
)

/** A socket that records which REQs have arrived. */
export class SequenceTrackingSocket implements Socket {
  readonly arrivals = new ReceivedSequences()
  /** Called after each REQ. */
  arrived: () => void = () => {}
  readonly #socket: Socket

  constructor(socket: Socket) {
    this.#socket = socket
  }

  get reliable(): boolean {
    return this.#socket.reliable
  }

  get guarded(): boolean {
    return this.#socket.guarded
  }

  get peer(): PeerAddress {
    return this.#socket.peer
  }

  get maxPayload(): number {
    return this.#socket.maxPayload
  }

  set maxPayload(bytes: number) {
    this.#socket.maxPayload = bytes
  }

  start(to: SocketEvents): void {
    this.#socket.start({
      frame: (frame) => {
        const isRequest = requests.has(frame.event)
        if (isRequest) this.arrivals.take(frame.seq)
        to.frame(frame)
        if (isRequest) this.arrived()
      },
      begun: (payloadBytes) => to.begun(payloadBytes),
      fault: (error) => to.fault(error),
      drained: () => to.drained(),
      closed: (error) => to.closed(error),
    })
  }

  send(frame: Frame, onFlushed?: () => void): boolean {
    return this.#socket.send(frame, onFlushed)
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  close(last?: Frame): Promise<void> {
    return this.#socket.close(last)
  }

  destroy(): void {
    this.#socket.destroy()
  }
}

/**
 * Records which of the peer's REQs have arrived on a link that loses and reorders frames. The peer numbers them without gaps,
 * and sends at most 511 after an unanswered one.
 */
export class ReceivedSequences {
  #complete = 0
  readonly #beyond = new Set<number>()

  /** Every REQ up to this seq has arrived, or cannot arrive any more. */
  get complete(): number {
    return this.#complete
  }

  /** The number of REQs that arrived before one of a lower seq. */
  get beyond(): number {
    return this.#beyond.size
  }

  /** Records a REQ or its repetition. */
  take(seq: number): void {
    if (seq <= this.#complete) return
    this.#beyond.add(seq)
    if (seq - fixed.replies > this.#complete) {
      this.#complete = seq - fixed.replies
      for (const other of this.#beyond) if (other <= this.#complete) this.#beyond.delete(other)
    }
    while (this.#beyond.delete(this.#complete + 1)) this.#complete++
  }
}
