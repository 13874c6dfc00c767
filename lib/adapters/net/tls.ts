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

/** Where a TLS transport listens or connects, and by what the two sides know each other. */
export interface TlsOptions extends TcpOptions, Partial<TlsIdentity> {
  /** Of a server: `ServerIdentity.clientCa`. */
  readonly clientCa?: Pem
  /** Of a client: roots in the place of Node's own. */
  readonly ca?: Pem
  /** Of a client: whether to go on with a server; by default whom the roots vouch for is trusted, and nobody else. */
  readonly trust?: TrustServer
}

/** TCP with TLS. */
export interface TlsTransport extends Transport {
  /**
   * Shows this identity to whom connects from now on; links that there are live on. Throws OspError `usage` where it can't be
   * used: nothing is changed then.
   */
  setSecureContext(identity: ServerIdentity): void
}

const pem = optional({
  takes: 'a PEM, as a string or bytes',
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
 * TLS 1.3 over TCP. `cert` and `key` are a side's own: a server must have them before it listens, a client may. A client's
 * certificate that leads to `clientCa` gives `peer.certificateName` its common name; any other one, or none, gives no name,
 * and it is the authenticator's to refuse. Throws OspError `usage` for what can't be used.
 */
export function tls(options: TlsOptions): TlsTransport {
  checkOptions('tls', tlsOptions, options)
  const { host = '127.0.0.1', port, cert, key, clientCa, ca, trust = trustVerified } = options
  if (ca !== undefined) checkRoots(ca)
  if ((cert === undefined) !== (key === undefined))
    throw new OspError('usage', 'give the certificate and its key, or neither')
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
      if (!identity) throw new OspError('usage', 'a server of TLS needs a certificate and its key')
      return await listenTls({ host, port }, () => identity as ServerIdentity, socketOptions)
    },
    async dial(socketOptions, signal) {
      const own = identity && pems(identity)
      const roots = ca === undefined ? {} : { ca: textOf(ca) }
      return await dialTls({ host, port }, { ...own, ...roots }, trust, socketOptions, signal)
    },
  }
}
