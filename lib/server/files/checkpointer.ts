import { OspError } from '../../errors.ts'
import type { Limits } from '../../limits.ts'
import type { Clock } from '../../ports/platform.ts'

export interface CheckpointerOptions {
  readonly clock: Clock
  readonly limits: Limits
  /** Bytes that a checkpoint made now would add to those that are durable. */
  readonly pending: () => number
  /** Makes a checkpoint. */
  readonly record: () => Promise<void>
}

/** When a transfer makes its checkpoints: after so many bytes, or so long after the first byte that is not durable. */
export class Checkpointer {
  readonly #options: CheckpointerOptions
  #underWay: Promise<void> | undefined
  #alarm: Disposable | undefined
  #holds = 0
  #failure: OspError | undefined

  constructor(options: CheckpointerOptions) {
    this.#options = options
  }

  /** What a checkpoint that was made by itself has failed with. No further one is made then. */
  get failure(): OspError | undefined {
    return this.#failure
  }

  fail(error: unknown): void {
    this.#failure ??= OspError.from(error)
  }

  /** Something may have become due. */
  look(): void {
    const { clock, limits, pending } = this.#options
    if (this.#failure || this.#holds > 0 || pending() <= 0) return
    if (pending() >= limits.checkpointBytes) {
      this.#silence()
      this.#begin()
    } else {
      this.#alarm ??= clock.alarm(clock.now() + limits.checkpointMs, () => {
        this.#alarm = undefined
        this.#begin()
      })
    }
  }

  /** Resolves when none is under way; none begins by itself until what it resolves with is disposed. */
  async hold(): Promise<Disposable> {
    this.#holds++
    this.#silence()
    await this.#underWay
    return {
      [Symbol.dispose]: () => {
        this.#holds--
        this.look()
      },
    }
  }

  #begin(): void {
    this.#underWay ??= this.#options
      .record()
      .catch((error: unknown) => this.fail(error))
      .finally(() => {
        this.#underWay = undefined
        this.look()
      })
  }

  #silence(): void {
    this.#alarm?.[Symbol.dispose]()
    this.#alarm = undefined
  }
}
