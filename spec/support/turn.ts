import type { VirtualClock } from './virtualClock.ts'

/** Resolves when everything that is in progress in memory, and waits for nothing else, has happened. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Lets `ms` pass, and waits for the consequences. */
export async function pass(clock: VirtualClock, ms: number): Promise<void> {
  await turn()
  clock.pass(ms)
  await turn()
}
