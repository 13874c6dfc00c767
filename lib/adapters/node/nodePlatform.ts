import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { Platform, Random } from '../../ports/platform.ts'
import { nodeClock } from './nodeClock.ts'
import { nodeDigests } from './nodeDigests.ts'

/** The number of random bytes that are generated at once, since each call costs a system call. */
const poolBytes = 4_096

function nodeRandom(): Random {
  let pool = Buffer.alloc(0)
  const take = (length: number) => {
    if (length > poolBytes) return randomBytes(length)
    if (pool.length < length) pool = randomBytes(poolBytes)
    const bytes = pool.subarray(0, length)
    pool = pool.subarray(length)
    return bytes
  }
  return {
    // Copies the bytes, so that a few retained bytes do not retain the whole pool.
    bytes: (length) => new Uint8Array(take(length)),
    fraction: () => take(6).readUIntBE(0, 6) / 2 ** 48,
  }
}

/** Node returns 0 for some empty arrays, whatever the previous checksum is. */
const checksum: Platform['crc32'] = (bytes, start = 0) => (bytes.length > 0 ? crc32(bytes, start) : start)

/** Returns the platform of Node: monotonic and wall clock, cryptographic random numbers, digests and CRC-32. */
export function nodePlatform(): Platform {
  return { clock: nodeClock(), random: nodeRandom(), digests: nodeDigests(), crc32: checksum }
}
