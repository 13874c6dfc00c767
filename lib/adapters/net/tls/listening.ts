import { type Socket as ByteStream, createServer } from 'node:net'
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls'
import type { Listener, PeerAddress, SocketOptions } from '../../../ports/socket.ts'
import { peerOf } from '../addresses.ts'
import { ByteListener } from '../byteListener.ts'
import { ByteSocket } from '../byteSocket.ts'
import type { TcpOptions } from '../tcp.ts'
import { speakTls } from './dialling.ts'
import { PendingHandshakes } from './handshakes.ts'
import { pems, type ServerIdentity, textOf, versions } from './identity.ts'

/** Listens for peers that speak TLS, and shows each the identity that there is when it comes. */
export async function listenTls(
  place: Required<TcpOptions>,
  identity: () => ServerIdentity,
  options: SocketOptions,
): Promise<Listener> {
  let shown: ServerIdentity | undefined
  let guard: TlsServer | undefined
  const guardNow = () => {
    if (shown !== identity() || !guard) {
      shown = identity()
      guard = guardOf(shown).on('secureConnection', secured)
    }
    return guard
  }
  const secured = (stream: TLSSocket) => {
    const connectedAtMs = handshakes.done(stream)
    if (connectedAtMs === undefined) stream.destroy()
    else listener.admit(new ByteSocket(stream, { peer: securePeerOf(stream), guarded: true, connectedAtMs }, options))
  }
  const handshakes = new PendingHandshakes(options, {
    secure: (stream) => guardNow().emit('connection', stream),
    plain: (stream) => tellPlain(stream, options),
  })
  const server = createServer({ noDelay: true }, (stream) => handshakes.begin(stream))
  const listener = new ByteListener(server, () => handshakes.close())
  await listener.open(place)
  return listener
}

/** Never listens itself: it is handed connections. Which of them are let in without a certificate is not its to say. */
function guardOf(identity: ServerIdentity): TlsServer {
  const { clientCa } = identity
  const asked = clientCa === undefined ? {} : { ca: textOf(clientCa), requestCert: true, rejectUnauthorized: false }
  return createTlsServer({ ...pems(identity), ...asked, ...versions })
}

function securePeerOf(stream: TLSSocket): PeerAddress {
  const peer = peerOf(stream)
  if (!stream.getPeerX509Certificate()) return peer
  if (!stream.authorized) return { ...peer, certificateFault: faultOf(stream.authorizationError) }
  // One common name: with several nobody could say whose certificate it is.
  const name: unknown = stream.getPeerCertificate().subject?.CN
  if (typeof name === 'string') return { ...peer, certificateName: name }
  return { ...peer, certificateFault: 'it has not one common name' }
}

/** In words, as far as a client can do something about it; Node tells a server the code, whatever its types say. */
function faultOf(error: Error | string | null): string {
  const code = error instanceof Error ? error.message : `${error}`
  if (code === 'CERT_HAS_EXPIRED') return 'it has expired'
  if (code === 'CERT_NOT_YET_VALID') return 'it is not valid yet'
  return `it is not of the authority that this server trusts (${code})`
}

/** A client that speaks without TLS is told so, in a way that it understands. */
function tellPlain(stream: ByteStream, options: SocketOptions): void {
  void new ByteSocket(stream, { peer: peerOf(stream), guarded: false }, options).close(speakTls())
}
