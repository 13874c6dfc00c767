import { OspError } from '../../errors.ts'
import type { Clock } from '../../ports/platform.ts'
import { wait } from '../../runtime/wait.ts'

/** The time for which a program waits for a resource that another program uses briefly, and the interval of its attempts. */
const serverAbsence = { mostMs: 20_000, everyMs: 50 } as const

/** Whether the error means that no program serves the resource, or that the program is about to end. */
export function isAbsent(error: unknown): boolean {
  return error instanceof OspError && ['unreachable', 'shutting-down', 'link-lost'].includes(error.code)
}

/** Calls `remote`, or `own` if no program serves the resource. Repeats both on `data-locked`, for a limited time. */
export async function remoteOrOwn<T>(clock: Clock, remote: () => Promise<T>, own: () => Promise<T>): Promise<T> {
  const until = clock.now() + serverAbsence.mostMs
  for (;;) {
    try {
      return await remote()
    } catch (error) {
      if (!isAbsent(error)) throw error
    }
    try {
      return await own()
    } catch (error) {
      const isTaken = error instanceof OspError && error.code === 'data-locked'
      if (!isTaken || clock.now() > until) throw error
    }
    await wait(clock, serverAbsence.everyMs, new AbortController().signal)
  }
}
