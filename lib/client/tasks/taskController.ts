import { OspError } from '../../errors.ts'
import type { Metadata } from '../../ports/catalogue.ts'
import type { TaskStore } from '../../ports/clientState.ts'
import type { Control } from '../../ports/control.ts'
import type { Log } from '../../ports/log.ts'
import type { Clock, DigestName, Platform } from '../../ports/platform.ts'
import { waitAtMost } from '../../runtime/wait.ts'
import type { Client } from '../client.ts'
import type { ClientStatus } from '../connection/session.ts'
import type { TaskStatus } from '../uploads/taskStatus.ts'
import { remoteOrOwn } from './remoteOrOwn.ts'
import { cancelWaitMs, RemoteTasks } from './remoteTasks.ts'
import { StoredTasks } from './storedTasks.ts'

/** A file to send, which the program that serves the list of tasks can open as well. */
export interface NewTask {
  /** The absolute path of the file. */
  readonly ref: string
  /** The name on the server. */
  readonly name: string
  /** The digest that verifies the file; `sha256` by default. */
  readonly digest?: DigestName | undefined
  /** Texts that the server stores with the file, by key, as in `UploadOptions`. */
  readonly metadata?: Metadata | undefined
  /** The users who get a message about the file, as in `UploadOptions`. */
  readonly to?: readonly string[] | undefined
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
  /** Whether a sending program carried out the last operation; `undefined` at first. */
  readonly sending: boolean | undefined
}

export interface TaskControlOptions {
  /** Creates a client with the state of that directory. It removes cancelled tasks from the server if no program sends. */
  readonly client?: (() => Client) | undefined
  readonly log?: Log | undefined
}

/** Returns the control of a user's tasks for a program that does not send them itself. `open` opens the stored list again. */
export function taskController(
  control: Control,
  platform: Pick<Platform, 'clock' | 'random'>,
  open: () => TaskStore,
  { client, log = () => {} }: TaskControlOptions,
): TaskControl {
  const { clock } = platform
  const remote = new RemoteTasks(control)
  let sending: boolean | undefined

  /** Calls `act` with the program that serves the list, or with the stored list, which is locked meanwhile. */
  const carryOut = <T>(act: (tasks: TaskOperations) => Promise<T>): Promise<T> => {
    const asked = async () => {
      const done = await act(remote)
      sending = true
      return done
    }
    const own = async () => {
      await using _ = await control.serve(() => {
        // The other programs try again after a moment.
        throw new OspError('shutting-down', 'the list of tasks is being changed')
      })
      sending = false
      const stored = new StoredTasks({ tasks: open() }, platform, log)
      await stored.open()
      return await act(stored)
    }
    return remoteOrOwn(clock, asked, own)
  }

  return {
    get sending() {
      return sending
    },
    list: () => carryOut((tasks) => tasks.list()),
    add: (added) => carryOut((tasks) => tasks.add(added)),
    pause: (ids) => carryOut((tasks) => tasks.pause(ids)),
    resume: (ids) => carryOut((tasks) => tasks.resume(ids)),
    cancel: (ids) =>
      carryOut(async (tasks) => {
        const cancelled = await tasks.cancel(ids)
        const left = cancelled.filter(isLeft)
        if (tasks === remote || !client || left.length === 0) return cancelled
        const now = await removeNow(client(), left, clock)
        return cancelled.map((task) => (isLeft(task) ? reportOf(task, now.get(task.id)) : task))
      }),
  }
}

const isLeft = ({ state }: CancelledTask) => state === 'cancelling'

/** Returns the report on a task that was `cancelling`, from its status after another try. */
function reportOf(task: CancelledTask, now: TaskStatus | undefined): CancelledTask {
  if (!now) return { ...task, state: 'cancelled', reason: undefined }
  // A client that the server refused could not ask: the task stays `cancelling`.
  return now.reason?.code === 'unauthorized' ? { ...task, reason: now.reason } : now
}

/** Lets a client remove the bytes of tasks from the server, in one try, and closes it. Resolves with all its tasks by id. */
async function removeNow(client: Client, tasks: readonly CancelledTask[], clock: Clock) {
  const offline = new AbortController()
  const stop = (status: ClientStatus) => {
    if (status === 'waiting' || status === 'refused') offline.abort()
  }
  client.on('status', stop)
  try {
    const uploads = await client.uploads.restore(tasks.map(({ id }) => id))
    const ended = Promise.allSettled(uploads.map(({ done }) => done))
    await waitAtMost(clock, cancelWaitMs, ended, offline.signal)
    return new Map((await client.uploads.tasks()).map((task) => [task.id, task]))
  } finally {
    client.off('status', stop)
    await client.close()
  }
}
