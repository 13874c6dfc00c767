import { OspError } from '../../errors.ts'
import { checkFileName } from '../../names.ts'
import type { StoredTask, TaskStore } from '../../ports/clientState.ts'
import type { Log } from '../../ports/log.ts'
import type { Added, CancelledTask, NewTask, TaskVerbs } from '../tasks/taskSteering.ts'
import { isUnfinished, TaskRegistry } from './taskRegistry.ts'
import { keptStatus, type TaskStatus } from './taskStatus.ts'

/** A list of tasks that no client has taken up: what is done about it is kept, and nothing is sent. */
export class StoredTasks implements TaskVerbs {
  readonly #kept: TaskRegistry

  private constructor(kept: TaskRegistry) {
    this.#kept = kept
  }

  /** Nobody else may change the store as long as it is used. */
  static async open(store: TaskStore, wallTime: () => number, log: Log): Promise<StoredTasks> {
    const kept = new TaskRegistry(store, wallTime, log)
    await kept.open()
    return new StoredTasks(kept)
  }

  async list(): Promise<readonly TaskStatus[]> {
    return [...this.#kept].map(keptStatus).sort((a, b) => a.id - b.id)
  }

  add(tasks: readonly NewTask[]): Promise<readonly Added[]> {
    return Promise.all(
      tasks.map((task) =>
        this.#add(task).then(
          (id) => ({ id }),
          (error: unknown) => ({ failure: OspError.from(error) }),
        ),
      ),
    )
  }

  async pause(ids?: readonly number[]): Promise<void> {
    await this.#change(ids, 'paused', ({ state }) => state === 'open')
  }

  /** One that has failed is tried again if it is named. */
  async resume(ids?: readonly number[]): Promise<void> {
    for (const id of ids ?? []) this.#kept.checkName(this.#named(id))
    await this.#change(ids, 'open', ({ state }) => state === 'paused' || (ids !== undefined && state === 'failed'))
  }

  /** What the server has of them is to be removed. */
  async cancel(ids: readonly number[]): Promise<readonly CancelledTask[]> {
    const tasks = [...new Set(ids)].map((id) => this.#named(id))
    // Of one whose name another has now there is nothing to remove.
    const replaced = tasks.filter((task) => this.#kept.isReplaced(task))
    await Promise.all(replaced.map(({ id }) => this.#kept.forget(id)))
    const others = tasks.filter((task) => !replaced.includes(task)).map(({ id }) => id)
    await this.#change(others, 'cancelling', ({ state }) => state !== 'done')
    const gone = replaced.map((task) => ({ ...keptStatus(task), state: 'cancelled' as const, why: undefined }))
    return [...others.map((id) => keptStatus(this.#named(id))), ...gone]
  }

  async #add({ ref, name, digest: algorithm = 'sha256' }: NewTask): Promise<number> {
    const normal = checkFileName(name.normalize('NFC'))
    const known = this.#kept.named(normal)
    if (known) {
      if (known.ref !== ref || known.state === 'cancelling') {
        throw new OspError('usage', `an upload named ${JSON.stringify(normal)} is under way already`)
      }
      // Also where another one is just adding it: what is answered is durable.
      await this.resume([known.id])
      await this.#kept.idle()
      return known.id
    }
    const id = this.#kept.nextId()
    await this.#kept.accept({ id, ref, name: normal, algorithm, state: 'open', size: 0, durable: 0 })
    return id
  }

  async #change(
    ids: readonly number[] | undefined,
    state: StoredTask['state'],
    applies: (task: StoredTask) => boolean,
  ): Promise<void> {
    const tasks = ids ? ids.map((id) => this.#named(id)) : [...this.#kept].filter(isUnfinished)
    await Promise.all(tasks.filter(applies).map(({ id }) => this.#kept.change(id, { state })))
  }

  #named(id: number): StoredTask {
    const task = this.#kept.get(id)
    if (!task) throw new OspError('usage', `there is no upload ${id}`)
    return task
  }
}
