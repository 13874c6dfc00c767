import { type Socket as ByteStream, createServer } from 'node:net'
import { checkOptions, kinds, optional } from '../../options.ts'
import type { SocketOptions, Transport } from '../../ports/socket.ts'
import { peerOf } from './addresses.ts'
import { ByteListener } from './byteListener.ts'
import { ByteSocket } from './byteSocket.ts'
import { dialTcp, reset } from './dialTcp.ts'

/** Where a TCP transport listens or connects. */
export interface TcpOptions {
  /** A name or an IP address; default 127.0.0.1, which only this machine can reach. */
  readonly host?: string
  /** 0 to 65535; 0 listens at a free one, which the listener's address then tells. */
  readonly port: number
}

/** What both of TCP and TLS take. The address of a listener, which has `local` too, can be given as it is. */
export const addressOptions = { host: optional(kinds.text), port: kinds.port, local: optional(kinds.flag) } as const

/** Plain TCP. Throws OspError `usage` for options that cannot be. */
export function tcp(options: TcpOptions): Transport {
  checkOptions('tcp', addressOptions, options)
  const { host = '127.0.0.1', port } = options
  const socketOf = (stream: ByteStream, options: SocketOptions) =>
    new ByteSocket(stream, { peer: peerOf(stream), guarded: false, reset: () => reset(stream) }, options)
  return {
    async listen(options) {
      const server = createServer({ noDelay: true })
      const listener = new ByteListener(server)
      server.on('connection', (stream) => listener.admit(socketOf(stream, options)))
      await listener.open({ host, port })
      return listener
    },
    dial(options, signal) {
      const { clock } = options.platform
      return dialTcp({ host, port, clock, signal }, (stream) => socketOf(stream, options))
    },
  }
}
