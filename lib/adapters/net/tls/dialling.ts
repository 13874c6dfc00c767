import { isIP } from 'node:net'
import { connect as connectTls, type SecureContextOptions } from 'node:tls'
import type { Socket, SocketOptions } from '../../../ports/socket.ts'
import { ByteSocket } from '../byteSocket.ts'
import { dialTcp, reset, secured, unlessGivenUp } from '../dialTcp.ts'
import { withoutZone } from '../loopback.ts'
import { peerOf } from '../peerOf.ts'
import type { TcpOptions } from '../tcp.ts'
import { placeOf } from '../unreachable.ts'
import { seenServer, type TrustServer } from './seenServer.ts'
import { handshakeError } from './troubles.ts'
import { versions } from './versions.ts'

/** Connects to a server that speaks TLS, and resolves once `trust` has. Rejects as `Transport.dial` does, and with what `trust` rejects with. */
export async function dialTls(
  { host, port }: Required<TcpOptions>,
  context: SecureContextOptions,
  trust: TrustServer,
  options: SocketOptions,
  signal: AbortSignal,
): Promise<Socket> {
  const place = placeOf(host, port)
  const { clock } = options.platform
  const raw = await dialTcp({ host, port, clock, signal }, (stream) => stream)
  // An address has no place in the handshake, but is compared with the certificate all the same.
  const name = isIP(host) ? { host: withoutZone(host) } : { host, servername: host }
  const stream = connectTls({ socket: raw, ...name, ...context, ...versions, rejectUnauthorized: false })
  // Ending the connection ends the TLS stream on it.
  const giveUp = () => reset(raw)
  const use = () => new ByteSocket(stream, { peer: peerOf(stream), guarded: true, reset: giveUp }, options)
  const fault = (error: Error) => handshakeError(place, error)
  const socket = await secured(stream, signal, { place, use, giveUp, fault })
  try {
    const server = seenServer(stream, host, port)
    await unlessGivenUp(Promise.resolve(trust(server)), place, signal)
    const { verified, fingerprint } = server
    socket.peer = { ...socket.peer, verification: { by: verified ? 'authority' : 'key', fingerprint } }
    return socket
  } catch (error) {
    socket.destroy()
    throw error
  }
}
