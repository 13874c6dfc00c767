import { Pacer } from '../../core/pacer.ts'
import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import { checkFileName } from '../../names.ts'
import type { ClientState, StoredTask } from '../../ports/clientState.ts'
import type { Log } from '../../ports/log.ts'
import type { DigestName, Platform } from '../../ports/platform.ts'
import type { FileSource } from '../../ports/source.ts'
import { Emitter } from '../../runtime/emitter.ts'
import type { ClientSession } from '../connection/session.ts'
import { checkAddOptions, checkIds } from '../options.ts'
import type { UploadLink } from './buffers.ts'
import { ClientUpload } from './clientUpload.ts'
import { Task } from './task.ts'
import { checkRoom, isUnfinished, TaskRegistry } from './taskRegistry.ts'
import { storedStatus, type TaskStatus } from './taskStatus.ts'
import type { Upload } from './upload.ts'
import type { AddOptions, Uploads, UploadsEvents } from './uploads.ts'

export interface UploadListOptions {
  readonly platform: Platform
  readonly session: ClientSession<UploadLink>
  /** Stores tasks and opens their sources again. */
  readonly state: Pick<ClientState, 'tasks' | 'reopen' | 'discard'>
  /** The number of uploads that are sent at once, if the server allows it. */
  readonly atOnce: number
  /** Bytes a second for all uploads together. */
  readonly limitRate: number
  readonly retryForMs: number
  readonly log: Log
  /** The log for failing listeners, if any. */
  readonly listenerLog: Log | undefined
}

/** The uploads of a client: the list, its stored tasks, and the choice of those that are sent. */
export class UploadList extends Emitter<UploadsEvents> implements Uploads {
  readonly #options: UploadListOptions
  readonly #pace: Pacer
  readonly #tasks = new Map<number, Task>()
  /** The uploads that have not ended, by name, in the order in which they were added. */
  readonly #open = new Map<string, Task>()
  #active = 0
  readonly #stored: TaskRegistry | undefined
  /** The ids of ended uploads, in the order in which they ended. */
  readonly #over: number[] = []
  #lastId = 0
  /** One until the server has reported its limit. */
  #atOnce = 1
  #closed = false

  constructor(options: UploadListOptions) {
    super(options.listenerLog)
    this.#options = options
    this.#pace = new Pacer(options.limitRate)
    const { state, platform, log } = options
    if (state.tasks) this.#stored = new TaskRegistry(state.tasks, () => platform.clock.wallTime(), log, state)
  }

  [Symbol.iterator](): Iterator<Upload> {
    return [...this.#tasks.values()].flatMap(({ accepted, upload }) => (accepted ? [upload] : []))[Symbol.iterator]()
  }

  async add(source: FileSource, options: AddOptions = {}): Promise<Upload> {
    checkAddOptions(source, options)
    const { name = source.name, digest = 'sha256' } = options
    const normal = checkFileName(name.normalize('NFC'))
    if (this.#stored) await this.#stored.open()
    this.#checkOpen()
    const open = this.#open.get(normal)
    const live = open?.upload.over ? undefined : open
    const known = live ?? this.#stored?.named(normal)
    if (!known) return await this.#accept(source, normal, digest)
    const isThat = source.ref !== undefined && known.ref === source.ref && live?.upload.phase !== 'cancelling'
    if (!isThat) throw new OspError('usage', `an upload named ${JSON.stringify(normal)} is under way already`)
    await this.resume([known.id])
    await this.#stored?.idle()
    return this.#named(known.id).upload
  }

  async restore(ids?: readonly number[]): Promise<readonly Upload[]> {
    checkIds('restore', ids, 'all or some')
    if (!this.#stored) return []
    await this.#stored.open()
    this.#checkOpen()
    const wanted = [...this.#stored].filter((task) => isUnfinished(task) && (ids?.includes(task.id) ?? true))
    const uploads = wanted.map((task) => (this.#tasks.get(task.id) ?? this.#revive(task)).upload)
    this.#fill()
    return uploads
  }

  async tasks(): Promise<readonly TaskStatus[]> {
    if (this.#stored) await this.#stored.open()
    const { session, platform } = this.#options
    const live = [...this.#tasks.values()].map((task) => task.status(session.failure, platform.clock.now()))
    const others = [...(this.#stored ?? [])].filter(({ id }) => !this.#tasks.has(id)).map(storedStatus)
    return [...live, ...others].sort((a, b) => a.id - b.id)
  }

  async pause(ids?: readonly number[]): Promise<void> {
    checkIds('pause', ids, 'all or some')
    await this.#each(ids, async (id, task) => {
      await task?.pause()
      const stored = this.#stored?.get(id)
      if (stored?.state === 'open') await this.#change(id, { state: 'paused' })
    })
  }

  async resume(ids?: readonly number[]): Promise<void> {
    checkIds('resume', ids, 'all or some')
    await this.#each(ids, async (id, task) => {
      const stored = this.#stored?.get(id)
      if (task && !task.upload.over) {
        if (task.upload.phase !== 'paused') return
        task.upload.move('resume')
      } else {
        const isWanted =
          stored && (ids ? stored.state !== 'done' : isUnfinished(stored) && stored.state !== 'cancelling')
        if (!isWanted) return
        this.#stored?.checkName(stored)
        this.#revive({ ...stored, state: 'open' })
      }
      if (stored?.state !== 'open') await this.#change(id, { state: 'open' })
    })
    this.#fill()
  }

  async cancel(ids: readonly number[]): Promise<void> {
    checkIds('cancel', ids, 'some')
    await this.#each(ids, async (id, task) => {
      const stored = this.#stored?.get(id)
      if (!stored || stored.state === 'done') return await task?.cancel()
      // What the server has belongs to the other task of that name.
      if (this.#stored?.isReplaced(stored)) return await this.#stored.forget(id)
      const live = task && !task.upload.over ? task : this.#revive({ ...stored, state: 'open' })
      await Promise.all([this.#change(id, { state: 'cancelling' }), live.cancel()])
    })
    await this.#stored?.idle()
  }

  /** Begins a new link, on which the server accepts `most` uploads at once. */
  allow(most: number): void {
    this.#atOnce = Math.min(this.#options.atOnce, most)
    this.#pace.reset()
    this.#fill()
  }

  /** Ends all uploads. The server keeps the bytes, so that they can be continued. */
  async close(): Promise<void> {
    this.#closed = true
    const unfinished = [...this.#tasks.values()].filter(({ upload }) => !upload.over)
    await Promise.all([...this.#tasks.values()].map((task) => task.close()))
    for (const { id, upload } of unfinished) {
      if (upload.phase === 'failed' && upload.progress.size > 0) this.#stored?.logFailure(this.#change(id, {}))
    }
    await this.#stored?.idle()
  }

  async #accept(source: FileSource, name: string, algorithm: DigestName): Promise<Upload> {
    checkRoom(this.#open.size)
    const { ref } = source
    const id = this.#stored ? this.#stored.nextId() : ++this.#lastId
    const task = this.#create(id, name, source, algorithm)
    if (this.#stored && ref !== undefined) {
      try {
        await this.#stored.accept({ id, ref, name, algorithm, state: 'open', size: 0, durable: 0 })
      } catch (error) {
        this.#tasks.delete(id)
        task.upload.move('fail', OspError.from(error))
        throw error
      }
    }
    task.accepted = true
    this.#changed(task.upload)
    this.#fill()
    return task.upload
  }

  /** Restores a stored task. */
  #revive({ id, ref, name, algorithm, state }: StoredTask): Task {
    const source = this.#options.state.reopen?.(ref)
    if (!source)
      throw new OspError('usage', 'the state of this client cannot open a source again; give it a reopen function')
    const task = this.#create(id, name, source, algorithm)
    task.accepted = true
    this.#changed(task.upload)
    if (state === 'paused') task.upload.move('pause')
    if (state === 'cancelling') task.cancel().catch(() => {})
    return task
  }

  #create(id: number, name: string, source: FileSource, algorithm: DigestName): Task {
    const upload = new ClientUpload(id, name, (upload) => this.#changed(upload), source.ref, this.#options.listenerLog)
    const task = new Task({ ...this.#options, upload, source, algorithm, pace: this.#pace })
    this.#tasks.set(id, task)
    this.#open.set(name, task)
    upload.done.then(
      ({ size }) => this.#ended(task, { state: 'done', size, durable: size }),
      (error: OspError) => this.#failed(task, error),
    )
    return task
  }

  #failed(task: Task, { code, message: text, retry }: OspError): void {
    // The task stays open after the end of the client, after a refusal that is not final, and after a refused token, because the
    // next program can have another token.
    const isOpen = code === 'closed' || code === 'unauthorized' || retry !== 'never'
    // A task that another program has cancelled stays in the list.
    const isCancelled = task.upload.phase === 'cancelled'
    if (isCancelled) this.#stored?.logFailure(this.#stored.forget(task.id))
    if (code === 'unauthorized') this.#ended(task, { why: { code, text } })
    else this.#ended(task, isOpen || isCancelled ? undefined : { state: 'failed', why: { code, text } })
  }

  /** Handles the end of an upload, and stores `change`. */
  #ended(task: Task, change?: Partial<StoredTask>): void {
    if (this.#open.get(task.upload.name) === task) this.#open.delete(task.upload.name)
    if (change) this.#stored?.logFailure(this.#change(task.id, change))
    this.#over.push(task.id)
    if (this.#over.length <= clientLimits.finishedUploads) return
    const oldest = this.#over.shift()
    if (oldest === undefined || !this.#tasks.get(oldest)?.upload.over) return
    this.#tasks.delete(oldest)
  }

  /** Stores a change of a task, and its progress. */
  async #change(id: number, change: Partial<StoredTask>): Promise<void> {
    const { size = 0, durable = 0 } = this.#tasks.get(id)?.upload.progress ?? {}
    await this.#stored?.change(id, { ...(size > 0 && { size, durable }), ...change })
  }

  /** Calls `act` for each of these tasks (all, if no ids are given), live or only stored. */
  async #each(
    ids: readonly number[] | undefined,
    act: (id: number, task: Task | undefined) => Promise<void>,
  ): Promise<void> {
    if (this.#stored) await this.#stored.open()
    const all = () => new Set([...this.#tasks.keys(), ...[...(this.#stored ?? [])].map(({ id }) => id)])
    for (const id of ids ?? []) if (!this.#stored?.get(id)) this.#named(id)
    await Promise.all([...(ids ?? all())].map((id) => act(id, this.#tasks.get(id))))
  }

  #named(id: number): Task {
    const task = this.#tasks.get(id)
    if (!task) throw new OspError('usage', `there is no upload ${id}`)
    return task
  }

  #checkOpen(): void {
    if (this.#closed) throw new OspError('closed', 'the client was closed')
  }

  #fill(): void {
    if (this.#closed) return
    for (const task of this.#open.values()) {
      if (this.#active >= this.#atOnce) return
      if (task.active || !task.accepted || task.upload.phase !== 'waiting') continue
      this.#active++
      this.#options.session.start()
      void task.begin().then(() => {
        this.#active--
        this.#fill()
      })
    }
  }

  #changed(upload: Upload): void {
    this.emit('change', upload)
  }
}
