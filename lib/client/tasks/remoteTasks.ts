import type { z } from 'zod'
import { type ErrorCode, OspError } from '../../errors.ts'
import type { Control } from '../../ports/control.ts'
import type { Clock } from '../../ports/platform.ts'
import { wait } from '../../runtime/wait.ts'
import type { TaskStatus } from '../uploads/taskStatus.ts'
import { answers, groupsOf, readAnswer, readFailure, requestBounds, type TaskRequest } from './requests.ts'
import type { Added, CancelledTask, NewTask, TaskOperations } from './taskController.ts'

/** The time for which a cancellation waits for the server. */
export const cancelWaitMs = 5_000

/** The time for which a program waits while another one has the list of tasks for a moment, and the interval of its tries. */
const serverAbsence = { mostMs: 20_000, everyMs: 50 } as const

const absenceCodes: readonly ErrorCode[] = ['unreachable', 'shutting-down', 'link-lost']

/** Whether the error means that no program serves the tasks, or that the program is about to end. */
export function isAbsent(error: unknown): boolean {
  return error instanceof OspError && absenceCodes.includes(error.code)
}

/** Calls `remote`; or `own` if no program serves the tasks. Repeats both on `data-locked`, for a limited time. */
export async function remoteOrOwn<T>(clock: Clock, remote: () => Promise<T>, own: () => Promise<T>): Promise<T> {
  const until = clock.now() + serverAbsence.mostMs
  for (;;) {
    try {
      return await remote()
    } catch (error) {
      if (!isAbsent(error)) throw error
    }
    try {
      return await own()
    } catch (error) {
      const isTaken = error instanceof OspError && error.code === 'data-locked'
      if (!isTaken || clock.now() > until) throw error
    }
    await wait(clock, serverAbsence.everyMs, new AbortController().signal)
  }
}

/** The tasks of another program, which serves them. */
export class RemoteTasks implements TaskOperations {
  readonly #control: Control

  constructor(control: Control) {
    this.#control = control
  }

  async list(): Promise<readonly TaskStatus[]> {
    const all: TaskStatus[] = []
    for (;;) {
      const { tasks, more } = await this.#ask({ do: 'list', after: all.at(-1)?.id ?? 0 }, answers.list)
      all.push(...(tasks as readonly TaskStatus[]))
      if (!more) return all
    }
  }

  /** `waiter`: the number of this program as a subscriber to their ends. */
  async add(tasks: readonly NewTask[], waiter?: number): Promise<readonly Added[]> {
    const all: Added[] = []
    for (const group of groupsOf(tasks, requestBounds.added, requestBounds.addedBytes)) {
      const request: TaskRequest = { do: 'add', tasks: group, ...(waiter !== undefined && { waiter }) }
      const { added } = await this.#ask(request, answers.add)
      all.push(...added.map((each) => ('id' in each ? each : { failure: readFailure(each) })))
    }
    return all
  }

  async pause(ids?: readonly number[]): Promise<void> {
    for (const part of partsOf(ids)) await this.#ask({ do: 'pause', ...part }, answers.none)
  }

  async resume(ids?: readonly number[]): Promise<void> {
    for (const part of partsOf(ids)) await this.#ask({ do: 'continue', ...part }, answers.none)
  }

  /** Waits only for the first request that has tasks not yet cancelled; the server works on the others meanwhile. */
  async cancel(ids: readonly number[]): Promise<readonly CancelledTask[]> {
    const all: CancelledTask[] = []
    let waitMs = cancelWaitMs
    for (const part of partsOf([...new Set(ids)])) {
      const { tasks } = await this.#ask({ do: 'cancel', ids: part.ids ?? [], waitMs }, answers.cancel)
      all.push(...(tasks as readonly CancelledTask[]))
      if (all.some(({ state }) => state === 'cancelling')) waitMs = 0
    }
    return all
  }

  async #ask<T>(request: TaskRequest, answer: z.ZodType<T>): Promise<T> {
    return readAnswer(answer, await this.#control.ask(request))
  }
}

function* partsOf(ids: readonly number[] | undefined): Generator<{ ids?: number[] }> {
  if (!ids) return yield {}
  for (let at = 0; at < ids.length; at += requestBounds.ids) yield { ids: ids.slice(at, at + requestBounds.ids) }
}
