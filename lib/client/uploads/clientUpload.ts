import type { OspError } from '../../errors.ts'
import type { Log } from '../../ports/log.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { Emitter } from '../../runtime/emitter.ts'
import {
  type Progress,
  type SentFile,
  type Upload,
  type UploadEvents,
  type UploadPhase,
  type UploadStep,
  uploadPhases,
} from './upload.ts'

/** An upload as its client changes it. `done` settles before the events are emitted. */
export class ClientUpload extends Emitter<UploadEvents> implements Upload {
  readonly id: number
  readonly name: string
  readonly ref: string | undefined
  readonly #changed: (upload: Upload) => void
  #phase: UploadPhase = 'waiting'
  #error: OspError | undefined
  #progress: Progress = { acknowledged: 0, durable: 0, size: 0 }
  #transferred = 0
  readonly #done: Deferred<SentFile> = deferred()

  /** `changed` is called after each event. */
  constructor(id: number, name: string, changed: (upload: Upload) => void, ref?: string, log?: Log) {
    super(log)
    this.id = id
    this.name = name
    this.ref = ref
    this.#changed = changed
  }

  get phase(): UploadPhase {
    return this.#phase
  }

  get error(): OspError | undefined {
    return this.#error
  }

  get progress(): Progress {
    return this.#progress
  }

  get transferred(): number {
    return this.#transferred
  }

  get done(): Promise<SentFile> {
    return this.#done.promise
  }

  /** Whether it has ended: done, failed or cancelled. */
  get over(): boolean {
    return this.#phase === 'done' || this.#phase === 'failed' || this.#phase === 'cancelled'
  }

  /** Takes a step of the phases. `done` rejects with `error` if the step ends the upload. */
  move(step: Exclude<UploadStep, 'stored'>, error?: OspError): void {
    this.#phase = uploadPhases.next(this.#phase, step)
    this.#error = error
    if (this.over) this.#done.reject(error)
    this.#emitPhase()
  }

  /** The server has stored it. */
  stored(file: SentFile): void {
    const { size } = file
    this.#phase = uploadPhases.next(this.#phase, 'stored')
    this.#error = undefined
    this.#progress = { acknowledged: size, durable: size, size }
    this.#done.resolve(file)
    this.#emitProgress()
    this.#emitPhase()
  }

  setProgress(acknowledged: number, durable: number, size: number): void {
    this.#progress = { acknowledged, durable, size }
    this.#emitProgress()
  }

  /** Adds content bytes that this process has sent and the server has acknowledged. */
  addTransferred(bytes: number): void {
    this.#transferred += bytes
  }

  #emitPhase(): void {
    this.emit('phase', this.#phase)
    this.#changed(this)
  }

  #emitProgress(): void {
    this.emit('progress', this.#progress)
    this.#changed(this)
  }
}
