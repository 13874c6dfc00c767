import { OspError } from '../../errors.ts'
import type { TaskStore } from '../../ports/clientState.ts'
import type { Control } from '../../ports/control.ts'
import type { Log } from '../../ports/log.ts'
import type { Clock } from '../../ports/platform.ts'
import { wait } from '../../runtime/wait.ts'
import type { Client } from '../client.ts'
import type { ClientStatus } from '../connection/session.ts'
import type { TaskStatus } from '../uploads/taskStatus.ts'
import { cancelWaitMs, isAbsent, RemoteTasks, serverAbsence } from './remoteTasks.ts'
import { StoredTasks } from './storedTasks.ts'
import type { Added, CancelledTask, NewTask, TaskControl, TaskOperations } from './taskControl.ts'

export interface TaskControllerOptions {
  readonly control: Control
  readonly clock: Clock
  /** Opens the list again. */
  readonly open: () => TaskStore
  /** Creates a client with that list, which asks the server at once to remove cancelled tasks, and is closed again. */
  readonly client?: (() => Client) | undefined
  readonly log?: Log | undefined
}

/** Controls the tasks of a user from outside of the program that sends them, if there is one. */
export class TaskController implements TaskControl {
  readonly #options: TaskControllerOptions
  readonly #remote: RemoteTasks
  sending: boolean | undefined

  constructor(options: TaskControllerOptions) {
    this.#options = options
    this.#remote = new RemoteTasks(options.control)
  }

  list(): Promise<readonly TaskStatus[]> {
    return this.#carryOut((tasks) => tasks.list())
  }

  add(added: readonly NewTask[]): Promise<readonly Added[]> {
    return this.#carryOut((tasks) => tasks.add(added))
  }

  pause(ids?: readonly number[]): Promise<void> {
    return this.#carryOut((tasks) => tasks.pause(ids))
  }

  resume(ids?: readonly number[]): Promise<void> {
    return this.#carryOut((tasks) => tasks.resume(ids))
  }

  cancel(ids: readonly number[]): Promise<readonly CancelledTask[]> {
    return this.#carryOut(async (tasks) => {
      const cancelled = await tasks.cancel(ids)
      const left = cancelled.filter(({ state }) => state === 'cancelling')
      const { client, clock } = this.#options
      if (tasks === this.#remote || !client || left.length === 0) return cancelled
      const now = new Map((await removeNow(client(), left, clock)).map((task) => [task.id, task]))
      return cancelled.map((task) => now.get(task.id) ?? task)
    })
  }

  /** Calls `act` with the program that serves the list, or with the stored list, which is locked meanwhile. */
  async #carryOut<T>(act: (tasks: TaskOperations) => Promise<T>): Promise<T> {
    const { control, clock } = this.#options
    const until = clock.now() + serverAbsence.mostMs
    for (;;) {
      try {
        const done = await act(this.#remote)
        this.sending = true
        return done
      } catch (error) {
        if (!isAbsent(error)) throw error
      }
      try {
        await using _ = await control.serve(inUse)
        this.sending = false
        return await act(await this.#openStored())
      } catch (error) {
        const isTaken = error instanceof OspError && error.code === 'data-locked'
        if (!isTaken || clock.now() > until) throw error
      }
      await wait(clock, serverAbsence.everyMs, new AbortController().signal)
    }
  }

  async #openStored(): Promise<StoredTasks> {
    const { open, clock, log = () => {} } = this.#options
    return await StoredTasks.open(open(), () => clock.wallTime(), log)
  }
}

/** Refuses the requests of other programs during a change. They try again after a moment. */
const inUse = () => {
  throw new OspError('shutting-down', 'the list of tasks is being changed')
}

/**
 * Has a client remove the bytes of tasks that are `cancelling` from the server, in one try of a few seconds at most, and closes it.
 * Resolves with the status of the tasks after that.
 */
async function removeNow(
  client: Client,
  tasks: readonly CancelledTask[],
  clock: Clock,
): Promise<readonly CancelledTask[]> {
  const over = new AbortController()
  const stop = (status: ClientStatus) => {
    if (status === 'waiting' || status === 'refused') over.abort()
  }
  client.on('status', stop)
  try {
    const uploads = await client.uploads.restore(tasks.map(({ id }) => id))
    const ended = Promise.allSettled(uploads.map(({ done }) => done))
    await Promise.race([ended, wait(clock, cancelWaitMs, over.signal).catch(() => {})])
    over.abort()
    const now = new Map((await client.uploads.tasks()).map((task) => [task.id, task]))
    return tasks.map((task) => {
      const found = now.get(task.id)
      if (!found) return { ...task, state: 'cancelled' as const, why: undefined }
      // A client that the server refused could not ask: the task stays `cancelling`.
      return found.why?.code === 'unauthorized' ? { ...task, why: found.why } : found
    })
  } finally {
    over.abort()
    client.off('status', stop)
    await client.close()
  }
}
