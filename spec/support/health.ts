import { setTimeout as sleep } from 'node:timers/promises'
import type { Running } from './processes.ts'

/** An answer of a health port. */
export interface HealthAnswer {
  readonly status: number
  readonly body: unknown
}

/** Resolves with a function that requests a path at the health port of a daemon. */
export async function healthOf(running: Running): Promise<(path: string) => Promise<HealthAnswer>> {
  const [, port] = await running.printed(/ info {2}health-listening host=127\.0\.0\.1 port=([1-9]\d*)$/mu)
  return async (path) => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`)
    return { status: answer.status, body: await answer.json() }
  }
}

/** Requests `/ready` until the answer has this status. */
export async function untilReady(get: (path: string) => Promise<HealthAnswer>, status: number): Promise<HealthAnswer> {
  for (;;) {
    const answer = await get('/ready')
    if (answer.status === status) return answer
    await sleep(50)
  }
}
