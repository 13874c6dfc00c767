import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

/**
 * DER (ITU-T X.690), as much of it as a certificate needs that we make ourselves: it is written, and never read.
 */

/** A value with its tag and length. */
export type Der = Buffer

/** Short and long form of the length; ours all fit two bytes. */
function lengthOf(bytes: number): readonly number[] {
  if (bytes < 0x80) return [bytes]
  return bytes < 0x100 ? [0x81, bytes] : [0x82, bytes >> 8, bytes & 0xff]
}

/** A value under any tag. */
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
/** A time, as `20250101000000Z` from 2050 on and `250101000000Z` before. */
export const time = (text: string) => tagged(text.length === 13 ? 0x17 : 0x18, Buffer.from(text))
/** `bytes` as a positive number, whose first byte has to be from 1 to 127. */
export const integer = (bytes: Uint8Array) => tagged(0x02, bytes)

/** An object identifier, as `2.5.29.17`. */
export function identifier(dotted: string): Der {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  return tagged(0x06, Uint8Array.from([first * 40 + second, ...rest].flatMap(base128)))
}

/** Seven bits a byte, the highest first; all but the last byte have their top bit set. */
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

/** A new private key on the curve P-256, which every TLS 1.3 knows (RFC 8446 §9.1); in PEM. */
export function makeKey(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}

/**
 * A certificate of a P-256 key that it is signed with itself (RFC 5280 §4.1), for `localhost` and its addresses; in PEM. It
 * is known by its key and not by a date: it holds from before any clock to the day that stands for no end (§4.1.2.5), so
 * that neither a machine's wrong clock nor ten years make it invalid.
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
    // It signs no other certificate, wherever it is trusted.
    sequence(basicConstraints, yes(), octets(sequence())),
    sequence(extendedKeyUsage, octets(sequence(serverAuth))),
    sequence(subjectAltName, octets(hosts)),
  ]
}

/** Sixteen bytes, of which the first makes it positive and no shorter. */
function serialNumber(): Uint8Array {
  const bytes = randomBytes(16)
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40
  return bytes
}
