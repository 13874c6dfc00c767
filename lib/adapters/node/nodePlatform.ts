import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { Clock, Platform, Random } from '../../ports/platform.ts'
import { nodeDigests } from './nodeDigests.ts'

/** The longest delay that setTimeout takes, in milliseconds; a longer one would fire at once. */
const longestDelayMs = 2 ** 31 - 1

const clock: Clock = {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  alarm(atMs, run) {
    let timer: NodeJS.Timeout
    const arm = () => {
      const delayMs = Math.ceil(atMs - performance.now())
      timer = setTimeout(ring, Math.min(Math.max(delayMs, 1), longestDelayMs))
    }
    // A timer can fire early, by its rounding or because its delay was cut.
    const ring = () => (performance.now() < atMs ? arm() : run())
    arm()
    return { [Symbol.dispose]: () => clearTimeout(timer) }
  },
}

/** Random bytes are drawn so many at once: each draw costs a system call. */
const drawnBytes = 4_096

function nodeRandom(): Random {
  let drawn = Buffer.alloc(0)
  const take = (length: number) => {
    if (length > drawnBytes) return randomBytes(length)
    if (drawn.length < length) drawn = randomBytes(drawnBytes)
    const bytes = drawn.subarray(0, length)
    drawn = drawn.subarray(length)
    return bytes
  }
  return {
    // A copy, or 16 bytes that are kept would keep all that were drawn with them.
    bytes: (length) => Uint8Array.from(take(length)),
    fraction: () => take(6).readUIntBE(0, 6) / 2 ** 48,
  }
}

/** The platform of Node: its monotonic and wall clocks, its cryptographic random, its digests and CRC-32. */
export function nodePlatform(): Platform {
  return { clock, random: nodeRandom(), digests: nodeDigests(), crc32: (bytes, start = 0) => crc32(bytes, start) }
}
