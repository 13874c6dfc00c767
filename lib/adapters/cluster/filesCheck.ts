import { OspError } from '../../errors.ts'
import type { Clock } from '../../ports/platform.ts'
import { wait } from '../../runtime/wait.ts'
import { ignoreFailedStep } from './stepRetries.ts'

/** The time between two checks. */
const checkMs = 2_000
/** The time within which the directory must respond. */
const answerMs = 5_000

/** Checks at intervals whether the shared directory of a cluster is available. */
export class FilesCheck {
  readonly #check: () => Promise<void>
  readonly #clock: Clock
  /** The time at which the running check began. */
  #beganMs: number | undefined
  #failure: string | undefined

  /** Starts the checks, which end when `closing` aborts. `check` rejects with an OspError if the directory cannot be used. */
  constructor(check: () => Promise<void>, clock: Clock, closing: AbortSignal) {
    this.#check = check
    this.#clock = clock
    void this.#repeat(closing).catch(ignoreFailedStep)
  }

  /** The reason why the directory cannot be used, or `undefined`. */
  get problem(): string | undefined {
    const waitedMs = this.#beganMs === undefined ? 0 : this.#clock.now() - this.#beganMs
    if (waitedMs <= answerMs) return this.#failure
    return `the shared directory has not responded for ${Math.floor(waitedMs / 1_000)} s`
  }

  /** Runs the checks one after another. A directory that does not respond blocks the running check, and no other check begins. */
  async #repeat(closing: AbortSignal): Promise<void> {
    for (;;) {
      this.#beganMs = this.#clock.now()
      try {
        await this.#check()
        this.#failure = undefined
      } catch (error) {
        this.#failure = failureOf(error)
      }
      this.#beganMs = undefined
      await wait(this.#clock, checkMs, closing)
    }
  }
}

/** Returns a sentence for an error, whose own message contains paths. */
function failureOf(error: unknown): string {
  const isOther = error instanceof OspError && error.code === 'data-format'
  return isOther ? 'the shared directory does not belong to the cluster' : 'the shared directory cannot be read'
}
