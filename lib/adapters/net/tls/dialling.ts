import { isIP } from 'node:net'
import { connect as connectTls, type SecureContextOptions, type TLSSocket } from 'node:tls'
import { numberOf, OspError } from '../../../errors.ts'
import type { Socket, SocketOptions } from '../../../ports/socket.ts'
import type { Frame } from '../../../wire/frame.ts'
import { encode } from '../../../wire/message.ts'
import { apps, events, version } from '../../../wire/protocol.ts'
import { peerOf, placeOf, unreachable, withoutZone } from '../addresses.ts'
import { ByteSocket } from '../byteSocket.ts'
import { abortable, dialTcp, reset, secured } from '../dialTcp.ts'
import type { TcpOptions } from '../tcp.ts'
import { fingerprintOfKey, versions } from './identity.ts'

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
    await abortable(Promise.resolve(trust(server)), place, signal)
    const { verified, fingerprint } = server
    socket.peer = { ...socket.peer, verification: { by: verified ? 'authority' : 'key', fingerprint } }
    return socket
  } catch (error) {
    socket.destroy()
    throw error
  }
}

/** A server that has proved to hold a certificate's key, before anything was said to it. */
export interface SeenServer {
  /** As it was asked for. */
  readonly host: string
  readonly port: number
  /** Of its certificate's public key, as `fingerprintOf` tells it. */
  readonly fingerprint: string
  /** The certificate leads to a root that is trusted, is valid today, and is made for this host. */
  readonly verified: boolean
  /** Why it is not verified; as Node or OpenSSL says it. */
  readonly why: string | undefined
}

/**
 * Decides whether to go on with a server: it resolves, or rejects with an OspError `unauthorized`. Until then nothing is sent
 * but what belongs to the handshake; a certificate of the client's own does.
 */
export type TrustServer = (server: SeenServer) => void | Promise<void>

/** What a stream has seen of the server at its other end. Throws OspError `unauthorized` for a server without certificate. */
function seenServer(stream: TLSSocket, host: string, port: number): SeenServer {
  const certificate = stream.getPeerX509Certificate()
  if (!certificate) throw new OspError('unauthorized', `the server at ${placeOf(host, port)} shows no certificate`)
  const why: Error | string | null = stream.authorizationError
  return {
    host,
    port,
    fingerprint: fingerprintOfKey(certificate.publicKey),
    verified: stream.authorized,
    why: stream.authorized ? undefined : why instanceof Error ? why.message : `${why}`,
  }
}

/** Trusts whom the roots vouch for, and nobody else. */
export function trustVerified({ host, port, fingerprint, verified, why }: SeenServer): void {
  if (verified) return
  throw new OspError(
    'unauthorized',
    `the server at ${placeOf(host, port)} is not trusted: ${why} (its key is ${fingerprint}); ` +
      'name the authority of its certificate (--tls-ca FILE)',
  )
}

/** What OpenSSL says of bytes that are no TLS at all. */
const noTls = new Set(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'ERR_SSL_UNEXPECTED_MESSAGE'])

/** What it says where the two share no version of TLS. */
const noVersion = new Set(['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'ERR_SSL_UNSUPPORTED_PROTOCOL'])

/** Why a handshake with the server at `place` has failed, and what can be done. */
function handshakeError(place: string, cause: Error): OspError {
  const { code = '' } = cause as NodeJS.ErrnoException
  if (noTls.has(code)) {
    const text = `the server at ${place} does not speak TLS; start it with TLS (ospd serve --tls auto), or, if the way there is safe, connect without (no --tls)`
    return new OspError('unsupported-version', text, { cause })
  }
  if (noVersion.has(code)) {
    const text = `the server at ${place} has no TLS 1.3, which is the least that is taken; bring it up to date`
    return new OspError('unsupported-version', text, { cause })
  }
  return unreachable('connect', place, cause)
}

/** GOODBYE, as a peer reads it that speaks to a server of TLS without. */
export function speakTls(): Frame {
  const text = 'this server speaks TLS; connect with TLS (osp --tls)'
  const code = numberOf('unsupported-version')
  const { number, app } = events.GoodbyeNtf
  const payload = encode({ event: 'GoodbyeNtf', code, retryAfter: 0, text })
  return { flags: 0, version, event: number, seq: 0, app: apps[app], instance: 0, payload }
}
