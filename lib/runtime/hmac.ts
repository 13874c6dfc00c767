import type { Digests } from '../ports/platform.ts'
import { digestOfParts } from './incrementalDigest.ts'

/** The block size of SHA-256. */
const blockBytes = 64

/** Resolves with the HMAC-SHA-256 (RFC 2104) of a message. The key has at most 64 bytes. */
export async function hmac(digests: Digests, key: Uint8Array, message: Uint8Array): Promise<Uint8Array> {
  await digests.load('sha256')
  const padded = (byte: number) => Uint8Array.from({ length: blockBytes }, (_, at) => (key[at] ?? 0) ^ byte)
  const inner = digestOfParts(digests, 'sha256', [padded(0x36), message])
  return digestOfParts(digests, 'sha256', [padded(0x5c), inner])
}
