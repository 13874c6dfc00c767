import { OspError } from '../../errors.ts'
import type { Clock } from '../../ports/platform.ts'
import type { FileSource } from '../../ports/source.ts'
import { wait } from '../../runtime/wait.ts'
import type { Upload } from '../uploads/upload.ts'
import type { Uploads } from '../uploads/uploads.ts'
import type { CancelledTask, NewTask } from './taskSteering.ts'

export interface LiveTasksOptions {
  readonly uploads: Uploads
  readonly clock: Clock
  /** The source of a task that another program adds. */
  readonly reopen: (ref: string) => FileSource
}

/** What can be done about the uploads of a client for others. */
export class LiveTasks {
  readonly #options: LiveTasksOptions

  constructor(options: LiveTasksOptions) {
    this.#options = options
  }

  add({ ref, name, digest }: NewTask): Promise<Upload> {
    return this.#options.uploads.add(this.#options.reopen(ref), { name, digest })
  }

  /** Resolves when the server has removed what it has of them, or refused to, and after `waitMs` at the latest. */
  async cancel(ids: readonly number[], waitMs: number): Promise<readonly CancelledTask[]> {
    const { uploads, clock } = this.#options
    const before = await uploads.tasks()
    const known = new Map(before.map((task) => [task.id, task]))
    for (const id of ids) if (!known.has(id)) throw new OspError('usage', `there is no upload ${id}`)
    const over = new AbortController()
    const cancelled = Promise.allSettled(ids.map((id) => uploads.cancel([id])))
    const waited = wait(clock, waitMs, over.signal).catch(() => {})
    await Promise.race([cancelled, waited])
    over.abort()
    const now = new Map((await uploads.tasks()).map((task) => [task.id, task]))
    return ids.flatMap((id) => {
      const task = now.get(id)
      const was = known.get(id)
      if (task) return [task]
      return was ? [{ ...was, state: 'cancelled' as const, why: undefined }] : []
    })
  }
}
