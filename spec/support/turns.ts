import { setTimeout as pause } from 'node:timers/promises'

/** Resolves when `holds` returns true, for conditions without an event; it is called every few milliseconds. */
export async function turns(holds: () => boolean): Promise<void> {
  while (!holds()) await pause(5)
}
