import { type Socket as ByteStream, createServer } from 'node:net'
import { checkOptions, kinds, optional } from '../../options.ts'
import type { SocketOptions, Transport } from '../../ports/socket.ts'
import { peerOf } from './addresses.ts'
import { ByteListener } from './byteListener.ts'
import { ByteSocket, type ByteSocketTraits } from './byteSocket.ts'
import { dialTcp, reset } from './dialTcp.ts'
import { directStream } from './directSocket.ts'
import { ReceiveBuffers } from './receiveBuffers.ts'
import { TurnWrites } from './turnWrites.ts'

/** The address of a TCP transport. */
export interface TcpOptions {
  /** A host name or an IP address; by default 127.0.0.1, which only this machine can reach. */
  readonly host?: string
  /** 0 to 65535. A listener on port 0 uses a free port, which its address contains. */
  readonly port: number
}

/** The common options of TCP and TLS. They accept the address of a listener, which also has `local`. */
export const addressOptions = { host: optional(kinds.text), port: kinds.port, local: optional(kinds.flag) } as const

/** Returns a transport over TCP. Throws OspError `usage` for invalid options. */
export function tcp(options: TcpOptions): Transport {
  checkOptions('tcp', addressOptions, options)
  const { host = '127.0.0.1', port } = options
  const socketOf = (
    stream: ByteStream,
    options: SocketOptions,
    shared: Pick<ByteSocketTraits, 'buffers' | 'writes'> = {},
  ) => new ByteSocket(stream, { peer: peerOf(stream), guarded: false, reset: () => reset(stream), ...shared }, options)
  return {
    async listen(options) {
      const server = createServer({ noDelay: true, pauseOnConnect: true })
      const listener = new ByteListener(server)
      const buffers = new ReceiveBuffers()
      const writes = new TurnWrites()
      server.on('connection', (accepted) => {
        // The peer has reset the connection while it waited to be accepted.
        if (accepted.remoteAddress === undefined) {
          accepted.destroy()
          return
        }
        const direct = directStream(accepted, buffers.shared)
        const socket = socketOf(direct?.stream ?? accepted, options, { writes, ...(direct && { buffers }) })
        direct?.use(socket)
        listener.admit(socket)
      })
      await listener.open({ host, port, backlog: options.backlog })
      return listener
    },
    dial(options, signal) {
      const { clock } = options.platform
      return dialTcp({ host, port, clock, signal }, (stream) => socketOf(stream, options))
    },
  }
}
