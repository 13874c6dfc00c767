/** Bytes of a text in a record: UTF-8 behind its u16 length. */
export function textBytes(text: string): number {
  return 2 + Buffer.byteLength(text)
}

/** Writes a text; returns where it ends. */
export function writeText(to: Buffer, at: number, text: string): number {
  const length = to.write(text, at + 2)
  to.writeUInt16BE(length, at)
  return at + 2 + length
}

/** The text that begins there; it ends `textBytes` of it later. */
export function readText(from: Buffer, at: number): string {
  return from.toString('utf8', at + 2, textEnd(from, at))
}

/** Where the text that begins there ends. */
export function textEnd(from: Buffer, at: number): number {
  return at + 2 + from.readUInt16BE(at)
}

/** The number that is written there, at most 2^52 from 0: what counts on from it is exact. Throws RangeError for another one. */
export function readNumber(from: Buffer, at: number): number {
  const value = from.readDoubleBE(at)
  if (Math.abs(value) <= 2 ** 52) return value
  throw new RangeError(`${value} is no number of a record`)
}
