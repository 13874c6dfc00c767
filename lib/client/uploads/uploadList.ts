import { Pacer } from '../../core/pacer.ts'
import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import { checkFileName } from '../../names.ts'
import type { StoredTask } from '../../ports/clientState.ts'
import type { DigestName } from '../../ports/platform.ts'
import type { FileSource } from '../../ports/source.ts'
import { Emitter } from '../../runtime/emitter.ts'
import { checkAddOptions, checkIds } from '../options.ts'
import { ClientUpload } from './clientUpload.ts'
import { Task } from './task.ts'
import { checkRoom, isUnfinished, TaskRegistry } from './taskRegistry.ts'
import { keptStatus, type TaskStatus } from './taskStatus.ts'
import type { Upload } from './upload.ts'
import type { UploadListOptions } from './uploadListOptions.ts'
import type { AddOptions, Uploads, UploadsEvents } from './uploads.ts'

/** The uploads of a client as the client drives them. */
export class UploadList extends Emitter<UploadsEvents> implements Uploads {
  readonly #options: UploadListOptions
  readonly #pace: Pacer
  readonly #tasks = new Map<number, Task>()
  /** Those that are not over, by their names, in the order in which they were added. */
  readonly #open = new Map<string, Task>()
  #active = 0
  readonly #kept: TaskRegistry | undefined
  readonly #over: number[] = []
  #lastId = 0
  /** One, until the server has told how many it takes. */
  #atOnce = 1
  #closed = false

  constructor(options: UploadListOptions) {
    super(options.listenerLog)
    this.#options = options
    this.#pace = new Pacer(options.limitRate)
    const { state, platform, log } = options
    if (state.tasks) this.#kept = new TaskRegistry(state.tasks, () => platform.clock.wallTime(), log, state)
  }

  [Symbol.iterator](): Iterator<Upload> {
    return [...this.#tasks.values()].flatMap(({ accepted, upload }) => (accepted ? [upload] : []))[Symbol.iterator]()
  }

  async add(source: FileSource, options: AddOptions = {}): Promise<Upload> {
    checkAddOptions(source, options)
    const { name = source.name, digest = 'sha256' } = options
    const normal = checkFileName(name.normalize('NFC'))
    if (this.#kept) await this.#kept.open()
    this.#checkOpen()
    const open = this.#open.get(normal)
    const live = open?.upload.over ? undefined : open
    const known = live ?? this.#kept?.named(normal)
    if (!known) return await this.#accept(source, normal, digest)
    const isThat = source.ref !== undefined && known.ref === source.ref && live?.upload.phase !== 'cancelling'
    if (!isThat) throw new OspError('usage', `an upload named ${JSON.stringify(normal)} is under way already`)
    await this.resume([known.id])
    await this.#kept?.idle()
    return this.#named(known.id).upload
  }

  async restore(ids?: readonly number[]): Promise<readonly Upload[]> {
    checkIds('restore', ids, 'all or some')
    if (!this.#kept) return []
    await this.#kept.open()
    this.#checkOpen()
    const wanted = [...this.#kept].filter((task) => isUnfinished(task) && (ids?.includes(task.id) ?? true))
    const uploads = wanted.map((task) => (this.#tasks.get(task.id) ?? this.#revive(task)).upload)
    this.#fill()
    return uploads
  }

  async tasks(): Promise<readonly TaskStatus[]> {
    if (this.#kept) await this.#kept.open()
    const { session, platform } = this.#options
    const live = [...this.#tasks.values()].map((task) => task.status(session.trouble, platform.clock.now()))
    const others = [...(this.#kept ?? [])].filter(({ id }) => !this.#tasks.has(id)).map(keptStatus)
    return [...live, ...others].sort((a, b) => a.id - b.id)
  }

  async pause(ids?: readonly number[]): Promise<void> {
    checkIds('pause', ids, 'all or some')
    await this.#each(ids, async (id, task) => {
      await task?.pause()
      const kept = this.#kept?.get(id)
      if (kept?.state === 'open') await this.#keep(id, { state: 'paused' })
    })
  }

  async resume(ids?: readonly number[]): Promise<void> {
    checkIds('resume', ids, 'all or some')
    await this.#each(ids, async (id, task) => {
      const kept = this.#kept?.get(id)
      if (task && !task.upload.over) {
        if (task.upload.phase !== 'paused') return
        task.upload.move('resume')
      } else {
        const isWanted = kept && (ids ? kept.state !== 'done' : isUnfinished(kept) && kept.state !== 'cancelling')
        if (!isWanted) return
        this.#kept?.checkName(kept)
        this.#revive({ ...kept, state: 'open' })
      }
      if (kept?.state !== 'open') await this.#keep(id, { state: 'open' })
    })
    this.#fill()
  }

  async cancel(ids: readonly number[]): Promise<void> {
    checkIds('cancel', ids, 'some')
    await this.#each(ids, async (id, task) => {
      const kept = this.#kept?.get(id)
      if (!kept || kept.state === 'done') return await task?.cancel()
      // What the server has belongs to the other one.
      if (this.#kept?.isReplaced(kept)) return await this.#kept.forget(id)
      const live = task && !task.upload.over ? task : this.#revive({ ...kept, state: 'open' })
      await Promise.all([this.#keep(id, { state: 'cancelling' }), live.cancel()])
    })
    await this.#kept?.idle()
  }

  /** A new link, on which the server takes `most` uploads at once. */
  allow(most: number): void {
    this.#atOnce = Math.min(this.#options.atOnce, most)
    this.#pace.reset()
    this.#fill()
  }

  /** Stops everything; what the server has can be continued. */
  async close(): Promise<void> {
    this.#closed = true
    const unfinished = [...this.#tasks.values()].filter(({ upload }) => !upload.over)
    await Promise.all([...this.#tasks.values()].map((task) => task.close()))
    for (const { id, upload } of unfinished) {
      if (upload.phase === 'failed' && upload.progress.size > 0) this.#kept?.note(this.#keep(id, {}))
    }
    await this.#kept?.idle()
  }

  async #accept(source: FileSource, name: string, algorithm: DigestName): Promise<Upload> {
    checkRoom(this.#open.size)
    const { ref } = source
    const id = this.#kept ? this.#kept.nextId() : ++this.#lastId
    const task = this.#create(id, name, source, algorithm)
    if (this.#kept && ref !== undefined) {
      try {
        await this.#kept.accept({ id, ref, name, algorithm, state: 'open', size: 0, durable: 0 })
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

  /** Takes up a kept task. */
  #revive({ id, ref, name, algorithm, state }: StoredTask): Task {
    const source = this.#options.state.reopen?.(ref)
    if (!source) throw new OspError('usage', 'the state of this client does not tell how a source is found again')
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
    const { done: finished } = upload
    finished.then(
      ({ size }) => this.#ended(task, { state: 'done', size, durable: size }),
      (why: OspError) => this.#failed(task, why),
    )
    return task
  }

  #failed(task: Task, why: OspError): void {
    const { code, message: text } = why
    // What the client's end or a refusal that can pass has ended is still to be sent; and whom the server does not let in can
    // come with another token.
    const isOpen = code === 'closed' || code === 'unauthorized' || why.retry !== 'never'
    // Where somebody else has cancelled it, that is worth a place in the list.
    const isCancelled = task.upload.phase === 'cancelled'
    if (isCancelled) this.#kept?.note(this.#kept.forget(task.id))
    if (code === 'unauthorized') this.#ended(task, { why: { code, text } })
    else this.#ended(task, isOpen || isCancelled ? undefined : { state: 'failed', why: { code, text } })
  }

  /** Nothing more becomes of it; `change` is what is kept of that. */
  #ended(task: Task, change?: Partial<StoredTask>): void {
    if (this.#open.get(task.upload.name) === task) this.#open.delete(task.upload.name)
    if (change) this.#kept?.note(this.#keep(task.id, change))
    this.#over.push(task.id)
    if (this.#over.length <= clientLimits.finishedUploads) return
    const oldest = this.#over.shift()
    if (oldest === undefined || !this.#tasks.get(oldest)?.upload.over) return
    this.#tasks.delete(oldest)
  }

  /** Keeps a change of a task, and how far it is. */
  async #keep(id: number, change: Partial<StoredTask>): Promise<void> {
    const { size = 0, durable = 0 } = this.#tasks.get(id)?.upload.progress ?? {}
    await this.#kept?.change(id, { ...(size > 0 && { size, durable }), ...change })
  }

  /** Does something about each of these tasks (all, if none is named), live or only kept. */
  async #each(
    ids: readonly number[] | undefined,
    act: (id: number, task: Task | undefined) => Promise<void>,
  ): Promise<void> {
    if (this.#kept) await this.#kept.open()
    const all = () => new Set([...this.#tasks.keys(), ...[...(this.#kept ?? [])].map(({ id }) => id)])
    for (const id of ids ?? []) if (!this.#kept?.get(id)) this.#named(id)
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
