import type { TLSSocket } from 'node:tls'
import { OspError } from '../../../errors.ts'
import { placeOf } from '../unreachable.ts'
import { fingerprintOfKey } from './identity.ts'

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
export function seenServer(stream: TLSSocket, host: string, port: number): SeenServer {
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
