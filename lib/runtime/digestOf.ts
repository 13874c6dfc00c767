import { KiB } from '../limits.ts'
import type { DigestName, Digests } from '../ports/platform.ts'

/** Bytes that are read at once. */
const readBytes = 256 * KiB

/**
 * The digest of the first `length` bytes that `read` gives, which resolves with how many it has put into the buffer: with 0 at
 * the end. `undefined` where they end before.
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
