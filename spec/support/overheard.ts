import type { Socket, SocketEvents, Transport } from '../../lib/ports/socket.ts'

/** A transport whose listener reports when bytes have arrived at any of its sockets. */
export interface Overheard extends Transport {
  /** Resolves the next time that bytes arrive. */
  next(): Promise<void>
}

export function overheard(transport: Transport): Overheard {
  const waiting: (() => void)[] = []
  const tell = () => {
    for (const run of waiting.splice(0)) run()
  }
  return {
    next: () => new Promise((resolve) => waiting.push(resolve)),
    dial: (options, signal) => transport.dial(options, signal),
    async listen(options) {
      const listener = await transport.listen(options)
      return {
        address: listener.address,
        start: (accept) => listener.start((socket) => accept(telling(socket, tell))),
        close: () => listener.close(),
        [Symbol.asyncDispose]: () => listener.close(),
      }
    },
  }
}

function telling(socket: Socket, tell: () => void): Socket {
  const start = socket.start.bind(socket)
  socket.start = (to: SocketEvents) =>
    start({
      frame(frame) {
        to.frame(frame)
        tell()
      },
      begun(payloadBytes) {
        to.begun(payloadBytes)
        tell()
      },
      fault: (why) => to.fault(why),
      drained: () => to.drained(),
      closed: (why) => to.closed(why),
    })
  return socket
}
