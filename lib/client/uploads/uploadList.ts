import { Pacer } from '../../core/pacer.ts'
import { Queue } from '../../core/queue.ts'
import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import { checkFileName } from '../../names.ts'
import { checkArgument, checkOptions, optional } from '../../options.ts'
import type { Metadata } from '../../ports/catalogue.ts'
import type { ClientState, StoredTask } from '../../ports/clientState.ts'
import type { Listenable } from '../../ports/listenable.ts'
import type { Log } from '../../ports/log.ts'
import type { DigestName } from '../../ports/platform.ts'
import type { FileSource } from '../../ports/source.ts'
import { Emitter } from '../../runtime/emitter.ts'
import { settleAll } from '../../runtime/settled.ts'
import { onAbort } from '../../runtime/wait.ts'
import type { MessageReceipts } from '../messages/messageReceipts.ts'
import { ids as idsKind, uploadOptions } from '../options.ts'
import { checkRoom, givenMetadata, hasEnded, nameTaken, TaskRegistry, unknownTask } from './taskRegistry.ts'
import { liveStatus, storedStatus, type TaskStatus } from './taskStatus.ts'
import { ClientUpload, type Upload, type UploadHost } from './upload.ts'
import { instanceSlot, UploadJob, type UploadJobOptions, type UploadSettings } from './uploadJob.ts'
import { abortedText } from './uploadSource.ts'
import { PutBatch } from './wholeFile.ts'

export interface UploadsEvents {
  /** An upload was added, has made progress, or has changed its phase. */
  change: [upload: Upload]
}

export interface UploadOptions {
  /** The name on the server, by default that of the path, the `File` or the source. It is normalized to NFC. */
  readonly name?: string | undefined
  /** The digest that verifies the file; `sha256` by default. */
  readonly digest?: DigestName | undefined
  /**
   * Texts that the server stores with the file, by key: at most 32 keys, 4 KiB in all. `contentType` is the media type of the content.
   * A file with metadata is not sent in one request. An unfinished upload keeps the metadata with which it began.
   */
  readonly metadata?: Metadata | undefined
  /**
   * Ends the upload when it aborts, as closing the client does: it fails with `closed`, the server keeps its bytes, and its task in
   * the client's state stays unfinished.
   */
  readonly signal?: AbortSignal | undefined
  /**
   * Up to 16 users who receive a message with a reference to the file, with which they can download it (`Message.file`). The file
   * and the messages become durable together. A file with recipients is not sent in one request. An unfinished upload keeps its
   * recipients; adding it again with others is an error.
   */
  readonly to?: readonly string[] | undefined
  /**
   * Asks for a receipt from each user who is notified of the file: the users in `to`, and those that the server itself notifies.
   * The receipts settle `Upload.handled`. A file with receipts is not sent in one request. The upload waits while the user has too
   * many receipts that wait or are expected.
   */
  readonly receipt?: boolean | undefined
}

/** The uploads of a client. A limited number is sent at once; the others wait in the order in which they were added. */
export interface Uploads extends Listenable<UploadsEvents>, Iterable<Upload> {
  /**
   * Restores the unfinished tasks (those with these ids, if any are given) that a former program has left in the client's
   * state. Paused tasks stay paused; an interrupted cancellation is completed.
   */
  restore(ids?: readonly number[]): Promise<readonly Upload[]>
  /**
   * Returns all tasks by ascending id: those of this program, and others in its state. Failed tasks are kept for a day.
   * Of the other ended tasks, the latest 1,000 are kept.
   */
  tasks(): Promise<readonly TaskStatus[]>
  /** Pauses uploads (all, if no ids are given). The server keeps its bytes. Resolves when their instances are free. */
  pause(ids?: readonly number[]): Promise<void>
  /**
   * Continues paused uploads (all, if no ids are given) from the server's progress, and restores tasks that are only stored.
   * A failed task is tried again if its id is given.
   */
  resume(ids?: readonly number[]): Promise<void>
  /**
   * Cancels uploads. The server removes their bytes, but never a published file. Resolves when the server has
   * confirmed it; until then their phase is `cancelling`. Rejects if the server's refusal is final, or lasts longer than
   * `retryForMs`; the upload is `failed` then. An upload that the server is verifying already becomes `done` if its digest
   * is right. If a file of that name had been stored before, the text of `error` says that it stays.
   */
  cancel(ids: readonly number[]): Promise<void>
}

export interface UploadListOptions
  extends Omit<UploadJobOptions, 'pace' | 'digests' | 'loaded' | 'mayMove' | 'together' | 'ended'> {
  /** Stores tasks and opens their sources again. */
  readonly state: Pick<ClientState, 'tasks' | 'digests' | 'reopen' | 'discard'>
  /** The number of uploads that are sent at once, if the server allows it. */
  readonly atOnce: number
  readonly limitRate: number
  readonly listenerLog: Log | undefined
  readonly receipts: MessageReceipts
}

/** The uploads of a client: the list, its stored tasks, and the choice of those that are sent. */
export class UploadList extends Emitter<UploadsEvents> implements Uploads {
  readonly #options: UploadListOptions
  readonly #jobOptions: UploadJobOptions
  readonly #jobs = new Map<number, UploadJob>()
  /** The jobs that have not ended, by name, in the order in which they were added. */
  readonly #open = new Map<string, UploadJob>()
  /**
   * The jobs of `#open` that can begin, and possibly others, in the same order. Undefined if it must be built again, because a job
   * that was removed from it can begin again.
   */
  #candidates: Set<UploadJob> | undefined
  readonly #registry: TaskRegistry
  /** The ids of ended uploads, in the order in which they ended. */
  readonly #over = new Queue<number>()
  readonly #host: UploadHost = {
    pause: (ids) => this.pause(ids),
    resume: (ids) => this.resume(ids),
    cancel: (ids) => this.cancel(ids),
    changed: (upload) => this.#changed(upload),
  }
  /** The number of uploads that have or want an instance. */
  #active = 0
  /** The number of small files that are being sent, and the bytes of their content. */
  #small = 0
  #smallBytes = 0
  /** Set when `smallFiles` small files are being sent: no other one begins until there is room for a full request. */
  #isFull = false
  /** One until the server has reported its limit. */
  #atOnce = 1
  #closed = false
  #isFilling = false
  #isDue = false

  constructor(options: UploadListOptions) {
    super(options.listenerLog)
    this.#options = options
    const { state, platform, session, retryForMs, log } = options
    this.#jobOptions = {
      platform,
      session,
      retryForMs,
      log,
      pace: new Pacer(options.limitRate),
      digests: state.digests,
      loaded: new Set(),
      mayMove: (job, size) => this.#mayMove(job, size),
      together: (work) => this.#fill(work),
      ended: (job) => {
        this.#assign(job, undefined)
        if (!job.upload.over) this.#candidates = undefined
        this.#fill()
      },
    }
    this.#registry = new TaskRegistry(state, platform, log)
  }

  [Symbol.iterator](): Iterator<Upload> {
    return [...this.#jobs.values()].flatMap(({ accepted, upload }) => (accepted ? [upload] : []))[Symbol.iterator]()
  }

  /** Adds an upload, as `Client.upload` does. */
  async add(source: FileSource, options: UploadOptions = {}): Promise<Upload> {
    const [upload] = await this.addAll([source], options)
    if (upload instanceof OspError) throw upload
    return upload as Upload
  }

  /** Adds uploads, as `Client.uploadAll` does. With a `name`, there must be only one. */
  async addAll(sources: readonly FileSource[], options: UploadOptions = {}): Promise<readonly (Upload | OspError)[]> {
    checkOptions('client.upload', uploadOptions, options)
    const { digest: algorithm = 'sha256', metadata, to, receipt, signal } = options
    if (signal?.aborted) throw abortedError()
    const kept = givenMetadata(metadata)
    const how = () => ({ algorithm, ...kept, ...this.#registry.noticeTo(to, receipt) })
    if (this.#options.state.tasks) await this.#registry.open()
    this.#checkOpen()
    const created: UploadJob[] = []
    const results = sources.map((source) => this.#added(source, options, how, created))
    const settling = settleAll<(typeof results)[number], Upload | UploadJob | OspError>(results, (result) => result)
    const [failure, settled] = await Promise.all([this.#accept(created), settling])
    return settled.map((result) => {
      const upload = result instanceof UploadJob ? (failure ?? result.upload) : result
      return upload instanceof Error ? OspError.from(upload) : this.#untilAborted(upload, signal)
    })
  }

  /** Creates the job of a source, or continues the unfinished upload of its name. */
  #added(
    source: FileSource,
    { name = source.name, to }: UploadOptions,
    how: () => UploadSettings,
    created: UploadJob[],
  ): UploadJob | OspError | Promise<Upload> {
    try {
      const normal = checkFileName(name.normalize('NFC'))
      const open = this.#open.get(normal)?.upload
      const live = open?.over ? undefined : open
      const known = live ?? this.#registry.named(normal)
      if (known) {
        if (source.ref === undefined || known.ref !== source.ref || live?.phase === 'cancelling')
          throw nameTaken(normal)
        this.#registry.checkRecipients({ id: known.id, name: normal }, to)
        return this.#continue(known.id)
      }
      checkRoom(Math.max(this.#open.size, this.#registry.size + created.length))
      const job = this.#create(this.#registry.nextId(), normal, source, how())
      created.push(job)
      return job
    } catch (error) {
      return OspError.from(error)
    }
  }

  async #continue(id: number): Promise<Upload> {
    await this.resume([id])
    await this.#registry.idle()
    return this.#named(id).upload
  }

  /** Returns an upload that ends when `signal` aborts. */
  #untilAborted(upload: Upload, signal: AbortSignal | undefined): Upload {
    if (!signal) return upload
    const aborted = onAbort(signal, () => void this.#abort(upload))
    const ended = () => aborted[Symbol.dispose]()
    upload.done.then(ended, ended)
    return upload
  }

  async #abort(upload: Upload): Promise<void> {
    const job = this.#jobs.get(upload.id)
    if (job?.upload === upload) await this.#close([job], abortedError())
  }

  async restore(ids?: readonly number[]): Promise<readonly Upload[]> {
    checkArgument('uploads.restore', 'the argument', optional(idsKind), ids)
    await this.#registry.open()
    this.#checkOpen()
    const wanted = [...this.#registry].filter(({ id, state }) => !hasEnded(state) && (ids?.includes(id) ?? true))
    const uploads = wanted.map((task) => (this.#jobs.get(task.id) ?? this.#revive(task)).upload)
    this.#fill()
    return uploads
  }

  async tasks(): Promise<readonly TaskStatus[]> {
    await this.#registry.open()
    const { session, platform } = this.#options
    const live = [...this.#jobs.values()].map((job) => liveStatus(job, session.failure, platform.clock.now()))
    const others = [...this.#registry].filter(({ id }) => !this.#jobs.has(id)).map(storedStatus)
    return [...live, ...others].sort((a, b) => a.id - b.id)
  }

  async pause(ids?: readonly number[]): Promise<void> {
    checkArgument('uploads.pause', 'the argument', optional(idsKind), ids)
    await this.#each(ids, async (id, job) => {
      await job?.pause()
      if (this.#registry.get(id)?.state === 'open') await this.#change(id, { state: 'paused' })
    })
  }

  async resume(ids?: readonly number[]): Promise<void> {
    checkArgument('uploads.resume', 'the argument', optional(idsKind), ids)
    await this.#each(ids, (id, job) => this.#resume(id, job, ids !== undefined))
    this.#fill()
  }

  async cancel(ids: readonly number[]): Promise<void> {
    checkArgument('uploads.cancel', 'the argument', idsKind, ids)
    await this.#each(ids, async (id, job) => {
      const stored = this.#registry.get(id)
      if (!stored || stored.state === 'done') return await job?.cancel()
      // What the server has belongs to the other task of that name.
      if (this.#registry.isReplaced(stored)) return await this.#registry.forget(id)
      const live = job && !job.upload.over ? job : this.#revive({ ...stored, state: 'open' })
      await Promise.all([this.#change(id, { state: 'cancelling' }), live.cancel()])
    })
    await this.#registry.idle()
  }

  /** Begins a new link, with the round trip of HELLO, on which the server accepts `most` uploads at once. */
  allow(most: number, roundTripMs: number): void {
    this.#atOnce = Math.min(this.#options.atOnce, most)
    this.#jobOptions.pace.reset(this.#options.platform.clock.now(), roundTripMs)
    this.#fill()
  }

  /** Ends all uploads. The server keeps the bytes, so that they can be continued. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#close(
      [...this.#jobs.values()],
      new OspError('closed', 'the client was closed before this upload was done'),
    )
    await this.#registry.idle()
  }

  async #close(jobs: readonly UploadJob[], reason: OspError): Promise<void> {
    const unfinished = jobs.filter(({ upload }) => !upload.over)
    await Promise.all(jobs.map((job) => job.close(reason)))
    for (const { upload } of unfinished) {
      if (upload.phase === 'failed' && upload.progress.size > 0) this.#registry.logFailure(this.#change(upload.id, {}))
    }
  }

  /** Stores the tasks of new jobs with one write, and lets the jobs begin. Resolves with the error if their state cannot store them. */
  async #accept(jobs: readonly UploadJob[]): Promise<OspError | undefined> {
    const tasks = this.#options.state.tasks ? jobs.flatMap((job) => job.newTask ?? []) : []
    try {
      if (tasks.length > 0) await this.#registry.accept(tasks)
    } catch (cause) {
      const error = OspError.from(cause)
      for (const { upload } of jobs) {
        upload.move('fail', error)
        this.#jobs.delete(upload.id)
      }
      return error
    }
    for (const job of jobs) {
      this.#accepted(job)
      this.emit('change', job.upload)
    }
    this.#fill()
    return undefined
  }

  /** Continues a paused upload, or a stored task that was not cancelled; one that has failed only if it `isNamed`. */
  async #resume(id: number, job: UploadJob | undefined, isNamed: boolean): Promise<void> {
    const stored = this.#registry.get(id)
    if (job && !job.upload.over) {
      if (job.upload.phase !== 'paused') return
      this.#candidates = undefined
      job.upload.move('resume')
    } else {
      if (!stored || stored.state === 'done') return
      if (!isNamed && (stored.state === 'failed' || stored.state === 'cancelling')) return
      this.#registry.checkName(stored)
      this.#revive({ ...stored, state: 'open' })
    }
    if (stored?.state !== 'open') await this.#change(id, { state: 'open' })
  }

  #revive({ id, ref, name, algorithm, metadata, notice, state }: StoredTask): UploadJob {
    const source = this.#options.state.reopen?.(ref)
    if (!source)
      throw new OspError('usage', 'the state of this client cannot open a source again; give it a reopen function')
    const job = this.#create(id, name, source, {
      algorithm,
      ...(metadata && { metadata }),
      ...(notice && { notice }),
    })
    this.#accepted(job)
    this.emit('change', job.upload)
    if (state === 'paused') job.upload.move('pause')
    if (state === 'cancelling') job.cancel().catch(() => {})
    return job
  }

  #create(id: number, name: string, source: FileSource, how: UploadSettings): UploadJob {
    const upload = new ClientUpload(id, name, this.#host, source.ref, this.#options.listenerLog)
    if (how.notice?.receipt) upload.expect(this.#options.receipts, how.notice)
    const job = new UploadJob(this.#jobOptions, { upload, source, ...how })
    this.#jobs.set(id, job)
    this.#open.set(name, job)
    return job
  }

  #accepted(job: UploadJob): void {
    job.accepted = true
    this.#candidates?.add(job)
  }

  #changed(upload: ClientUpload): void {
    const job = upload.over ? this.#jobs.get(upload.id) : undefined
    if (job?.upload === upload && !job.isOver) {
      job.isOver = true
      const { size } = upload.progress
      if (upload.error) this.#failed(job, upload.error)
      else this.#ended(job, { state: 'done', size, durable: size })
    }
    this.emit('change', upload)
  }

  #failed(job: UploadJob, { code, message: text, retry }: OspError): void {
    const { id, phase } = job.upload
    // A task that another program has cancelled stays in the list.
    if (phase === 'cancelled') this.#registry.logFailure(this.#registry.forget(id))
    // The task stays open after the end of the client, after a refusal that is not final, and after a refused token, because the
    // next program can have another token.
    if (code === 'unauthorized') this.#ended(job, { reason: { code, text } })
    else if (phase === 'cancelled' || code === 'closed' || retry !== 'never') this.#ended(job)
    else this.#ended(job, { state: 'failed', reason: { code, text } })
  }

  /** Handles the end of an upload, and stores `change`. */
  #ended(job: UploadJob, change?: Partial<StoredTask>): void {
    const { id, name } = job.upload
    if (this.#open.get(name) === job) this.#open.delete(name)
    if (change) this.#registry.logFailure(this.#change(id, change, job))
    this.#over.push(id)
    if (this.#over.length <= clientLimits.finishedUploads) return
    const oldest = this.#over.shift() ?? id
    if (this.#jobs.get(oldest)?.upload.over) this.#jobs.delete(oldest)
  }

  /** Stores a change of a task, and its progress. */
  #change(id: number, change: Partial<StoredTask>, job = this.#jobs.get(id)): Promise<void> {
    const { size = 0, durable = 0 } = job?.upload.progress ?? {}
    return this.#registry.change(id, size > 0 ? { size, durable, ...change } : change)
  }

  /** Calls `act` for each of these tasks (all, if no ids are given), live or only stored. */
  async #each(ids: readonly number[] | undefined, act: (id: number, job?: UploadJob) => Promise<void>): Promise<void> {
    // Without stored tasks the phases change before the call returns.
    if (this.#options.state.tasks) await this.#registry.open()
    for (const id of ids ?? []) if (!this.#registry.get(id)) this.#named(id)
    const all = ids ?? [...new Set([...this.#jobs.keys(), ...[...this.#registry].map(({ id }) => id)])]
    await Promise.all(all.map((id) => act(id, this.#jobs.get(id))))
  }

  #named(id: number): UploadJob {
    const job = this.#jobs.get(id)
    if (!job) throw unknownTask(id)
    return job
  }

  #checkOpen(): void {
    if (this.#closed) throw new OspError('closed', 'the client was closed')
  }

  /** Begins waiting uploads while slots are free, after `work` if it is given. */
  #fill(work?: () => void): void {
    // An upload that begins or ends calls this again.
    this.#isDue = true
    if (this.#isFilling) {
      work?.()
      return
    }
    this.#isFilling = true
    work?.()
    while (this.#isDue && !this.#closed) {
      this.#isDue = false
      this.#beginWaiting()
    }
    this.#isFilling = false
  }

  #beginWaiting(): void {
    this.#candidates ??= new Set(this.#open.values())
    const candidates = this.#candidates
    const { link } = this.#options.session
    const batch = link && new PutBatch(link, this.#jobOptions)
    const { smallFiles, smallFilesBytes, putFiles } = clientLimits
    if (this.#small <= smallFiles - putFiles) this.#isFull = false
    for (const job of candidates) {
      this.#isFull ||= this.#small >= smallFiles
      if (this.#active >= this.#atOnce || this.#isFull || this.#smallBytes >= smallFilesBytes) break
      candidates.delete(job)
      if (job.active || !job.accepted || job.upload.phase !== 'waiting') continue
      this.#options.session.start()
      this.#assign(job, instanceSlot)
      job.begin(batch)
    }
    batch?.flush()
  }

  #mayMove(job: UploadJob, size: number | undefined): boolean {
    this.#assign(job, undefined)
    const isFree = size !== undefined || this.#active < this.#atOnce
    if (isFree) this.#assign(job, size ?? instanceSlot)
    this.#fill()
    return isFree
  }

  /** Gives a job a slot in place of the one that it has. */
  #assign(job: UploadJob, slot: number | undefined): void {
    this.#count(job.slot, -1)
    this.#count(slot, 1)
    job.slot = slot
  }

  #count(slot: number | undefined, by: 1 | -1): void {
    if (slot === undefined) return
    if (slot === instanceSlot) this.#active += by
    else {
      this.#small += by
      this.#smallBytes += by * slot
    }
  }
}

const abortedError = () => new OspError('closed', abortedText)
