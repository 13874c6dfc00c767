const digits = new TextEncoder().encode('0123456789abcdef')

/** Returns bytes as lower-case hexadecimal digits. */
export function hex(bytes: Uint8Array): string {
  const codes: number[] = []
  for (const byte of bytes) codes.push(digits[byte >> 4] ?? 0, digits[byte & 15] ?? 0)
  // A string that is concatenated piece by piece would take several times the memory.
  return String.fromCharCode.apply(undefined, codes)
}
