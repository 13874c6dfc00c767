import { OspError } from '../errors.ts'
import { clientLimits } from '../limits.ts'
import type { ClientState, KeptTask, TaskStore } from '../ports/clientState.ts'
import type { Log } from '../ports/log.ts'

/** The tasks that a client's state keeps, also those that this program has not taken up. */
export class KeptTasks {
  readonly #store: TaskStore
  readonly #wallTime: () => number
  readonly #log: Log
  /** Frees what a source needs that no task sends any more. */
  readonly #sources: Pick<ClientState, 'discard'>
  readonly #tasks = new Map<number, KeptTask>()
  /** The unfinished ones by their names. */
  readonly #names = new Map<string, number>()
  readonly #writing = new Set<Promise<void>>()
  #opening: Promise<void> | undefined
  #lastId = 0

  constructor(store: TaskStore, wallTime: () => number, log: Log, sources: Pick<ClientState, 'discard'> = {}) {
    this.#store = store
    this.#wallTime = wallTime
    this.#log = log
    this.#sources = sources
  }

  /** Reads what is kept, once; those that ended long ago go. */
  open(): Promise<void> {
    this.#opening ??= this.#load().catch((error: unknown) => {
      this.#opening = undefined
      throw error
    })
    return this.#opening
  }

  /** By rising id. */
  [Symbol.iterator](): Iterator<KeptTask> {
    return [...this.#tasks.values()][Symbol.iterator]()
  }

  get(id: number): KeptTask | undefined {
    return this.#tasks.get(id)
  }

  /** The unfinished task that sends something under this name. */
  named(name: string): KeptTask | undefined {
    const id = this.#names.get(name)
    return id === undefined ? undefined : this.#tasks.get(id)
  }

  /** Whether another unfinished task has the name of this one. */
  isReplaced({ id, name }: KeptTask): boolean {
    return (this.#names.get(name) ?? id) !== id
  }

  /** Throws OspError `usage` where another unfinished task has the name of this one. */
  checkName(task: KeptTask): void {
    if (!this.isReplaced(task)) return
    const { id } = this.named(task.name) ?? task
    throw new OspError('usage', `task ${id} sends ${JSON.stringify(task.name)} now; ${task.id} cannot go on beside it`)
  }

  /** The id of the next task, which is then taken. */
  nextId(): number {
    return ++this.#lastId
  }

  /** Keeps a task: durable. Rejects with OspError `usage` where there are too many. */
  async accept(task: KeptTask): Promise<void> {
    checkRoom(this.#tasks.size)
    this.#set(task)
    try {
      await this.#write(this.#store.put(task))
    } catch (error) {
      this.#delete(task)
      throw error
    }
  }

  /** Keeps what has become of a task: durable. */
  async change(id: number, change: Partial<Omit<KeptTask, 'id'>>): Promise<void> {
    const task = this.#tasks.get(id)
    if (!task) return
    const { endedAt: _, why: __, ...rest } = task
    const changed = { ...rest, ...change, ...(hasEnded(change.state) && { endedAt: this.#wallTime() }) }
    this.#set(changed)
    await this.#write(this.#store.put(changed))
    if (changed.state === 'done') await this.#sources.discard?.(changed.ref)
  }

  async forget(id: number): Promise<void> {
    const task = this.#tasks.get(id)
    if (!task) return
    this.#delete(task)
    await this.#write(this.#store.remove(id))
    await this.#sources.discard?.(task.ref)
  }

  /** What is only noted: where it can't be kept, a later program does it once more. */
  note(work: Promise<void>): void {
    work.catch((error: unknown) => {
      this.#log({ level: 'warn', event: 'task-not-kept', text: OspError.from(error).message })
    })
  }

  /** Resolves when nothing is being written any more. */
  async idle(): Promise<void> {
    await Promise.allSettled(this.#writing)
  }

  #set(task: KeptTask): void {
    this.#tasks.set(task.id, task)
    if (isUnfinished(task)) this.#names.set(task.name, task.id)
    else this.#unname(task)
  }

  #delete(task: KeptTask): void {
    this.#tasks.delete(task.id)
    this.#unname(task)
  }

  #unname({ id, name }: KeptTask): void {
    if (this.#names.get(name) === id) this.#names.delete(name)
  }

  async #load(): Promise<void> {
    for (const task of await this.#store.load()) {
      this.#lastId = Math.max(this.#lastId, task.id)
      this.#set(task)
    }
    const before = this.#wallTime() - clientLimits.endedTaskMs
    const ended = [...this.#tasks.values()].filter((task) => !isUnfinished(task))
    const old = ended.filter(
      ({ endedAt = 0 }, at) => endedAt < before || at < ended.length - clientLimits.finishedUploads,
    )
    for (const { id } of old) this.note(this.forget(id))
  }

  async #write(writing: Promise<void>): Promise<void> {
    this.#writing.add(writing)
    try {
      await writing
    } finally {
      this.#writing.delete(writing)
    }
  }
}

/** Throws OspError `usage` where there are as many tasks as there may be. */
export function checkRoom(tasks: number): void {
  if (tasks < clientLimits.keptTasks) return
  throw new OspError('usage', `there are ${tasks} tasks already, as many as are kept; let some end first`)
}

/** Whether something is still to be done about it. */
export function isUnfinished({ state }: KeptTask): boolean {
  return !hasEnded(state)
}

const hasEnded = (state: KeptTask['state'] | undefined) => state === 'failed' || state === 'done'
