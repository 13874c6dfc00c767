const digits = '0123456789abcdef'

/** The two digits of each byte. */
const pairs = Array.from({ length: 256 }, (_, byte) => `${digits[byte >> 4]}${digits[byte & 15]}`)

/** Returns bytes as lower-case hexadecimal digits. */
export function hex(bytes: Uint8Array): string {
  // A string that is concatenated piece by piece would take several times the memory.
  return Array.from(bytes, (byte) => pairs[byte]).join('')
}
