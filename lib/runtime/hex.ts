const digits = new TextEncoder().encode('0123456789abcdef')

/** The arguments of a call must fit on the stack. */
const pieceBytes = 4_096

/** The character codes of the latest text. Reused between calls, to avoid allocating an array for each. */
const codes: number[] = []

/** Returns bytes as lower-case hexadecimal digits. */
export function hex(bytes: Uint8Array): string {
  if (bytes.length > pieceBytes) return hex(bytes.subarray(0, pieceBytes)) + hex(bytes.subarray(pieceBytes))
  codes.length = 2 * bytes.length
  let at = 0
  for (const byte of bytes) {
    codes[at++] = digits[byte >> 4] ?? 0
    codes[at++] = digits[byte & 15] ?? 0
  }
  // A string that is concatenated byte by byte would take several times the memory.
  return String.fromCharCode.apply(undefined, codes)
}

/** Returns the bytes of hexadecimal digits. */
export function bytesOfHex(digits: string): Uint8Array {
  const bytes = new Uint8Array(digits.length / 2)
  for (let at = 0; at < bytes.length; at++) bytes[at] = Number.parseInt(digits.slice(2 * at, 2 * at + 2), 16)
  return bytes
}
