import type { Clock } from '../../ports/platform.ts'
import { wait } from '../../runtime/wait.ts'
import type { Client } from '../client.ts'
import type { ClientStatus } from '../connection/session.ts'
import { cancelWaitMs } from './remoteTasks.ts'
import type { CancelledTask } from './taskSteering.ts'

/**
 * Has a client remove what the server has of tasks that are `cancelling`, in one try that takes a few seconds at most, and
 * closes it. Resolves with the tasks as they stand then.
 */
export async function removeNow(
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
    const ended = Promise.allSettled(uploads.map(({ done: finished }) => finished))
    await Promise.race([ended, wait(clock, cancelWaitMs, over.signal).catch(() => {})])
    over.abort()
    const now = new Map((await client.uploads.tasks()).map((task) => [task.id, task]))
    return tasks.map((task) => {
      const found = now.get(task.id)
      if (!found) return { ...task, state: 'cancelled' as const, why: undefined }
      // Whom the server did not let in could not ask it: that is still to be done.
      return found.why?.code === 'unauthorized' ? { ...task, why: found.why } : found
    })
  } finally {
    over.abort()
    client.off('status', stop)
    await client.close()
  }
}
