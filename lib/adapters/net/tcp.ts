import { type Socket as ByteStream, createServer } from 'node:net'
import { checkOptions, kinds, optional } from '../../options.ts'
import type { Listener, SocketOptions, Transport } from '../../ports/socket.ts'
import { peerOf } from './addresses.ts'
import { ByteListener } from './byteListener.ts'
import { ByteSocket, type ByteSocketTraits } from './byteSocket.ts'
import { dialTcp, reset } from './dialTcp.ts'
import { type DirectStream, directStream } from './directSocket.ts'
import { isNetwork } from './proxy/networks.ts'
import { PendingHeaders } from './proxy/pendingHeaders.ts'
import { ReceiveBuffers } from './receiveBuffers.ts'
import { TurnWrites } from './turnWrites.ts'

/** The address of a TCP transport. */
export interface TcpOptions {
  /** A host name or an IP address; by default 127.0.0.1, which only this machine can reach. */
  readonly host?: string
  /** 0 to 65535. A listener on port 0 uses a free port, which its address contains. */
  readonly port: number
  /**
   * For a server: the networks of load balancers, such as `10.0.0.0/24`. Each connection from them must begin with a header of
   * the PROXY protocol (version 1 or 2), which names the client. By default there are none.
   */
  readonly proxyProtocol?: readonly string[]
}

const networks = optional({
  takes: 'an array of networks, such as 10.0.0.0/24 or 2001:db8::/32',
  holds: (value) => Array.isArray(value) && value.every((each) => typeof each === 'string' && isNetwork(each)),
})

/** The common options of TCP and TLS. They accept the address of a listener, which also has `local`. */
export const addressOptions = {
  host: optional(kinds.text),
  port: kinds.port,
  local: optional(kinds.flag),
  proxyProtocol: networks,
} as const

/** Returns a transport over TCP. Throws OspError `usage` for invalid options. */
export function tcp(options: TcpOptions): Transport {
  checkOptions('tcp', addressOptions, options)
  const { host = '127.0.0.1', port, proxyProtocol = [] } = options
  return {
    listen: (socketOptions) => listenTcp({ host, port, proxyProtocol }, socketOptions),
    dial(options, signal) {
      const { clock } = options.platform
      const buffers = new ReceiveBuffers()
      return dialTcp({ host, port, clock, signal, first: buffers.shared }, (stream, use) => {
        const socket = socketOf(stream, options, { buffers })
        use(socket)
        return socket
      })
    },
  }
}

function socketOf(stream: ByteStream, options: SocketOptions, traits: Partial<ByteSocketTraits> = {}): ByteSocket {
  return new ByteSocket(
    stream,
    { peer: peerOf(stream), guarded: false, reset: () => reset(stream), ...traits },
    options,
  )
}

async function listenTcp(place: Required<TcpOptions>, options: SocketOptions): Promise<Listener> {
  const { host, port, proxyProtocol } = place
  const server = createServer({ noDelay: true, pauseOnConnect: true })
  const headers = new PendingHeaders(proxyProtocol, options)
  const listener = new ByteListener(server, () => headers.close())
  const buffers = new ReceiveBuffers()
  const writes = new TurnWrites()
  server.on('connection', (accepted) => {
    // The peer has reset the connection while it waited to be accepted.
    if (accepted.remoteAddress === undefined) {
      accepted.destroy()
      return
    }
    const isProxied = headers.expects(peerOf(accepted))
    const direct = directStream(accepted, buffers.shared)
    if (direct && isProxied) {
      proxied(direct)
      return
    }
    const socket = socketOf(direct?.stream ?? accepted, options, { writes, ...(direct && { buffers }) })
    direct?.use(socket)
    listener.admit(socket)
  })
  /** Reads the header, and then hands the stream to a socket with the address of the client. */
  const proxied = ({ stream, use }: DirectStream) => {
    const received = (target: Uint8Array, length: number) => {
      const client = headers.push(stream, target.subarray(0, length))
      if (!client) return true
      const { rest, ...traits } = client
      const socket = socketOf(stream, options, { writes, buffers, ...traits })
      use(socket)
      listener.admit(socket)
      if (rest.length === 0) return true
      buffers.shared.set(rest)
      return socket.received(buffers.shared, rest.length)
    }
    headers.begin(stream)
    use({ target: buffers.shared, received })
    stream.resume()
  }
  await listener.open({ host, port, backlog: options.backlog })
  return listener
}
