import type { Platform } from '../../ports/platform.ts'

/** Simulates operations that take up to `mostMs` of the platform's clock and take effect halfway through that time. */
export function simulatedLatency(mostMs: number, platform: () => Platform): MemoryConditions['runDurable'] {
  const wait = () => {
    const { clock, random } = platform()
    const ms = (random.fraction('time of a storage in memory') * mostMs) / 2
    return new Promise<void>((resolve) => clock.alarm(clock.now() + ms, resolve))
  }
  return async (act) => {
    if (mostMs === 0) return act()
    await wait()
    const result = await act()
    await wait()
    return result
  }
}

/** The limits and faults of a storage in memory. */
export interface MemoryConditions {
  /** Bytes. */
  readonly capacity: number
  /** Returns whether the present flush fails. */
  readonly flushFails: () => boolean
  /** Runs a durable operation, and resolves with its result. */
  readonly runDurable: <T>(act: () => T | Promise<T>) => Promise<T>
}

/** No limits, no faults and no delays. */
export const idealConditions: MemoryConditions = {
  capacity: Number.POSITIVE_INFINITY,
  flushFails: () => false,
  runDurable: async (act) => act(),
}
