import { constants, createHash, createPrivateKey, type KeyObject, sign, verify, X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import { OspError } from '../../../errors.ts'

/** Text in PEM. */
export type Pem = string | Uint8Array

/** What one side proves who it is by. */
export interface TlsIdentity {
  /** A certificate, and behind it those that lead to its root. */
  readonly cert: Pem
  /** The private key of the certificate, not encrypted. */
  readonly key: Pem
}

/** What a server shows, and whom it asks for a certificate. */
export interface ServerIdentity extends TlsIdentity {
  /** Roots of the clients' certificates. With them every client is asked for one; it need not have one. */
  readonly clientCa?: Pem
}

/** The fingerprint of a certificate's public key: `SHA256:` and the base64 of its SHA-256 (SPKI, DER), without padding. */
export function fingerprintOf(cert: Pem): string {
  return fingerprintOfKey(certificateOf('certificate', cert).publicKey)
}

/** As `fingerprintOf`, of a public key. */
export function fingerprintOfKey(key: KeyObject): string {
  const spki = key.export({ type: 'spki', format: 'der' })
  return `SHA256:${createHash('sha256').update(spki).digest('base64').replace(/=+$/u, '')}`
}

/** Throws OspError `usage` that says which part can't be used, and why. */
export function checkIdentity({ cert, key, clientCa }: ServerIdentity): void {
  const certificate = certificateOf('certificate', cert)
  const privateKey = privateKeyOf(key)
  if (!certificate.checkPrivateKey(privateKey) || !signsFor(privateKey, certificate)) {
    throw new OspError('usage', 'the key is not that of the certificate; give the two that were made together')
  }
  if (clientCa !== undefined) checkRoots(clientCa)
  try {
    createSecureContext({ ...pems({ cert, key }), ...(clientCa !== undefined && { ca: textOf(clientCa) }) })
  } catch (error) {
    throw unusable('certificate', error)
  }
}

/**
 * Checks that the certificate verifies a signature of the key. A damaged key can still contain the right public part.
 */
function signsFor(key: KeyObject, { publicKey }: X509Certificate): boolean {
  const text = new Uint8Array(32)
  try {
    return verify(undefined, text, publicKey, sign(undefined, text, key))
  } catch (error) {
    throw unusable('key', error)
  }
}

/** Throws OspError `usage` where these are no certificates. */
export function checkRoots(ca: Pem): void {
  certificateOf('certificate of the authority', ca)
}

/** As Node takes it. */
export function pems({ cert, key }: TlsIdentity): { cert: string; key: string } {
  return { cert: textOf(cert), key: textOf(key) }
}

export const textOf = (pem: Pem): string => (typeof pem === 'string' ? pem : Buffer.from(pem).toString())

function certificateOf(what: string, pem: Pem): X509Certificate {
  try {
    return new X509Certificate(textOf(pem))
  } catch (error) {
    throw unusable(what, error)
  }
}

function privateKeyOf(pem: Pem): KeyObject {
  const text = textOf(pem)
  if (/^-----BEGIN ENCRYPTED|^Proc-Type:.*ENCRYPTED/mu.test(text)) {
    throw new OspError('usage', 'the key is encrypted; give one without a passphrase, which only its owner can read')
  }
  try {
    return createPrivateKey(text)
  } catch (error) {
    throw unusable('key', error)
  }
}

function unusable(what: string, error: unknown): OspError {
  const { message } = error as Error
  return new OspError('usage', `the ${what} cannot be read: ${message}; it has to be in PEM`, { cause: error })
}

/** TLS 1.3 and nothing older. Early data Node neither sends nor takes; no session is resumed, so that each link is checked anew. */
export const versions = { minVersion: 'TLSv1.3', secureOptions: constants.SSL_OP_NO_TICKET } as const
