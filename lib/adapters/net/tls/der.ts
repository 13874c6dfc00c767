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
