import { createPrivateKey, createPublicKey, randomBytes, sign } from 'node:crypto'
import { isIP } from 'node:net'
import type { TlsIdentity } from '../../lib/adapters/net/tls/identity.ts'
import {
  bits,
  identifier,
  integer,
  makeKey,
  octets,
  sequence,
  set,
  tagged,
  time,
  utf8,
  yes,
} from '../../lib/adapters/net/tls/selfSigned.ts'

interface Wanted {
  /** The common names of the subject; there can be several. */
  readonly names?: readonly string[]
  /** Host names that the certificate is valid for, or the address `::1`. */
  readonly hosts?: readonly string[]
  readonly notAfter?: string
}

/** Signs certificates for new keys. Keys and certificates are PEM strings. */
export interface Authority {
  /** The certificate of the authority. */
  readonly cert: string
  issue(wanted: Wanted): { readonly cert: string; readonly key: string } & TlsIdentity
}

const ecdsaWithSha256 = sequence(identifier('1.2.840.10045.4.3.2'))
const named = (names: readonly string[]) =>
  sequence(...names.map((name) => set(sequence(identifier('2.5.4.3'), utf8(name)))))

/** For `::1` only. */
function addressOf(host: string): Buffer {
  if (host !== '::1') throw new Error(`cannot make a certificate for ${host}`)
  return tagged(0x87, Buffer.from([...Array(15).fill(0), 1]))
}

/** Creates a certificate authority with this name. */
export function authority(name = 'a root'): Authority {
  const own = createPrivateKey(makeKey())
  const certify = (
    publicPem: string,
    { names = ['x'], hosts = [], notAfter = '20990101000000Z' }: Wanted,
    ca: boolean,
  ) => {
    const alternatives = hosts.map((host) => (isIP(host) ? addressOf(host) : tagged(0x82, Buffer.from(host))))
    const extensions = [
      sequence(identifier('2.5.29.19'), yes(), octets(ca ? sequence(yes()) : sequence())),
      ...(hosts.length > 0 ? [sequence(identifier('2.5.29.17'), octets(sequence(...alternatives)))] : []),
    ]
    const toSign = sequence(
      tagged(0xa0, integer(Uint8Array.of(2))),
      integer(Uint8Array.of(1, ...randomBytes(8))),
      ecdsaWithSha256,
      named([name]),
      sequence(time('000101000000Z'), time(notAfter)),
      named(names),
      createPublicKey(publicPem).export({ type: 'spki', format: 'der' }),
      tagged(0xa3, sequence(...extensions)),
    )
    const der = sequence(toSign, ecdsaWithSha256, bits(sign('sha256', toSign, own)))
    return `-----BEGIN CERTIFICATE-----\n${der.toString('base64').replace(/.{64}(?!$)/gu, '$&\n')}\n-----END CERTIFICATE-----\n`
  }
  return {
    cert: certify(own.export({ type: 'pkcs8', format: 'pem' }).toString(), { names: [name] }, true),
    issue(wanted) {
      const key = makeKey()
      return { key, cert: certify(key, wanted, false) }
    },
  }
}
