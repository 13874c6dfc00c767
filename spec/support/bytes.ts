/** Returns the bytes of hexadecimal digits; ignores white space. */
export function hex(digits: string): Uint8Array {
  return Uint8Array.from(Buffer.from(digits.replace(/\s/gu, ''), 'hex'))
}

/** Concatenates pieces. */
export function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts))
}

/** Cuts `bytes` into pieces of these lengths, repeatedly. The pieces alias `bytes`; empty pieces are kept. */
export function cut(bytes: Uint8Array, lengths: readonly number[]): Uint8Array[] {
  if (lengths.every((length) => length === 0)) return [bytes]
  const pieces: Uint8Array[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = lengths[pieces.length % lengths.length] ?? 0
    pieces.push(bytes.subarray(at, at + length))
    at += length
  }
  return pieces
}
