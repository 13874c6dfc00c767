import { OspError } from '../../errors.ts'
import { checkOptions, kinds, optional } from '../../options.ts'
import type { Transport } from '../../ports/socket.ts'
import { addressOptions, type TcpOptions } from './tcp.ts'
import { dialTls, type TrustServer, trustVerified } from './tls/dialling.ts'
import {
  checkIdentity,
  checkRoots,
  type Pem,
  pems,
  type ServerIdentity,
  type TlsIdentity,
  textOf,
} from './tls/identity.ts'
import { listenTls } from './tls/listening.ts'

/** The address and the certificates of a TLS transport. */
export interface TlsOptions extends TcpOptions, Partial<TlsIdentity> {
  /** For a server: `ServerIdentity.clientCa`. */
  readonly clientCa?: Pem
  /** For a client: root certificates that replace those of Node. */
  readonly ca?: Pem
  /** For a client: decides whether to trust a server. By default trusts only servers that the roots vouch for. */
  readonly trust?: TrustServer
}

/** A transport over TLS. */
export interface TlsTransport extends Transport {
  /**
   * Uses this identity for new connections. Existing connections continue. Throws OspError `usage` if the identity is not
   * valid, and keeps the previous one.
   */
  setSecureContext(identity: ServerIdentity): void
}

const pem = optional({
  takes: 'PEM text, as a string or bytes',
  holds: (value) => (typeof value === 'string' && value !== '') || value instanceof Uint8Array,
})

const tlsOptions = {
  ...addressOptions,
  cert: pem,
  key: pem,
  clientCa: pem,
  ca: pem,
  trust: optional(kinds.function),
} as const

/**
 * Returns a transport over TLS 1.3. `cert` and `key` are the identity of this side: required for a server before it listens,
 * optional for a client. If the certificate of a client leads to `clientCa`, `peer.certificateName` is its common name.
 * Clients without such a certificate have no `certificateName`, and the authenticator decides whether to reject them.
 * Throws OspError `usage` for invalid options.
 */
export function tls(options: TlsOptions): TlsTransport {
  checkOptions('tls', tlsOptions, options)
  const { host = '127.0.0.1', port, cert, key, clientCa, ca, trust = trustVerified } = options
  if (ca !== undefined) checkRoots(ca)
  if ((cert === undefined) !== (key === undefined))
    throw new OspError('usage', 'a certificate and its key must be given together')
  let identity: ServerIdentity | undefined
  const setSecureContext = (next: ServerIdentity) => {
    checkIdentity(next)
    identity = next
  }
  if (cert !== undefined && key !== undefined)
    setSecureContext({ cert, key, ...(clientCa !== undefined && { clientCa }) })
  return {
    setSecureContext,
    async listen(socketOptions) {
      if (!identity) throw new OspError('usage', 'a TLS server requires a certificate and its key')
      return await listenTls({ host, port }, () => identity as ServerIdentity, socketOptions)
    },
    async dial(socketOptions, signal) {
      const own = identity && pems(identity)
      const roots = ca === undefined ? {} : { ca: textOf(ca) }
      return await dialTls({ host, port }, { ...own, ...roots }, trust, socketOptions, signal)
    },
  }
}
