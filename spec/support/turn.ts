import type { VirtualClock } from './virtualClock.ts'

/** Resolves when everything that is under way in memory, and waits for nothing else, has happened. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Lets `ms` pass, and what that leads to happen. */
export async function pass(clock: VirtualClock, ms: number): Promise<void> {
  await turn()
  clock.pass(ms)
  await turn()
}
