import type * as z from 'zod/mini'
import { OspError } from '../../errors.ts'
import type { Control } from '../../ports/control.ts'
import type { FileSource } from '../../ports/source.ts'
import { deferred } from '../../runtime/deferred.ts'
import { GroupCommit, type Uncommitted } from '../../runtime/groupCommit.ts'
import type { TaskStatus } from '../uploads/taskStatus.ts'
import { ClientUpload, type Upload } from '../uploads/upload.ts'
import type { UploadOptions } from '../uploads/uploadList.ts'
import { isAbsent } from './remoteOrOwn.ts'
import { answers, type Ended, groupsOf, readAnswer, readFailure, requestBounds, type TaskRequest } from './requests.ts'
import type { Added, CancelledTask, NewTask, TaskOperations } from './taskController.ts'

/** The time for which a cancellation waits for the server. */
export const cancelWaitMs = 5_000

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

  async #ask<T>(request: TaskRequest, answer: z.ZodMiniType<T>): Promise<T> {
    return readAnswer(answer, await this.#control.ask(request))
  }
}

function* partsOf(ids: readonly number[] | undefined): Generator<{ ids?: number[] }> {
  if (!ids) return yield {}
  for (let at = 0; at < ids.length; at += requestBounds.ids) yield { ids: ids.slice(at, at + requestBounds.ids) }
}

interface Addition {
  readonly task: NewTask
  id: number
}

/** The tasks of another sending program, to which this program adds its files. */
export class JoinedTasks implements AsyncDisposable {
  readonly joined = true
  readonly [Symbol.asyncDispose] = () => this.close()
  readonly #remote: RemoteTasks
  readonly #leaving = new AbortController()
  readonly #uploads = new Map<number, ClientUpload>()
  /** The ends of unknown uploads, which may be this program's while it adds files. */
  readonly #ends = new Map<number, Ended>()
  readonly #additions = new GroupCommit<Addition>({ commit: (group) => this.#commit(group) })
  #pending = 0
  #subscriber = 0
  #lost: OspError | undefined

  private constructor(control: Control) {
    this.#remote = new RemoteTasks(control)
  }

  /** Joins the program that serves the tasks. Rejects as `Control.ask` does if there is none. */
  static async join(control: Control): Promise<JoinedTasks> {
    const tasks = new JoinedTasks(control)
    const numbered = deferred<number>()
    const take = (answer: unknown) => {
      const read = readAnswer(answers.await, answer)
      if ('waiter' in read) numbered.resolve(read.waiter)
      else tasks.#ended(read)
    }
    const lost = (error: unknown) => {
      tasks.#lose()
      numbered.reject(error)
    }
    control.ask({ do: 'await' }, take, tasks.#leaving.signal).then(() => lost(new OspError('link-lost')), lost)
    tasks.#subscriber = await numbered.promise
    return tasks
  }

  /**
   * Adds a file to the uploads of the other program. The upload that it resolves with reports only its end. It fails with
   * `closed` if the other program ends before, or this program leaves. Rejects as `Client.upload` does.
   */
  async add(
    source: FileSource,
    { name = source.name, ...options }: Omit<UploadOptions, 'signal'> = {},
  ): Promise<Upload> {
    const { ref } = source
    if (ref === undefined) throw new OspError('usage', `another program cannot find ${name}`)
    this.#pending++
    try {
      const addition: Addition = { task: { ref, name, ...options }, id: 0 }
      await this.#additions.add(addition)
      return this.#uploads.get(addition.id) ?? this.#added(addition)
    } finally {
      if (--this.#pending === 0) this.#ends.clear()
    }
  }

  /** Leaves. The other program continues the added uploads. Idempotent. */
  async close(): Promise<void> {
    this.#leaving.abort()
    this.#lose()
  }

  #added({ id, task: { name, ref } }: Addition): Upload {
    const upload = new ClientUpload(id, name, this.#remote, ref)
    this.#uploads.set(id, upload)
    const end = this.#ends.get(id)
    if (end) this.#ended(end)
    else if (this.#lost) upload.move('close', this.#lost)
    return upload
  }

  async #commit(group: readonly Uncommitted<Addition>[]): Promise<void> {
    try {
      if (this.#lost) throw this.#gone()
      const tasks = group.map(({ item }) => item.task)
      const added = await this.#remote.add(tasks, this.#subscriber)
      for (const [at, addition] of group.entries()) {
        const one = added[at]
        if (one && 'id' in one) addition.item.id = one.id
        else addition.reject(one?.failure ?? new OspError('malformed', 'the answer lacks a task'))
      }
    } catch (error) {
      throw isAbsent(error) ? this.#gone() : error
    }
  }

  #ended(end: Ended): void {
    const upload = this.#uploads.get(end.ended)
    if (!upload && this.#pending > 0) this.#ends.set(end.ended, end)
    if (!upload || upload.over) return
    upload.transferred += end.transferred
    if ('file' in end) {
      upload.move('begin')
      upload.stored(end.file)
      return
    }
    const error = readFailure(end.reason)
    if (error.code === 'cancelled') upload.move('cancel')
    upload.move(error.code === 'cancelled' ? 'cancelled' : error.code === 'closed' ? 'close' : 'fail', error)
  }

  /** Returns the error for additions after the end. */
  #gone(): OspError {
    if (this.#leaving.signal.aborted) return new OspError('closed')
    const text = 'the sending program has ended; run the same command again to send the missing files'
    return new OspError('shutting-down', text)
  }

  #lose(): void {
    this.#lost ??= new OspError('closed', 'the sending program has ended')
    for (const upload of this.#uploads.values()) if (!upload.over) upload.move('close', this.#lost)
  }
}
