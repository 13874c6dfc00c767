import { OspError } from '../../errors.ts'
import type { Control, Served } from '../../ports/control.ts'
import type { Clock } from '../../ports/platform.ts'
import type { FileSource } from '../../ports/source.ts'
import type { SentFile } from '../../ports/storage.ts'
import { PendingWork } from '../../runtime/pendingWork.ts'
import { waitAtMost, whenAborted } from '../../runtime/wait.ts'
import type { Client } from '../client.ts'
import { unknownTask } from '../uploads/taskRegistry.ts'
import type { TaskStatus } from '../uploads/taskStatus.ts'
import type { Upload } from '../uploads/upload.ts'
import { remoteOrOwn } from './remoteOrOwn.ts'
import { JoinedTasks } from './remoteTasks.ts'
import { type Ended, failureOf, groupsOf, readRequest, requestBounds, type TaskRequest } from './requests.ts'
import type { CancelledTask, NewTask } from './taskController.ts'

export interface ServedTasksOptions {
  readonly client: Pick<Client, 'upload' | 'uploads'>
  readonly clock: Clock
  readonly reopen: (ref: string) => FileSource
}

/** Joins the program that serves the list of tasks, or serves it if there is none. Rejects as `openTasks` of `ospd/node` does. */
export function joinOrServe(options: ServedTasksOptions, control: Control): Promise<ServedTasks | JoinedTasks> {
  return remoteOrOwn<ServedTasks | JoinedTasks>(
    options.clock,
    () => JoinedTasks.join(control),
    () => ServedTasks.serve(options, control),
  )
}

/** The tasks of a client, which other programs control. */
export class ServedTasks implements AsyncDisposable {
  readonly joined = false
  readonly [Symbol.asyncDispose] = () => this.close()
  #served: Served | undefined
  readonly #options: ServedTasksOptions
  readonly #running = new PendingWork()
  /** The programs to which this program reports the ends of its uploads, with the ids of those that each has added. */
  readonly #subscribers = new Map<number, { readonly report: (ended: Ended) => void; readonly ids: Set<number> }>()
  #lastSubscriber = 0
  readonly #reported = new WeakSet<Upload>()
  #ended = false

  private constructor(options: ServedTasksOptions) {
    this.#options = options
    options.client.uploads.on('change', this.#report)
  }

  /** Lets other programs control a client's tasks. Rejects with OspError `data-locked` if another program serves them. */
  static async serve(options: ServedTasksOptions, control: Control): Promise<ServedTasks> {
    const tasks = new ServedTasks(options)
    try {
      tasks.#served = await control.serve((request, reply, signal) => tasks.#answer(request, reply, signal))
    } catch (error) {
      await tasks.close()
      throw error
    }
    return tasks
  }

  async #answer(value: unknown, reply: (answer: unknown) => void, signal: AbortSignal): Promise<void> {
    if (this.#ended) throw new OspError('shutting-down', 'the sending program is about to end')
    const request = readRequest(value)
    if (request.do === 'await') {
      const waiter = ++this.#lastSubscriber
      this.#subscribers.set(waiter, { report: reply, ids: new Set() })
      reply({ waiter })
      await whenAborted(signal)
      this.#subscribers.delete(waiter)
      return
    }
    const running = this.#carryOut(request)
    this.#running.track(running)
    const answer = await running
    if (answer) reply(answer)
  }

  /** Whether another program has added the upload, and waits for its end to report it. */
  isAwaited(id: number): boolean {
    return [...this.#subscribers.values()].some(({ ids }) => ids.has(id))
  }

  /** Takes no further request, so that other programs find no sending program. Returns false while a request is carried out. */
  end(): boolean {
    this.#ended = this.#running.isSettled
    return this.#ended
  }

  /** Resolves when no request is carried out. */
  idle(): Promise<void> {
    return this.#running.settled()
  }

  /** Resolves when other programs can have the list of tasks. Close the client first. Idempotent. */
  async close(): Promise<void> {
    this.#ended = true
    await this.#served?.close()
    this.#options.client.uploads.off('change', this.#report)
  }

  async #carryOut(request: Exclude<TaskRequest, { do: 'await' }>): Promise<object | undefined> {
    const { uploads } = this.#options.client
    switch (request.do) {
      case 'list':
        return page(await uploads.tasks(), request.after)
      case 'add':
        return { added: await Promise.all(request.tasks.map((task) => this.#add(task, request.waiter))) }
      case 'cancel':
        return { tasks: await this.#cancel(request.ids, request.waitMs) }
      case 'pause':
        await uploads.pause(request.ids)
        return undefined
      case 'continue':
        await uploads.resume(request.ids)
        return undefined
    }
  }

  async #add({ ref, ...options }: NewTask, waiter: number | undefined) {
    const { client, reopen } = this.#options
    try {
      const { id } = await client.upload(reopen(ref), options)
      if (waiter !== undefined) this.#subscribers.get(waiter)?.ids.add(id)
      return { id }
    } catch (error) {
      return failureOf(OspError.from(error))
    }
  }

  /** Resolves when the server has removed their bytes or has refused to, and after `waitMs` at the latest. */
  async #cancel(ids: readonly number[], waitMs: number): Promise<readonly CancelledTask[]> {
    const { client, clock } = this.#options
    const before = await this.#tasks()
    const tasks = ids.flatMap((id) => before.get(id) ?? [])
    const unknown = ids.find((id) => !before.has(id))
    if (unknown !== undefined) throw unknownTask(unknown)
    await waitAtMost(clock, waitMs, Promise.allSettled(ids.map((id) => client.uploads.cancel([id]))))
    const now = await this.#tasks()
    return tasks.map((task) => now.get(task.id) ?? { ...task, state: 'cancelled', reason: undefined })
  }

  async #tasks(): Promise<ReadonlyMap<number, TaskStatus>> {
    return new Map((await this.#options.client.uploads.tasks()).map((task) => [task.id, task]))
  }

  /** Reports the end of an upload to the other programs. */
  readonly #report = (upload: Upload): void => {
    const { phase, id } = upload
    if (phase !== 'done' && phase !== 'failed' && phase !== 'cancelled') return
    if (this.#subscribers.size === 0 || this.#reported.has(upload)) return
    this.#reported.add(upload)
    const send = (end: { file: SentFile } | { reason: ReturnType<typeof failureOf> }) => {
      const ended = { ended: id, transferred: upload.transferred, ...end }
      for (const subscriber of this.#subscribers.values()) subscriber.report(ended)
    }
    upload.done.then(
      (file) => send({ file }),
      (error: unknown) => send({ reason: failureOf(OspError.from(error)) }),
    )
  }
}

/** Returns the tasks after the id `after`, up to the bounds of one answer. */
function page(all: readonly TaskStatus[], after: number): { tasks: readonly TaskStatus[]; more: boolean } {
  const rest = all.filter(({ id }) => id > after)
  const [tasks = []] = groupsOf(rest, requestBounds.listed, requestBounds.listedBytes)
  return { tasks, more: tasks.length < rest.length }
}
