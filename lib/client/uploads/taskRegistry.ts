import { BoundedMap } from '../../core/boundedMap.ts'
import { checkMetadata, textsOf } from '../../core/metadata.ts'
import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import { checkUserName } from '../../names.ts'
import type { Metadata } from '../../ports/catalogue.ts'
import type { ClientState, StoredTask, TaskStore } from '../../ports/clientState.ts'
import type { Log } from '../../ports/log.ts'
import type { Clock, Platform } from '../../ports/platform.ts'
import type { FileNotice } from '../../ports/storage.ts'
import { hex } from '../../runtime/hex.ts'
import { PendingWork } from '../../runtime/pendingWork.ts'
import { retriable } from '../../runtime/retriable.ts'

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

const noTasks: TaskStore = { load: async () => [], put: async () => {}, remove: async () => {} }

/** The tasks in a client's state, including those that this program has not restored. */
export class TaskRegistry {
  readonly #state: Pick<ClientState, 'tasks' | 'discard'>
  readonly #store: TaskStore
  readonly #platform: Pick<Platform, 'random'> & { readonly clock: Pick<Clock, 'wallTime'> }
  readonly #log: Log
  readonly #tasks = new Map<number, StoredTask>()
  /** The unfinished tasks by name. */
  readonly #names = new Map<string, StoredTask>()
  readonly #failed = (error: unknown) =>
    this.#log({ level: 'warn', event: 'task-not-kept', text: OspError.from(error).message })
  readonly #forgetOldest = (id: number) => this.logFailure(this.forget(id))
  /** The ids of the latest ended tasks, in the order in which they ended. Tasks that are done do not displace failed ones. */
  readonly #ended = {
    done: new BoundedMap<number, true>(clientLimits.finishedUploads, this.#forgetOldest),
    failed: new BoundedMap<number, true>(clientLimits.failedTasks, this.#forgetOldest),
  }
  readonly #writing = new PendingWork()
  /** The latest write, if it is under way, and the tasks whose content is discarded after it. */
  #latest:
    | { readonly writing: Promise<void>; readonly ended: StoredTask[]; readonly discarded: Promise<void> }
    | undefined
  /** The latest work whose failure will be logged. */
  #logged: Promise<void> | undefined
  #lastId = 0
  /** Loads the stored tasks, once, and removes those that ended long ago. */
  readonly open = retriable(() => this.#load())

  constructor(
    state: Pick<ClientState, 'tasks' | 'discard'>,
    platform: Pick<Platform, 'random'> & { readonly clock: Pick<Clock, 'wallTime'> },
    log: Log,
  ) {
    this.#state = state
    this.#store = state.tasks ?? noTasks
    this.#platform = platform
    this.#log = log
  }

  /** Iterates in ascending order of ids. */
  [Symbol.iterator](): Iterator<StoredTask> {
    return [...this.#tasks.values()][Symbol.iterator]()
  }

  get size(): number {
    return this.#tasks.size
  }

  get(id: number): StoredTask | undefined {
    return this.#tasks.get(id)
  }

  named(name: string): StoredTask | undefined {
    return this.#names.get(name)
  }

  /** Whether another unfinished task has the name of this one. */
  isReplaced({ id, name }: StoredTask): boolean {
    return (this.#names.get(name)?.id ?? id) !== id
  }

  /** Throws OspError `usage` if another unfinished task has the name of this one. */
  checkName({ id, name }: StoredTask): void {
    const other = this.#names.get(name)
    if (!other || other.id === id) return
    const sending = `task ${other.id} is sending ${JSON.stringify(name)}`
    throw new OspError('usage', `${sending}; task ${id} cannot continue at the same time`)
  }

  /** Returns the message about a file, unless there are no users and `receipt` is not set. Throws OspError `bad-name`. */
  noticeTo(users: readonly string[] = [], receipt = false): { readonly notice?: FileNotice } {
    if (users.length === 0 && !receipt) return {}
    const recipients = [...new Set(users)].map(checkUserName)
    const id = hex(this.#platform.random.bytes(16, 'the id of a message about a file'))
    return { notice: { id, recipients, ...(receipt ? { receipt } : {}) } }
  }

  /** Throws OspError `usage` if an unfinished task sends a file to other users than these. */
  checkRecipients({ id, name }: Pick<StoredTask, 'id' | 'name'>, to: readonly string[] = []): void {
    if (to.length === 0) return
    const known = this.#tasks.get(id)?.notice?.recipients ?? []
    if (known.length === new Set(to).size && to.every((user) => known.includes(user))) return
    const own = known.length > 0 ? `to ${known.join(', ')}` : 'to no other user'
    const text = `task ${id} is already sending ${JSON.stringify(name)} ${own}; send it again when the task is done, or cancel the task`
    throw new OspError('usage', text)
  }

  nextId(): number {
    return ++this.#lastId
  }

  /** Stores new tasks; durable when it resolves. Rejects with OspError `usage` if there are too many. */
  async accept(tasks: readonly StoredTask[]): Promise<void> {
    checkRoom(this.#tasks.size + tasks.length - 1)
    for (const task of tasks) this.#set(task)
    try {
      await Promise.all(tasks.map((task) => this.#write(this.#store.put(task))))
    } catch (error) {
      for (const task of tasks) this.#delete(task)
      throw error
    }
  }

  /** Stores a change of a task; durable when it resolves. */
  change(id: number, change: Partial<Omit<StoredTask, 'id'>>): Promise<void> {
    const task = this.#tasks.get(id)
    if (!task) return Promise.resolve()
    const { reason: _reason, endedAt: _endedAt, ...kept } = task
    const changed: Mutable<StoredTask> = Object.assign(kept, change)
    if (hasEnded(change.state)) changed.endedAt = this.#platform.clock.wallTime()
    this.#set(changed, task)
    return this.#write(this.#store.put(changed), changed.state === 'done' ? changed : undefined)
  }

  forget(id: number): Promise<void> {
    const task = this.#tasks.get(id)
    if (!task) return Promise.resolve()
    this.#delete(task)
    return this.#write(this.#store.remove(id), task)
  }

  /** Logs a failure of `work`. A later program repeats it. */
  logFailure(work: Promise<void>): void {
    if (work !== this.#logged) work.catch(this.#failed)
    this.#logged = work
  }

  /** Resolves when no write is under way. */
  idle(): Promise<void> {
    return this.#writing.settled()
  }

  #set(task: StoredTask, former = this.#tasks.get(task.id)): void {
    if (former) this.#unlist(former)
    this.#tasks.set(task.id, task)
    if (hasEnded(task.state)) this.#ended[task.state].set(task.id, true)
    else this.#names.set(task.name, task)
  }

  #delete(task: StoredTask): void {
    this.#unlist(task)
    this.#tasks.delete(task.id)
  }

  #unlist({ id, name, state }: StoredTask): void {
    if (hasEnded(state)) this.#ended[state].delete(id)
    else if (this.#names.get(name)?.id === id) this.#names.delete(name)
  }

  async #load(): Promise<void> {
    const tasks = await this.#store.load()
    for (const task of tasks) {
      this.#lastId = Math.max(this.#lastId, task.id)
      this.#tasks.set(task.id, task)
    }
    const before = this.#platform.clock.wallTime() - clientLimits.endedTaskMs
    for (const task of [...tasks].sort((a, b) => endOf(a) - endOf(b))) {
      this.#set(task)
      if (hasEnded(task.state) && endOf(task) < before) this.logFailure(this.forget(task.id))
    }
  }

  /** Discards the content of `ended` after the write. */
  #write(writing: Promise<void>, ended?: StoredTask): Promise<void> {
    // A store that writes changes together returns the same promise for them.
    const latest = this.#latest?.writing === writing ? this.#latest : this.#follow(writing)
    if (!ended) return writing
    latest.ended.push(ended)
    return latest.discarded
  }

  #follow(writing: Promise<void>) {
    const ended: StoredTask[] = []
    const discarded = writing.then(async () => {
      if (this.#latest?.ended === ended) this.#latest = undefined
      await Promise.all(ended.flatMap(({ ref }) => this.#state.discard?.(ref) ?? []))
    })
    this.#writing.track(discarded)
    this.#latest = { writing, ended, discarded }
    return this.#latest
  }
}

/** Throws OspError `usage` if `tasks` has reached the limit. */
export function checkRoom(tasks: number): void {
  if (tasks < clientLimits.keptTasks) return
  throw new OspError('usage', `there are ${tasks} tasks, the maximum; wait until some of them have ended`)
}

/** Returns the error for a new task whose name an unfinished task has. */
export const nameTaken = (name: string) =>
  new OspError('usage', `an upload named ${JSON.stringify(name)} is already in progress`)

export const unknownTask = (id: number) => new OspError('usage', `there is no upload ${id}`)

export function hasEnded(state: StoredTask['state'] | undefined): state is 'failed' | 'done' {
  return state === 'failed' || state === 'done'
}

const endOf = ({ endedAt = 0 }: StoredTask) => endedAt

/** Returns metadata to keep, if there is any. Throws OspError `too-large`, or `malformed` for an empty key. */
export function givenMetadata(metadata: Metadata = {}): { readonly metadata?: Metadata } {
  if (Object.keys(metadata).length === 0) return {}
  checkMetadata(textsOf(metadata))
  return { metadata: { ...metadata } }
}
