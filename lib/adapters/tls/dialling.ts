import { connect, isIP } from 'node:net'
import { connect as connectTls, type SecureContextOptions } from 'node:tls'
import { OspError } from '../../errors.ts'
import type { Socket, SocketOptions } from '../../ports/socket.ts'
import { ByteSocket } from '../byteSocket.ts'
import { connected } from '../connected.ts'
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
  const raw = connect({ host, port, noDelay: true })
  await connected(raw, 'connect', place, signal, () => {})
  // An address has no place in the handshake, but is compared with the certificate all the same.
  const name = isIP(host) ? {} : { servername: host }
  const stream = connectTls({ socket: raw, host, ...name, ...context, ...versions, rejectUnauthorized: false })
  const socketOf = () => new ByteSocket(stream, { peer: peerOf(stream), guarded: true }, options)
  const fault = (error: Error) => handshakeError(place, error)
  const socket = await connected(stream, 'secureConnect', place, signal, socketOf, fault)
  try {
    await unlessGivenUp(Promise.resolve(trust(seenServer(stream, host, port))), place, signal)
    return socket
  } catch (error) {
    socket.destroy()
    throw error
  }
}

function unlessGivenUp(work: Promise<void>, place: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(new OspError('closed', `connecting to ${place} was given up`))
    if (signal.aborted) giveUp()
    signal.addEventListener('abort', giveUp, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp))
  })
}
