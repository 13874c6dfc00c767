import type { Control } from '../../ports/control.ts'
import type { TaskStatus } from '../uploads/taskStatus.ts'
import { answers, readAnswer, readFailure, requestBounds, type TaskRequest } from './requests.ts'
import type { Added, CancelledTask, NewTask, TaskVerbs } from './taskSteering.ts'

/** How long whoever cancels waits for the server. */
export const cancelWaitMs = 5_000

/** The tasks of the program that serves them. */
export class RemoteTasks implements TaskVerbs {
  readonly #control: Control

  constructor(control: Control) {
    this.#control = control
  }

  async list(): Promise<readonly TaskStatus[]> {
    const all: TaskStatus[] = []
    for (;;) {
      const answer = await this.#ask({ do: 'list', after: all.at(-1)?.id ?? 0 })
      const { tasks, more } = readAnswer(answers.list, answer)
      all.push(...(tasks as readonly TaskStatus[]))
      if (!more) return all
    }
  }

  /** `waiter`: the number under which this program awaits their ends. */
  async add(tasks: readonly NewTask[], waiter?: number): Promise<readonly Added[]> {
    const all: Added[] = []
    for (const group of groupsOf(tasks)) {
      const answer = await this.#ask({ do: 'add', tasks: [...group], ...(waiter !== undefined && { waiter }) })
      const { added } = readAnswer(answers.add, answer)
      all.push(...added.map((each) => ('id' in each ? each : { failure: readFailure(each) })))
    }
    return all
  }

  async pause(ids?: readonly number[]): Promise<void> {
    for (const part of partsOf(ids)) await this.#ask({ do: 'pause', ...part })
  }

  async resume(ids?: readonly number[]): Promise<void> {
    for (const part of partsOf(ids)) await this.#ask({ do: 'continue', ...part })
  }

  /** The first of many are waited for; by then the others are on their way. */
  async cancel(ids: readonly number[]): Promise<readonly CancelledTask[]> {
    const all: CancelledTask[] = []
    let waitMs = cancelWaitMs
    for (const part of partsOf([...new Set(ids)])) {
      const answer = await this.#ask({ do: 'cancel', ids: part.ids ?? [], waitMs })
      all.push(...(readAnswer(answers.cancel, answer).tasks as readonly CancelledTask[]))
      if (all.some(({ state }) => state === 'cancelling')) waitMs = 0
    }
    return all
  }

  #ask(request: TaskRequest): Promise<unknown> {
    return this.#control.ask(request)
  }
}

function* partsOf(ids: readonly number[] | undefined): Generator<{ ids?: number[] }> {
  if (!ids) return yield {}
  for (let at = 0; at < ids.length; at += requestBounds.ids) yield { ids: ids.slice(at, at + requestBounds.ids) }
}

/** As many at a time as one request holds, and one at least. */
function* groupsOf(tasks: readonly NewTask[]): Generator<readonly NewTask[]> {
  let group: NewTask[] = []
  let bytes = 0
  for (const task of tasks) {
    const more = JSON.stringify(task).length
    if (group.length > 0 && (group.length >= requestBounds.added || bytes + more > requestBounds.addedBytes)) {
      yield group
      group = []
      bytes = 0
    }
    group.push(task)
    bytes += more
  }
  if (group.length > 0) yield group
}
