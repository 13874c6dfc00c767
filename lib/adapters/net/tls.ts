import type { SecureContextOptions } from 'node:tls'
import { OspError } from '../../errors.ts'
import { checkOptions, kinds, optional } from '../../options.ts'
import type { Transport } from '../../ports/socket.ts'
import { addressOptions, type TcpOptions } from './tcp.ts'
import type { TrustServer } from './tls/dialling.ts'
import { contextOf, type Pem, rootsOf, type ServerIdentity, type TlsIdentity } from './tls/identity.ts'

/** The address and the certificates of a TLS transport. */
export interface TlsOptions extends TcpOptions, Partial<TlsIdentity> {
  /** For a server: `ServerIdentity.clientCa`. */
  readonly clientCa?: Pem
  /** For a client: root certificates that replace those of Node. */
  readonly ca?: Pem
  /** For a client: decides whether to trust a server. By default trusts only servers whose certificate has a trusted root. */
  readonly trust?: TrustServer
}

/** A transport over TLS. */
export interface TlsTransport extends Transport {
  /** Uses this identity for new connections. Throws OspError `usage`, and keeps the former one, if it is not valid. */
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
  const { host = '127.0.0.1', port, proxyProtocol = [], cert, key, clientCa, ca, trust } = options
  const roots = ca === undefined ? {} : { ca: rootsOf(ca) }
  if ((cert === undefined) !== (key === undefined))
    throw new OspError('usage', 'a certificate and its key must be given together')
  let own: SecureContextOptions | undefined
  const setSecureContext = (identity: ServerIdentity) => {
    own = contextOf(identity)
  }
  if (cert !== undefined && key !== undefined)
    setSecureContext({ cert, key, ...(clientCa !== undefined && { clientCa }) })
  return {
    setSecureContext,
    async listen(socketOptions) {
      if (!own) throw new OspError('usage', 'a TLS server requires a certificate and its key')
      const { listenTls } = await import('./tls/listening.ts')
      return await listenTls({ host, port, proxyProtocol }, () => own as SecureContextOptions, socketOptions)
    },
    async dial(socketOptions, signal) {
      const { cert, key } = own ?? {}
      const { dialTls } = await import('./tls/dialling.ts')
      return await dialTls({ host, port }, { cert, key, ...roots }, trust, socketOptions, signal)
    },
  }
}
