import { OspError } from '../../errors.ts'
import type { Control, Served } from '../../ports/control.ts'
import type { TaskStatus } from '../uploads/taskStatus.ts'
import { CompletionSubscribers } from './completionSubscribers.ts'
import { LiveTasks, type LiveTasksOptions } from './liveTasks.ts'
import { readRequest, requestBounds, type TaskRequest, toldFailure } from './requests.ts'

/** A client's tasks, which other programs steer. */
export interface ServedTasks extends AsyncDisposable {
  readonly joined: false
  /** Whether another program has added the upload, and waits for its end to tell its user. */
  isAwaited(id: number): boolean
  /**
   * Takes no further request: others find nobody then who sends. Returns whether that is so; not where a request is
   * being carried out.
   */
  end(): boolean
  /** Resolves when no request is being carried out. */
  idle(): Promise<void>
  /** Resolves when other programs can have the list of tasks. Close the client first. Idempotent. */
  close(): Promise<void>
}

/** Lets other programs steer a client's tasks. Rejects with OspError `data-locked` if another program does that. */
export async function serveTasks(options: LiveTasksOptions, control: Control): Promise<ServedTasks> {
  const serving = new Serving(options)
  try {
    serving.served = await control.serve((request, reply, signal) => serving.answer(request, reply, signal))
  } catch (error) {
    await serving.close()
    throw error
  }
  return serving
}

class Serving implements ServedTasks {
  readonly joined = false
  served: Served | undefined
  readonly #options: LiveTasksOptions
  readonly #live: LiveTasks
  readonly #waiters: CompletionSubscribers
  readonly #running = new Set<Promise<unknown>>()
  #ended = false

  constructor(options: LiveTasksOptions) {
    this.#options = options
    this.#live = new LiveTasks(options)
    this.#waiters = new CompletionSubscribers(options.uploads)
  }

  async answer(value: unknown, reply: (answer: unknown) => void, signal: AbortSignal): Promise<void> {
    if (this.#ended) throw new OspError('shutting-down', 'the program that sends is about to end')
    const request = readRequest(value)
    if (request.do === 'await') {
      return await this.#waiters.wait((waiter) => reply({ waiter }), reply, signal)
    }
    const running = this.#carryOut(request)
    const settled = running.catch(() => {})
    this.#running.add(settled)
    void settled.then(() => this.#running.delete(settled))
    const answer = await running
    if (answer) reply(answer)
  }

  isAwaited(id: number): boolean {
    return this.#waiters.awaits(id)
  }

  end(): boolean {
    this.#ended = this.#running.size === 0
    return this.#ended
  }

  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running)
  }

  async close(): Promise<void> {
    this.#ended = true
    await this.served?.close()
    this.#waiters.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #carryOut(request: Exclude<TaskRequest, { do: 'await' }>): Promise<object | undefined> {
    const { uploads } = this.#options
    switch (request.do) {
      case 'list':
        return page(await uploads.tasks(), request.after)
      case 'add':
        return { added: await Promise.all(request.tasks.map((task) => this.#add(task, request.waiter))) }
      case 'cancel':
        return { tasks: await this.#live.cancel(request.ids, request.waitMs) }
      case 'pause':
        await uploads.pause(request.ids)
        return undefined
      case 'continue':
        await uploads.resume(request.ids)
        return undefined
    }
  }

  async #add(task: Extract<TaskRequest, { do: 'add' }>['tasks'][number], waiter: number | undefined) {
    try {
      const { id } = await this.#live.add(task)
      if (waiter !== undefined) this.#waiters.claim(waiter, id)
      return { id }
    } catch (error) {
      return toldFailure(OspError.from(error))
    }
  }
}

/** As many of the tasks behind `after` as an answer holds. */
function page(all: readonly TaskStatus[], after: number): { tasks: readonly TaskStatus[]; more: boolean } {
  const rest = all.filter(({ id }) => id > after)
  let bytes = 0
  const end = rest.findIndex((task, at) => {
    bytes += JSON.stringify(task).length
    return at > 0 && (at >= requestBounds.listed || bytes > requestBounds.listedBytes)
  })
  return end < 0 ? { tasks: rest, more: false } : { tasks: rest.slice(0, end), more: true }
}
