import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { Clock, Platform, Random } from '../../ports/platform.ts'
import { nodeDigests } from './nodeDigests.ts'

/** The longest delay that setTimeout supports, in milliseconds. A longer one would fire immediately. */
const longestDelayMs = 2 ** 31 - 1

/** Each link has several alarms, so an alarm is one object without closures. */
class NodeAlarm implements Disposable {
  readonly #atMs: number
  readonly #run: () => void
  #timer: NodeJS.Timeout

  constructor(atMs: number, run: () => void) {
    this.#atMs = atMs
    this.#run = run
    this.#timer = this.#arm()
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
  }

  #arm(): NodeJS.Timeout {
    const delayMs = Math.ceil(this.#atMs - performance.now())
    return setTimeout(ring, Math.min(Math.max(delayMs, 1), longestDelayMs), this)
  }

  /** A timer can fire early, because of rounding or because its delay was limited. */
  ring(): void {
    if (performance.now() < this.#atMs) this.#timer = this.#arm()
    else this.#run()
  }
}

const ring = (alarm: NodeAlarm) => alarm.ring()

const clock: Clock = {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  alarm: (atMs, run) => new NodeAlarm(atMs, run),
}

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
    bytes: (length) => Uint8Array.from(take(length)),
    fraction: () => take(6).readUIntBE(0, 6) / 2 ** 48,
  }
}

/** Node returns 0 for some empty arrays, whatever the previous checksum is. */
const checksum: Platform['crc32'] = (bytes, start = 0) => (bytes.length > 0 ? crc32(bytes, start) : start)

/** Returns the platform of Node: monotonic and wall clock, cryptographic random numbers, digests and CRC-32. */
export function nodePlatform(): Platform {
  return { clock, random: nodeRandom(), digests: nodeDigests(), crc32: checksum }
}
