import { constants, createHash, createPrivateKey, type KeyObject, sign, verify, X509Certificate } from 'node:crypto'
import type { SecureContextOptions } from 'node:tls'
import { OspError } from '../../../errors.ts'

/** PEM text. */
export type Pem = string | Uint8Array

/** The certificate and the key of one side. */
export interface TlsIdentity {
  /** A certificate, followed by those that lead to its root. */
  readonly cert: Pem
  /** The private key of the certificate, not encrypted. */
  readonly key: Pem
}

/** The certificate and the key of a server, and the authority of its clients. */
export interface ServerIdentity extends TlsIdentity {
  /** The root certificates for clients. If they are set, the server requests a certificate from each client, but requires none. */
  readonly clientCa?: Pem
}

/** Returns the fingerprint of the public key of a certificate: `SHA256:` and the base64 of the SHA-256 (SPKI, DER), unpadded. */
export function fingerprintOf(cert: Pem): string {
  return fingerprintOfKey(certificateOf('certificate', cert).publicKey)
}

/** Like `fingerprintOf`, for a public key. */
export function fingerprintOfKey(key: KeyObject): string {
  const spki = key.export({ type: 'spki', format: 'der' })
  return `SHA256:${createHash('sha256').update(spki).digest('base64').replace(/=+$/u, '')}`
}

/** Returns an identity as options of node:tls. Throws OspError `usage` if a part of it is not valid. */
export function contextOf({ cert, key, clientCa }: ServerIdentity): SecureContextOptions {
  const certificate = certificateOf('certificate', cert)
  const privateKey = privateKeyOf(key)
  if (!certificate.checkPrivateKey(privateKey) || !signsFor(privateKey, certificate)) {
    throw new OspError('usage', 'the key does not belong to the certificate; specify a matching pair')
  }
  const context = { cert: textOf(cert), key: textOf(key), ...(clientCa !== undefined && { ca: rootsOf(clientCa) }) }
  // Loaded on demand, since a program without TLS does not need it.
  const { createSecureContext } = process.getBuiltinModule('node:tls')
  read('certificate', () => createSecureContext(context))
  return context
}

/** Checks that the certificate verifies a signature of the key. A damaged key can still contain the right public part. */
function signsFor(key: KeyObject, { publicKey }: X509Certificate): boolean {
  const text = new Uint8Array(32)
  return read('key', () => verify(undefined, text, publicKey, sign(undefined, text, key)))
}

/** Returns root certificates as text. Throws OspError `usage` if the first one is not valid. */
export function rootsOf(ca: Pem): string {
  certificateOf('certificate of the authority', ca)
  return textOf(ca)
}

const textOf = (pem: Pem): string => (typeof pem === 'string' ? pem : Buffer.from(pem).toString())

const certificateOf = (what: string, pem: Pem) => read(what, () => new X509Certificate(textOf(pem)))

function privateKeyOf(pem: Pem): KeyObject {
  const text = textOf(pem)
  if (/^-----BEGIN ENCRYPTED|^Proc-Type:.*ENCRYPTED/mu.test(text)) {
    throw new OspError('usage', 'the key is encrypted; specify a key without a passphrase that only its owner can read')
  }
  return read('key', () => createPrivateKey(text))
}

/** Returns what `work` returns. Its errors are faults of the PEM text of `what`. */
function read<T>(what: string, work: () => T): T {
  try {
    return work()
  } catch (cause) {
    const { message } = cause as Error
    throw new OspError('usage', `the ${what} cannot be read: ${message}; it must be in PEM`, { cause })
  }
}

/** TLS 1.3 only. Node supports no early data. Without tickets no session is resumed, so that every connection is verified. */
export const versions = { minVersion: 'TLSv1.3', secureOptions: constants.SSL_OP_NO_TICKET } as const
