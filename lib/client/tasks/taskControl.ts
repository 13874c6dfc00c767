import type { OspError } from '../../errors.ts'
import type { DigestName } from '../../ports/platform.ts'
import type { TaskStatus } from '../uploads/taskStatus.ts'

/** A file to send, which the program that serves the list of tasks can open as well. */
export interface NewTask {
  /** The absolute path of the file. */
  readonly ref: string
  /** The name on the server. */
  readonly name: string
  /** The digest that verifies the file; `sha256` by default. */
  readonly digest?: DigestName | undefined
}

/** The id of a task that was added or was in the list already; or the error for which there is none. */
export type Added = { readonly id: number } | { readonly failure: OspError }

/** The status of a task after its cancellation. */
export type CancelledTask = Omit<TaskStatus, 'state'> & { readonly state: TaskStatus['state'] | 'cancelled' }

/** The operations on a list of tasks. Unknown ids reject with OspError `usage`, which names them. */
export interface TaskOperations {
  /** Returns the tasks by ascending id. */
  list(): Promise<readonly TaskStatus[]>
  /** Resolves in the order of `tasks` when the additions are durable. A file that belongs to an unfinished task continues that task. */
  add(tasks: readonly NewTask[]): Promise<readonly Added[]>
  /** Pauses all tasks if no ids are given. */
  pause(ids?: readonly number[]): Promise<void>
  /** Continues all paused tasks if no ids are given. */
  resume(ids?: readonly number[]): Promise<void>
  /**
   * Resolves when the server has removed their bytes, or after a few seconds; they are `cancelling` then, which is
   * durable. A published file is never removed.
   */
  cancel(ids: readonly number[]): Promise<readonly CancelledTask[]>
}

/** Controls the tasks of a user: by the program that sends them, or in the stored list if there is none. */
export interface TaskControl extends TaskOperations {
  /** Whether a program that sends carried out the last operation; `undefined` at first. */
  readonly sending: boolean | undefined
}
