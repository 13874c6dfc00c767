import { OspError } from '../../errors.ts'
import type { Limits } from '../../limits.ts'
import type { Clock } from '../../ports/platform.ts'
import type { Checkpoint } from '../../ports/storage.ts'
import { Alarm } from '../../runtime/alarm.ts'

/** Makes the checkpoints of a transfer: after `checkpointBytes`, or `checkpointMs` after the first byte that is not durable. */
export class Checkpointer {
  readonly #clock: Clock
  readonly #limits: Limits
  readonly #pending: () => number
  readonly #makeCheckpoint: () => Promise<void>
  readonly #alarm: Alarm
  #recording: Promise<void> | undefined
  #holds = 0
  /** The first error of a checkpoint. No further checkpoint is made after it. */
  failure: OspError | undefined

  /** `pending` returns the number of written bytes after the last checkpoint. */
  constructor(clock: Clock, limits: Limits, pending: () => number, makeCheckpoint: () => Promise<void>) {
    this.#clock = clock
    this.#limits = limits
    this.#pending = pending
    this.#makeCheckpoint = makeCheckpoint
    this.#alarm = new Alarm(clock, () => this.#record())
  }

  fail(error: unknown): void {
    this.failure ??= OspError.from(error)
  }

  /** Makes a checkpoint or sets the alarm, if there are pending bytes. */
  update(): void {
    const pending = this.#pending()
    if (this.failure || this.#holds > 0 || pending <= 0) return
    if (pending >= this.#limits.checkpointBytes) {
      this.#alarm.stop()
      this.#record()
    } else this.#alarm.by(this.#clock.now() + this.#limits.checkpointMs)
  }

  /** Resolves when no checkpoint is being made. None is made until the result is disposed. */
  async hold(): Promise<Disposable> {
    this.#holds++
    this.#alarm.stop()
    await this.#recording
    return {
      [Symbol.dispose]: () => {
        this.#holds--
        this.update()
      },
    }
  }

  #record(): void {
    this.#recording ??= this.#makeCheckpoint()
      .catch((error: unknown) => this.fail(error))
      .finally(() => {
        this.#recording = undefined
        this.update()
      })
  }
}

/**
 * Returns `checkpoints` with `latest` appended, up to `maxCount`. Beyond that, the checkpoint is dropped whose neighbours are
 * closest to each other, relative to their distance from the latest. So the checkpoints cover the whole file, most densely at
 * its end.
 */
export function withCheckpoint(
  checkpoints: readonly Checkpoint[],
  latest: Checkpoint,
  maxCount: number,
): readonly Checkpoint[] {
  const all = [...checkpoints, latest]
  if (all.length <= maxCount) return all
  const gaps = checkpoints.map(({ offset }, at) => {
    const [before = 0, after = 0] = [all[at - 1]?.offset, all[at + 1]?.offset]
    return (after - before) / (latest.offset - offset)
  })
  const least = gaps.indexOf(Math.min(...gaps))
  return all.filter((_, at) => at !== least)
}
