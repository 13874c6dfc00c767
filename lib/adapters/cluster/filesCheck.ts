import { OspError } from '../../errors.ts'
import type { Clock } from '../../ports/platform.ts'
import { wait } from '../../runtime/wait.ts'
import { ignoreFailedStep } from './stepRetries.ts'

/** The time between two checks. */
const checkMs = 2_000
/** The time within which the directory answers. */
const answerMs = 5_000

/** Checks at intervals whether the shared directory of a cluster answers. */
export class FilesCheck {
  readonly #check: () => Promise<void>
  readonly #clock: Clock
  /** When the check that is under way began. */
  #beganMs: number | undefined
  #failure: string | undefined

  /** Begins now, and ends when `closing` aborts. `check` rejects with an OspError if the directory cannot be used. */
  constructor(check: () => Promise<void>, clock: Clock, closing: AbortSignal) {
    this.#check = check
    this.#clock = clock
    void this.#repeat(closing).catch(ignoreFailedStep)
  }

  /** Why the directory cannot be used, or `undefined`. */
  get problem(): string | undefined {
    const waitedMs = this.#beganMs === undefined ? 0 : this.#clock.now() - this.#beganMs
    if (waitedMs <= answerMs) return this.#failure
    return `the shared directory has not answered for ${Math.floor(waitedMs / 1_000)} s`
  }

  /** A directory that does not answer blocks one check, and no other one begins. */
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

/** The message of the error contains paths. */
function failureOf(error: unknown): string {
  const isOther = error instanceof OspError && error.code === 'data-format'
  return isOther ? 'the shared directory is not that of the cluster' : 'the shared directory cannot be read'
}
