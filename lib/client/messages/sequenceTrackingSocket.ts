import type { PeerAddress, Socket, SocketEvents, Transport } from '../../ports/socket.ts'
import type { Frame } from '../../wire/frame.ts'
import { events } from '../../wire/protocol.ts'
import { ReceivedSequences } from './receivedSequences.ts'

/** A transport that follows the REQs that come on its sockets, where those lose or reorder frames. */
export function followed(transport: Transport): Transport {
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

/** A socket whose owner can ask which REQs have come. */
export class SequenceTrackingSocket implements Socket {
  readonly arrivals = new ReceivedSequences()
  /** Called behind every REQ. */
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
        const asked = requests.has(frame.event)
        if (asked) this.arrivals.take(frame.seq)
        to.frame(frame)
        if (asked) this.arrived()
      },
      begun: (payloadBytes) => to.begun(payloadBytes),
      fault: (why) => to.fault(why),
      drained: () => to.drained(),
      closed: (why) => to.closed(why),
    })
  }

  send(frame: Frame, left?: () => void): boolean {
    return this.#socket.send(frame, left)
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
