import { isIP } from 'node:net'
import { connect as connectTls, type SecureContextOptions, type TLSSocket } from 'node:tls'
import { OspError } from '../../../errors.ts'
import type { Socket, SocketOptions } from '../../../ports/socket.ts'
import { onAbort, unlessAborted } from '../../../runtime/wait.ts'
import { peerOf, placeOf, unreachable, withoutZone } from '../addresses.ts'
import { ByteSocket } from '../byteSocket.ts'
import { abortText, dialTcp, reset } from '../dialTcp.ts'
import { directSecureStream } from '../directSocket.ts'
import { ReceiveBuffers } from '../receiveBuffers.ts'
import type { TcpOptions } from '../tcp.ts'
import { fingerprintOfKey, versions } from './identity.ts'

/** Connects to a TLS server. Resolves after `trust` has resolved. Rejects as `Transport.dial` does, or with the error of `trust`. */
export async function dialTls(
  { host, port }: Required<Pick<TcpOptions, 'host' | 'port'>>,
  context: SecureContextOptions,
  trust: TrustServer | undefined,
  options: SocketOptions,
  signal: AbortSignal,
): Promise<Socket> {
  const place = placeOf(host, port)
  const { clock } = options.platform
  const raw = await dialTcp({ host, port, clock, signal }, (stream) => stream)
  // The handshake contains no IP address, but the address is compared with the certificate.
  const name = isIP(host) ? { host: withoutZone(host) } : { host, servername: host }
  const stream = connectTls({ socket: raw, ...name, ...context, ...versions, rejectUnauthorized: false })
  const socket = await new Promise<ByteSocket>((resolve, reject) => {
    const aborted = onAbort(signal, () => {
      reject(new OspError('closed', abortText(place)))
      // The end of the connection ends the TLS stream on it.
      reset(raw)
    })
    // The listener stays: a second error must not be unhandled.
    stream.on('error', (error) => {
      aborted[Symbol.dispose]()
      reject(handshakeError(place, error))
    })
    stream.once('secureConnect', () => {
      aborted[Symbol.dispose]()
      const buffers = new ReceiveBuffers()
      const direct = directSecureStream(stream, buffers.shared)
      const traits = { peer: peerOf(stream), guarded: true, reset: () => reset(raw), ...(direct && { buffers }) }
      const socket = new ByteSocket(stream, traits, options)
      direct?.use(socket)
      resolve(socket)
    })
  })
  try {
    const server = seenServer(stream, host, port)
    await unlessAborted(Promise.resolve((trust ?? trustVerified)(server)), signal, abortText(place))
    const { verified, fingerprint } = server
    socket.peer = { ...socket.peer, verification: { by: verified ? 'authority' : 'key', fingerprint } }
    return socket
  } catch (error) {
    socket.destroy()
    throw error
  }
}

/** A server that has proved that it has the key of its certificate. Nothing was sent to it yet. */
export interface SeenServer {
  /** The host as it was given. */
  readonly host: string
  readonly port: number
  /** The fingerprint of the public key of the certificate, as returned by `fingerprintOf`. */
  readonly fingerprint: string
  /** Whether the certificate leads to a trusted root, is currently valid, and is for this host. */
  readonly verified: boolean
  /** The reason of Node or OpenSSL why the certificate is not verified. */
  readonly why: string | undefined
}

/**
 * Decides whether to trust a server: resolves, or rejects with OspError `unauthorized`. Until then only the handshake is
 * sent, which includes a certificate of the client.
 */
export type TrustServer = (server: SeenServer) => void | Promise<void>

/** Returns the server at the other end of a stream. Throws OspError `unauthorized` for a server without a certificate. */
function seenServer(stream: TLSSocket, host: string, port: number): SeenServer {
  const certificate = stream.getPeerX509Certificate()
  if (!certificate) throw new OspError('unauthorized', `the server at ${placeOf(host, port)} presents no certificate`)
  const { authorized: verified, authorizationError: error } = stream
  const why = verified ? undefined : (error?.message ?? `${error}`)
  return { host, port, fingerprint: fingerprintOfKey(certificate.publicKey), verified, why }
}

/** Trusts only servers whose certificate has a trusted root. */
function trustVerified({ host, port, fingerprint, verified, why }: SeenServer): void {
  if (verified) return
  throw new OspError(
    'unauthorized',
    `the server at ${placeOf(host, port)} is not trusted: ${why} (its key is ${fingerprint}); ` +
      'specify the authority of its certificate (--tls-ca FILE, or the option ca or trust of tls())',
  )
}

const noTls =
  'does not use TLS; start it with TLS (ospd serve --tls auto), or, on a network that you trust, connect without --tls'
const noVersion = 'does not support TLS 1.3, which is required; update the server'

/** The fault of a server by the error code of OpenSSL. */
const serverFaults = new Map([
  ['ERR_SSL_WRONG_VERSION_NUMBER', noTls],
  ['ERR_SSL_PACKET_LENGTH_TOO_LONG', noTls],
  ['ERR_SSL_UNEXPECTED_MESSAGE', noTls],
  ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', noVersion],
  ['ERR_SSL_UNSUPPORTED_PROTOCOL', noVersion],
])

function handshakeError(place: string, cause: Error): OspError {
  const fault = serverFaults.get((cause as NodeJS.ErrnoException).code ?? '')
  if (fault === undefined) return unreachable('connect', place, cause)
  return new OspError('unsupported-version', `the server at ${place} ${fault}`, { cause })
}
