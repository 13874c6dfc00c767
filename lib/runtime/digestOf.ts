import { KiB } from '../limits.ts'
import type { DigestName, Digests } from '../ports/platform.ts'

/** Bytes of each read. */
const readBytes = 256 * KiB

/**
 * Resolves with the digest of the first `length` bytes from `read`, or with `undefined` if there are fewer. `read`
 * resolves with the number of bytes that it has put into the buffer, and with 0 at the end.
 */
export async function digestOf(
  digests: Digests,
  algorithm: DigestName,
  length: number,
  read: (into: Uint8Array, offset: number) => Promise<number>,
): Promise<Uint8Array | undefined> {
  await digests.load(algorithm)
  const digest = digests.create(algorithm)
  const buffer = new Uint8Array(Math.min(length, readBytes))
  for (let at = 0; at < length; ) {
    const count = await read(buffer.subarray(0, Math.min(buffer.length, length - at)), at)
    if (count === 0) return undefined
    digest.update(buffer.subarray(0, count))
    at += count
  }
  return digest.digest()
}
