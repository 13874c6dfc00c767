import { EventEmitter } from 'eventemitter3'
import { Pace } from '../core/pace.ts'
import { OspError } from '../errors.ts'
import { clientLimits } from '../limits.ts'
import { checkFileName } from '../names.ts'
import type { DigestName, Platform } from '../ports/platform.ts'
import type { FileSource } from '../ports/source.ts'
import type { ClientSession } from './session.ts'
import { Upload } from './upload.ts'
import { UploadRun } from './uploadRun.ts'

export interface UploadsOptions {
  readonly platform: Platform
  readonly session: ClientSession
  /** Uploads at once, where the server allows as many. */
  readonly atOnce: number
  /** Bytes a second for all uploads together. */
  readonly limitRate: number
  readonly retryForMs: number
}

export interface UploadsEvents {
  /** An upload was added, has made progress, or has changed its phase. */
  change: [upload: Upload]
}

export interface AddOptions {
  /** The name on the server; by default the source's. It is brought into NFC. */
  readonly name?: string
  /** The digest that the file is verified by; by default SHA-256. */
  readonly digest?: DigestName
}

interface Task {
  readonly upload: Upload
  readonly run: UploadRun
  /** Set while it is one of those that are being sent. */
  active: AbortController | undefined
}

const { control } = Upload

/** The uploads of a client: some are sent at once, the rest wait their turn in the order in which they were added. */
export class Uploads extends EventEmitter<UploadsEvents> implements Iterable<Upload> {
  readonly #options: UploadsOptions
  readonly #pace: Pace
  readonly #tasks = new Map<number, Task>()
  readonly #running = new Set<Promise<void>>()
  readonly #finished: number[] = []
  #lastId = 0
  /** One, until the server has told how many it takes. */
  #atOnce = 1
  #closed = false

  constructor(options: UploadsOptions) {
    super()
    this.#options = options
    this.#pace = new Pace(options.limitRate)
  }

  [Symbol.iterator](): Iterator<Upload> {
    return [...this.#tasks.values()].map(({ upload }) => upload)[Symbol.iterator]()
  }

  /**
   * Adds an upload; it begins when it is its turn. Rejects with OspError `bad-name`, `usage` if an unfinished upload of
   * this client has that name already, or `closed`.
   */
  async add(source: FileSource, { name = source.name, digest = 'sha256' }: AddOptions = {}): Promise<Upload> {
    const normal = checkFileName(name.normalize('NFC'))
    if (this.#closed) throw new OspError('closed', 'the client was closed')
    for (const { upload } of this.#tasks.values()) {
      if (upload.name === normal && !isOver(upload)) {
        throw new OspError('usage', `an upload named ${JSON.stringify(normal)} is under way already`)
      }
    }
    const upload = new Upload(++this.#lastId, normal)
    const { platform, session, retryForMs } = this.#options
    const run = new UploadRun({ upload, source, algorithm: digest, platform, session, pace: this.#pace, retryForMs })
    this.#tasks.set(upload.id, { upload, run, active: undefined })
    upload.on('phase', () => this.emit('change', upload))
    upload.on('progress', () => this.emit('change', upload))
    this.emit('change', upload)
    session.start()
    this.#fill()
    return upload
  }

  /** Pauses uploads (all, if none is named): the server keeps what it has. Resolves when their instances are free. */
  async pause(ids?: readonly number[]): Promise<void> {
    const ended: (Promise<void> | undefined)[] = []
    for (const task of this.#chosen(ids)) {
      if (isOver(task.upload) || task.upload.phase === 'paused' || task.upload.phase === 'cancelling') continue
      control.move(task.upload, 'pause')
      ended.push(this.#interrupt(task))
    }
    await Promise.all(ended)
  }

  /** Lets paused uploads (all, if none is named) go on where the server stands. */
  async resume(ids?: readonly number[]): Promise<void> {
    for (const { upload } of this.#chosen(ids)) if (upload.phase === 'paused') control.move(upload, 'resume')
    this.#fill()
  }

  /**
   * Cancels uploads: what the server has of them is removed; never a published file. Resolves when the server has said
   * so; until then their phase is `cancelling`.
   */
  async cancel(ids: readonly number[]): Promise<void> {
    await Promise.all(this.#chosen(ids).map((task) => this.#cancel(task)))
  }

  /** The server takes `most` uploads at once on a link. */
  set allowed(most: number) {
    this.#atOnce = Math.min(this.#options.atOnce, most)
    this.#pace.reset()
    this.#fill()
  }

  /** Stops everything; what the server has can be continued. */
  async close(): Promise<void> {
    this.#closed = true
    for (const { active } of this.#tasks.values()) active?.abort()
    await Promise.all(this.#running)
    for (const { upload } of this.#tasks.values()) {
      if (!isOver(upload))
        control.abandon(upload, new OspError('closed', 'the client was closed before this upload was done'))
    }
  }

  #chosen(ids: readonly number[] | undefined): readonly Task[] {
    if (!ids) return [...this.#tasks.values()]
    return ids.map((id) => {
      const task = this.#tasks.get(id)
      if (!task) throw new OspError('usage', `there is no upload ${id}`)
      return task
    })
  }

  #fill(): void {
    if (this.#closed) return
    let free = this.#atOnce
    for (const { active } of this.#tasks.values()) if (active) free--
    for (const task of this.#tasks.values()) {
      if (free <= 0) return
      if (task.active || task.upload.phase !== 'waiting') continue
      free--
      this.#begin(task)
    }
  }

  #begin(task: Task): void {
    const active = new AbortController()
    task.active = active
    const running = this.#drive(task, active.signal).finally(() => {
      this.#running.delete(running)
      task.active = undefined
      this.#fill()
    })
    this.#running.add(running)
  }

  async #drive({ upload, run }: Task, signal: AbortSignal): Promise<void> {
    try {
      const file = await run.run(signal)
      control.stand(upload, file.size, file.size, file.size)
      control.move(upload, 'stored')
      control.finish(upload, file)
    } catch (error) {
      if (signal.aborted || isOver(upload)) return
      control.move(upload, 'fail', OspError.from(error))
    }
    this.#over(upload)
  }

  async #interrupt(task: Task): Promise<void> {
    task.active?.abort()
    while (task.active) await Promise.race(this.#running)
  }

  async #cancel(task: Task): Promise<void> {
    const { upload } = task
    if (isOver(upload)) return
    if (upload.phase !== 'cancelling') control.move(upload, 'cancel')
    await this.#interrupt(task)
    while (upload.phase === 'cancelling') {
      const link = await this.#options.session.online()
      try {
        await link.peer.ask({ event: 'CancelFileReq', fileName: upload.name }).reply
        control.move(upload, 'cancelled', new OspError('cancelled'))
        this.#over(upload)
      } catch (error) {
        // On the next link it is asked again; only a refusal ends it.
        if (!link.peer.ended) throw error
        await link.loss.why
      }
    }
  }

  /** Keeps the list of what is over bounded. */
  #over(upload: Upload): void {
    this.#finished.push(upload.id)
    if (this.#finished.length <= clientLimits.finishedUploads) return
    const oldest = this.#finished.shift()
    if (oldest !== undefined) this.#tasks.delete(oldest)
  }
}

function isOver({ phase }: Upload): boolean {
  return phase === 'done' || phase === 'failed' || phase === 'cancelled'
}
