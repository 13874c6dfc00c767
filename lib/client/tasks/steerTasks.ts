import { OspError } from '../../errors.ts'
import type { TaskStore } from '../../ports/clientState.ts'
import type { Control } from '../../ports/control.ts'
import type { Log } from '../../ports/log.ts'
import type { Clock } from '../../ports/platform.ts'
import { wait } from '../../runtime/wait.ts'
import type { Client } from '../client.ts'
import { StoredTasks } from '../uploads/storedTasks.ts'
import type { TaskStatus } from '../uploads/taskStatus.ts'
import { RemoteTasks } from './remoteTasks.ts'
import { removeNow } from './removeNow.ts'
import { isAbsent, serverAbsence } from './serverAbsence.ts'
import type { Added, CancelledTask, NewTask, TaskSteering, TaskVerbs } from './taskSteering.ts'

export interface TaskControlOptions {
  readonly control: Control
  readonly clock: Clock
  /** The list, opened anew. */
  readonly open: () => TaskStore
  /** A client with that list, so that the server is asked at once to remove what was cancelled; it is closed again. */
  readonly client?: (() => Client) | undefined
  readonly log?: Log | undefined
}

/** The tasks of a user, steered from outside of the program that sends them, if there is one. */
export class TaskControl implements TaskSteering {
  readonly #options: TaskControlOptions
  readonly #remote: RemoteTasks
  sending: boolean | undefined

  constructor(options: TaskControlOptions) {
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

  /** By the program that serves the list; or by this one, which lets nobody else have it meanwhile. */
  async #carryOut<T>(act: (tasks: TaskVerbs) => Promise<T>): Promise<T> {
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

/** Another program asks again in a moment. */
const inUse = () => {
  throw new OspError('shutting-down', 'the list of tasks is being changed')
}
