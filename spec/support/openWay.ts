import type { Socket, Transport } from '../../lib/ports/socket.ts'

/** What the sockets of a way are to be taken for. */
export interface Way {
  /** By default another machine is at the other end. */
  readonly local?: boolean
  /** By default others can read what goes over it. */
  readonly guarded?: boolean
}

/** Both ends of a transport's links seem to be on such a way. */
export function openWay(transport: Transport, { local = false, guarded = false }: Way = {}): Transport {
  const disguised = (socket: Socket) =>
    Object.defineProperties(socket, {
      peer: { value: { host: '192.0.2.1', port: 1, local } },
      guarded: { value: guarded },
    })
  return {
    dial: async (options, signal) => disguised(await transport.dial(options, signal)),
    async listen(options) {
      const listener = await transport.listen(options)
      const { address } = listener
      return {
        address,
        start: (accept) => listener.start((socket) => accept(disguised(socket))),
        close: () => listener.close(),
        [Symbol.asyncDispose]: () => listener.close(),
      }
    },
  }
}
