import { EventEmitter } from 'eventemitter3'
import { Pace } from '../core/pace.ts'
import { OspError } from '../errors.ts'
import { clientLimits } from '../limits.ts'
import { checkFileName } from '../names.ts'
import type { Log } from '../ports/log.ts'
import type { Platform } from '../ports/platform.ts'
import type { FileSource } from '../ports/source.ts'
import { tell } from '../runtime/tell.ts'
import { ClientUpload } from './clientUpload.ts'
import { checkAddOptions } from './options.ts'
import type { ClientSession } from './session.ts'
import { Task } from './task.ts'
import type { Upload } from './upload.ts'
import type { UploadLink } from './uploadLink.ts'
import type { AddOptions, Uploads, UploadsEvents } from './uploads.ts'

export interface UploadListOptions {
  readonly platform: Platform
  readonly session: ClientSession<UploadLink>
  /** Uploads at once, where the server allows as many. */
  readonly atOnce: number
  /** Bytes a second for all uploads together. */
  readonly limitRate: number
  readonly retryForMs: number
  readonly log: Log
}

/** The uploads of a client as the client drives them. */
export class UploadList extends EventEmitter<UploadsEvents> implements Uploads {
  readonly #options: UploadListOptions
  readonly #pace: Pace
  readonly #tasks = new Map<number, Task>()
  readonly #over: number[] = []
  #lastId = 0
  /** One, until the server has told how many it takes. */
  #atOnce = 1
  #closed = false

  constructor(options: UploadListOptions) {
    super()
    this.#options = options
    this.#pace = new Pace(options.limitRate)
  }

  [Symbol.iterator](): Iterator<Upload> {
    return [...this.#tasks.values()].map(({ upload }) => upload)[Symbol.iterator]()
  }

  async add(source: FileSource, options: AddOptions = {}): Promise<Upload> {
    const { name = source?.name, digest = 'sha256' } = options
    checkAddOptions({ source, name, digest })
    const normal = checkFileName(name.normalize('NFC'))
    if (this.#closed) throw new OspError('closed', 'the client was closed')
    for (const { upload } of this.#tasks.values()) {
      if (upload.name === normal && !upload.over) {
        throw new OspError('usage', `an upload named ${JSON.stringify(normal)} is under way already`)
      }
    }
    const { session } = this.#options
    const upload = new ClientUpload(++this.#lastId, normal, (upload) => this.#changed(upload))
    this.#tasks.set(upload.id, new Task({ ...this.#options, upload, source, algorithm: digest, pace: this.#pace }))
    const over = () => this.#keepBounded(upload.id)
    upload.finished.then(over, over)
    this.#changed(upload)
    session.start()
    this.#fill()
    return upload
  }

  async pause(ids?: readonly number[]): Promise<void> {
    await Promise.all(this.#chosen(ids).map((task) => task.pause()))
  }

  async resume(ids?: readonly number[]): Promise<void> {
    for (const { upload } of this.#chosen(ids)) if (upload.phase === 'paused') upload.move('resume')
    this.#fill()
  }

  async cancel(ids: readonly number[]): Promise<void> {
    await Promise.all(this.#chosen(ids).map((task) => task.cancel()))
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
    await Promise.all([...this.#tasks.values()].map((task) => task.close()))
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
    for (const task of this.#tasks.values()) if (task.active) free--
    for (const task of this.#tasks.values()) {
      if (free <= 0) return
      if (task.active || task.upload.phase !== 'waiting') continue
      free--
      void task.begin().then(() => this.#fill())
    }
  }

  #changed(upload: Upload): void {
    tell(() => this.emit('change', upload))
  }

  #keepBounded(id: number): void {
    this.#over.push(id)
    if (this.#over.length <= clientLimits.finishedUploads) return
    const oldest = this.#over.shift()
    if (oldest !== undefined) this.#tasks.delete(oldest)
  }
}
