import { OspError } from '../../errors.ts'
import type { Clock } from '../../ports/platform.ts'
import { Backoff } from '../../runtime/backoff.ts'
import { Waits } from '../../runtime/wait.ts'
import { OutcomeUnknown } from './steps.ts'

/** The time for which a step is repeated. A failover of a database takes 10 to 30 s. */
const retryForMs = 30_000

/** Repeats steps whose outcome is unknown. Each step is idempotent, so it takes effect once. */
export class StepRetries {
  readonly #clock: Clock
  readonly #waits: Waits

  /** Once `signal` aborts, no step is repeated. */
  constructor(clock: Clock, signal: AbortSignal) {
    this.#clock = clock
    this.#waits = new Waits(clock, signal)
  }

  /** Resolves after `ms`. Rejects with OspError `closed` if the signal aborts first. */
  wait(ms: number): Promise<void> {
    return this.#waits.wait(ms)
  }

  /** Runs a step until its outcome is known. Rejects with OspError `internal` if it remains unknown. */
  async run<T>(step: () => Promise<T>): Promise<T> {
    let backoff: Backoff | undefined
    for (;;) {
      try {
        return await step()
      } catch (cause) {
        if (!(cause instanceof OutcomeUnknown)) throw cause
        backoff ??= new Backoff({ clock: this.#clock, firstMs: 20, mostMs: 1_000, retryForMs })
        const text = 'the shared store of the cluster does not answer'
        await this.wait(backoff.next(new OspError('internal', text, { cause })))
      }
    }
  }
}

/** The maximum number of attempts to make a change that other servers prevent. */
const tries = 16

/**
 * Attempts a change until the result is not `undefined`. An attempt that has no result ends what other servers have begun. Rejects
 * with OspError `file-busy` after 16 attempts.
 */
export async function untilChanged<T>(attempt: () => Promise<T | undefined>): Promise<T> {
  for (let left = tries; left > 0; left--) {
    const result = await attempt()
    if (result !== undefined) return result
  }
  throw new OspError('file-busy', 'other servers are storing or changing files of the same names')
}

/** Ignores the failure of a step that a later step makes up for. Rethrows errors that are not OspErrors. */
export function ignoreFailedStep(error: unknown): void {
  if (!(error instanceof OspError)) throw error
}
