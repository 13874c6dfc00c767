import type { Socket, Transport } from '../../lib/ports/socket.ts'

/** Overrides for the properties of sockets. */
export interface SocketProperties {
  /** Default: the peer is on another machine. */
  readonly local?: boolean
  /** Default: others can read the traffic. */
  readonly guarded?: boolean
}

/** Makes the links of a transport appear to have these properties, at both ends. */
export function remoteTransport(
  transport: Transport,
  { local = false, guarded = false }: SocketProperties = {},
): Transport {
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
