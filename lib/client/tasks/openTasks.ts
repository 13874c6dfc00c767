import { OspError } from '../../errors.ts'
import type { Control } from '../../ports/control.ts'
import { wait } from '../../runtime/wait.ts'
import { type JoinedTasks, joinTasks } from './joinTasks.ts'
import type { LiveTasksOptions } from './liveTasks.ts'
import { isAbsent, serverAbsence } from './serverAbsence.ts'
import { type ServedTasks, serveTasks } from './serveTasks.ts'

/**
 * Has the list of tasks for this client and lets other programs steer it; or, where another program sends, joins that
 * one. Rejects with OspError `data-locked` where neither is possible for long.
 */
export async function openTasks(options: LiveTasksOptions, control: Control): Promise<ServedTasks | JoinedTasks> {
  const { clock } = options
  const until = clock.now() + serverAbsence.mostMs
  for (;;) {
    try {
      return await serveTasks(options, control)
    } catch (error) {
      const isTaken = error instanceof OspError && error.code === 'data-locked'
      if (!isTaken || clock.now() > until) throw error
    }
    try {
      return await joinTasks(control)
    } catch (error) {
      if (!isAbsent(error)) throw error
    }
    await wait(clock, serverAbsence.everyMs, new AbortController().signal)
  }
}
