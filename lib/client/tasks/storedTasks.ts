import { OspError } from '../../errors.ts'
import { checkFileName } from '../../names.ts'
import type { StoredTask } from '../../ports/clientState.ts'
import { givenMetadata, hasEnded, nameTaken, TaskRegistry, unknownTask } from '../uploads/taskRegistry.ts'
import { storedStatus, type TaskStatus } from '../uploads/taskStatus.ts'
import type { Added, CancelledTask, NewTask, TaskOperations } from './taskController.ts'

/** A list of tasks that no client has restored. Changes are stored, and nothing is sent. No other program may change it. */
export class StoredTasks extends TaskRegistry implements TaskOperations {
  async list(): Promise<readonly TaskStatus[]> {
    return [...this].map(storedStatus).sort((a, b) => a.id - b.id)
  }

  add(tasks: readonly NewTask[]): Promise<readonly Added[]> {
    const failed = (error: unknown) => ({ failure: OspError.from(error) })
    return Promise.all(tasks.map((task) => this.#add(task).catch(failed)))
  }

  async pause(ids?: readonly number[]): Promise<void> {
    await this.#change(ids, 'paused', ({ state }) => state === 'open')
  }

  /** Tries a failed task again only if its id is given. */
  async resume(ids?: readonly number[]): Promise<void> {
    for (const id of ids ?? []) this.checkName(this.#named(id))
    await this.#change(ids, 'open', ({ state }) => state === 'paused' || (ids !== undefined && state === 'failed'))
  }

  /** Marks the tasks, so that the next program removes their bytes from the server. */
  async cancel(ids: readonly number[]): Promise<readonly CancelledTask[]> {
    const tasks = [...new Set(ids)].map((id) => this.#named(id))
    // If another task has the name now, there is nothing to remove.
    const replaced = tasks.filter((task) => this.isReplaced(task))
    await Promise.all(replaced.map(({ id }) => this.forget(id)))
    const others = tasks.filter((task) => !replaced.includes(task)).map(({ id }) => id)
    await this.#change(others, 'cancelling', ({ state }) => state !== 'done')
    const gone = replaced.map((task) => ({ ...storedStatus(task), state: 'cancelled' as const, reason: undefined }))
    return [...others.map((id) => storedStatus(this.#named(id))), ...gone]
  }

  async #add({ ref, name, digest: algorithm = 'sha256', metadata, to }: NewTask): Promise<Added> {
    const normal = checkFileName(name.normalize('NFC'))
    const known = this.named(normal)
    if (known) {
      if (known.ref !== ref || known.state === 'cancelling') throw nameTaken(normal)
      this.checkRecipients(known, to)
      // Also if another call is just adding it: the answer means that it is durable.
      await this.resume([known.id])
      await this.idle()
      return { id: known.id }
    }
    const id = this.nextId()
    const given = { ...givenMetadata(metadata), ...this.noticeTo(to) }
    await this.accept([{ id, ref, name: normal, algorithm, ...given, state: 'open', size: 0, durable: 0 }])
    return { id }
  }

  async #change(ids: readonly number[] | undefined, state: StoredTask['state'], when: (task: StoredTask) => boolean) {
    const tasks = ids ? ids.map((id) => this.#named(id)) : [...this].filter((task) => !hasEnded(task.state))
    await Promise.all(tasks.filter(when).map(({ id }) => this.change(id, { state })))
  }

  #named(id: number): StoredTask {
    const task = this.get(id)
    if (!task) throw unknownTask(id)
    return task
  }
}
