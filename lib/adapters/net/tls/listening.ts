import { type Socket as ByteStream, createServer } from 'node:net'
import {
  createServer as createTlsServer,
  type SecureContextOptions,
  type TLSSocket,
  type Server as TlsServer,
} from 'node:tls'
import { frameWith } from '../../../core/link.ts'
import { OspError } from '../../../errors.ts'
import type { Listener, PeerAddress, SocketOptions } from '../../../ports/socket.ts'
import { goodbyeOf } from '../../../runtime/refusal.ts'
import { peerOf } from '../addresses.ts'
import { ByteListener } from '../byteListener.ts'
import { ByteSocket } from '../byteSocket.ts'
import { directSecureStream } from '../directSocket.ts'
import { PendingHeaders, type ProxiedClient } from '../proxy/pendingHeaders.ts'
import { ReceiveBuffers } from '../receiveBuffers.ts'
import type { TcpOptions } from '../tcp.ts'
import { TurnWrites } from '../turnWrites.ts'
import { PendingHandshakes } from './handshakes.ts'
import { versions } from './identity.ts'

/** Listens for TLS connections. Each connection uses the identity at the time when it arrives. */
export async function listenTls(
  place: Required<TcpOptions>,
  context: () => SecureContextOptions,
  options: SocketOptions,
): Promise<Listener> {
  const guards = new WeakMap<SecureContextOptions, TlsServer>()
  const guardNow = () => {
    const guard = guards.get(context()) ?? guardOf(context()).on('secureConnection', secured)
    guards.set(context(), guard)
    return guard
  }
  const secured = (stream: TLSSocket) => {
    const client = handshakes.done(stream)
    if (!client) {
      stream.destroy()
      return
    }
    const { connectedAtMs } = client
    const direct = directSecureStream(stream, buffers.shared)
    const traits = {
      peer: securePeerOf(stream, client.peer),
      guarded: true,
      connectedAtMs,
      writes,
      ...(direct && { buffers }),
    }
    const socket = new ByteSocket(stream, traits, options)
    direct?.use(socket)
    listener.admit(socket)
  }
  const buffers = new ReceiveBuffers()
  const writes = new TurnWrites()
  const handshakes = new PendingHandshakes(options, (stream, isTls, peer) => {
    if (isTls) guardNow().emit('connection', stream)
    else rejectPlain(stream, peer, options)
  })
  const headers = new PendingHeaders(place.proxyProtocol, options)
  const server = createServer({ noDelay: true }, (stream) => {
    if (headers.expects(peerOf(stream))) afterHeader(stream, headers, (client) => handshakes.begin(stream, client))
    else handshakes.begin(stream)
  })
  const listener = new ByteListener(server, () => {
    headers.close()
    handshakes.close()
  })
  const { host, port } = place
  await listener.open({ host, port, backlog: options.backlog })
  return listener
}

/** Calls `use` when the header of a connection was read. The bytes after it remain in the stream. */
function afterHeader(stream: ByteStream, headers: PendingHeaders, use: (client: ProxiedClient) => void): void {
  headers.begin(stream)
  const look = () => {
    const bytes: Uint8Array | null = stream.read()
    const client = bytes && headers.push(stream, bytes)
    if (!client) return
    stream.off('readable', look)
    if (client.rest.length > 0) stream.unshift(client.rest)
    use(client)
  }
  stream.on('readable', look)
}

/** Returns a TLS server that does not listen but receives connections. The authenticator decides about certificates. */
function guardOf(context: SecureContextOptions): TlsServer {
  const requestCert = context.ca !== undefined
  return createTlsServer({ ...context, ...versions, requestCert, rejectUnauthorized: false })
}

/** Returns the peer with the name in its certificate, or the fault of the certificate. */
function securePeerOf(stream: TLSSocket, peer: PeerAddress): PeerAddress {
  if (!stream.getPeerX509Certificate()) return peer
  if (!stream.authorized) return { ...peer, certificateFault: faultOf(stream.authorizationError) }
  // With several common names, the user of the certificate would be ambiguous.
  const name: unknown = stream.getPeerCertificate().subject?.CN
  if (typeof name === 'string') return { ...peer, certificateName: name }
  return { ...peer, certificateFault: 'it does not have exactly one common name' }
}

/** Describes the fault of a client certificate. On a server, the error of Node is a code, contrary to its type. */
function faultOf(error: Error | string | null): string {
  const code = error instanceof Error ? error.message : `${error}`
  if (code === 'CERT_HAS_EXPIRED') return 'it has expired'
  if (code === 'CERT_NOT_YET_VALID') return 'it is not valid yet'
  return `it is not signed by the authority that this server trusts (${code})`
}

/** Rejects a client without TLS with a message that it can decode. */
function rejectPlain(stream: ByteStream, peer: PeerAddress, options: SocketOptions): void {
  const error = new OspError('unsupported-version', 'this server requires TLS; connect with TLS (osp --tls)')
  void new ByteSocket(stream, { peer, guarded: false }, options).close(frameWith(goodbyeOf(error)))
}
