import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

/* Writes the part of DER (ITU-T X.690) that a self-signed certificate needs. */

/** A DER value with its tag and length. */
export type Der = Buffer

/** Encodes a length in the short or the long form, up to two bytes. */
function lengthOf(bytes: number): readonly number[] {
  if (bytes < 0x80) return [bytes]
  return bytes < 0x100 ? [0x81, bytes] : [0x82, bytes >> 8, bytes & 0xff]
}

/** Encodes a value with any tag. */
export function tagged(tag: number, ...content: readonly Uint8Array[]): Der {
  const body = Buffer.concat(content)
  return Buffer.concat([Uint8Array.of(tag, ...lengthOf(body.length)), body])
}

export const sequence = (...parts: readonly Der[]) => tagged(0x30, ...parts)
export const set = (...parts: readonly Der[]) => tagged(0x31, ...parts)
export const octets = (bytes: Uint8Array) => tagged(0x04, bytes)
export const bits = (bytes: Uint8Array) => tagged(0x03, Uint8Array.of(0), bytes)
export const utf8 = (text: string) => tagged(0x0c, Buffer.from(text))
export const yes = () => tagged(0x01, Uint8Array.of(0xff))
/** Encodes a time: `250101000000Z` before 2050, `20500101000000Z` from 2050. */
export const time = (text: string) => tagged(text.length === 13 ? 0x17 : 0x18, Buffer.from(text))
/** Encodes `bytes` as a positive number. The first byte must be from 1 to 127. */
export const integer = (bytes: Uint8Array) => tagged(0x02, bytes)

/** Encodes an object identifier such as `2.5.29.17`. */
export function identifier(dotted: string): Der {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  return tagged(0x06, Uint8Array.from([first * 40 + second, ...rest].flatMap(base128)))
}

/** Encodes a number with seven bits in each byte, the highest first. All bytes except the last have their top bit set. */
function base128(value: number): readonly number[] {
  const high = Math.floor(value / 128)
  return high === 0 ? [value] : [...base128(high).map((byte) => byte | 0x80), value % 128]
}

const ecdsaWithSha256 = sequence(identifier('1.2.840.10045.4.3.2'))
const commonName = identifier('2.5.4.3')
const basicConstraints = identifier('2.5.29.19')
const subjectAltName = identifier('2.5.29.17')
const serverAuth = identifier('1.3.6.1.5.5.7.3.1')
const extendedKeyUsage = identifier('2.5.29.37')

/** Returns a new private key in PEM, on the curve P-256, which every implementation of TLS 1.3 supports (RFC 8446 §9.1). */
export function makeKey(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}

/**
 * Returns a self-signed certificate of a P-256 key in PEM (RFC 5280 §4.1), for `localhost` and its addresses. Clients
 * identify it by its key, so that it has no expiration date (§4.1.2.5), and a wrong clock does not make it invalid.
 */
export function selfSign(key: KeyObject): string {
  const name = sequence(set(sequence(commonName, utf8('ospd'))))
  const publicKey = createPublicKey(key).export({ type: 'spki', format: 'der' })
  const toSign = sequence(
    // Version 3.
    tagged(0xa0, integer(Uint8Array.of(2))),
    integer(serialNumber()),
    ecdsaWithSha256,
    name,
    sequence(time('000101000000Z'), time('99991231235959Z')),
    name,
    publicKey,
    tagged(0xa3, sequence(...extensions())),
  )
  const der = sequence(toSign, ecdsaWithSha256, bits(sign('sha256', toSign, key)))
  const lines = der.toString('base64').replace(/.{64}/gu, '$&\n').trimEnd()
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`
}

function extensions() {
  const dns = (host: string) => tagged(0x82, Buffer.from(host))
  const ip = (...bytes: readonly number[]) => tagged(0x87, Uint8Array.from(bytes))
  const hosts = sequence(dns('localhost'), ip(127, 0, 0, 1), ip(...Array.from({ length: 15 }, () => 0), 1))
  return [
    // It is not a certificate authority.
    sequence(basicConstraints, yes(), octets(sequence())),
    sequence(extendedKeyUsage, octets(sequence(serverAuth))),
    sequence(subjectAltName, octets(hosts)),
  ]
}

/** Returns sixteen random bytes, of which the first makes the number positive and of full length. */
function serialNumber(): Uint8Array {
  const bytes = randomBytes(16)
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40
  return bytes
}
