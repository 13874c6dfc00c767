import { setTimeout as pause } from 'node:timers/promises'

/** Resolves once `holds` is true of something that has no event; it is asked every few milliseconds. */
export async function turns(holds: () => boolean): Promise<void> {
  while (!holds()) await pause(5)
}
