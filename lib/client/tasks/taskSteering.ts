import type { OspError } from '../../errors.ts'
import type { DigestName } from '../../ports/platform.ts'
import type { TaskStatus } from '../uploads/taskStatus.ts'

/** A file to send, which the program that has the list of tasks can find as well. */
export interface NewTask {
  /** Of a file, its absolute path. */
  readonly ref: string
  /** On the server. */
  readonly name: string
  /** The digest that it is verified by; by default SHA-256. */
  readonly digest?: DigestName | undefined
}

/** The number of a task that was added, or is there already; or why there is none. */
export type Added = { readonly id: number } | { readonly failure: OspError }

/** A task that was to be cancelled, as it stands. */
export type CancelledTask = Omit<TaskStatus, 'state'> & { readonly state: TaskStatus['state'] | 'cancelled' }

/** What can be done about a list of tasks. Numbers of no task reject with OspError `usage`, which names them. */
export interface TaskVerbs {
  /** By rising number. */
  list(): Promise<readonly TaskStatus[]>
  /** In the order of `tasks`, when what was added is durable. What is an unfinished task already is that task, and goes on. */
  add(tasks: readonly NewTask[]): Promise<readonly Added[]>
  /** All, if none is named; so for `resume`. */
  pause(ids?: readonly number[]): Promise<void>
  resume(ids?: readonly number[]): Promise<void>
  /**
   * Resolves when the server has removed what it has of them, or a while has gone by; then they are `cancelling`, which
   * is durable. A published file is never removed.
   */
  cancel(ids: readonly number[]): Promise<readonly CancelledTask[]>
}

/** Steers the tasks of a user: by the program that sends them, or, where none does, in the list that is kept. */
export interface TaskSteering extends TaskVerbs {
  /** Whether what was last done was done by a program that sends; `undefined` at first. */
  readonly sending: boolean | undefined
}
