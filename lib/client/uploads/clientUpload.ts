import type { OspError } from '../../errors.ts'
import type { Log } from '../../ports/log.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { Emitter } from '../../runtime/emitter.ts'
import { type UploadPhase, type UploadStep, uploadPhases } from './phases.ts'
import type { Progress, SentFile, Upload, UploadEvents } from './upload.ts'

/** An upload as its client drives it. Promises are settled before anybody is told. */
export class ClientUpload extends Emitter<UploadEvents> implements Upload {
  readonly id: number
  readonly name: string
  readonly ref: string | undefined
  readonly #changed: (upload: Upload) => void
  #phase: UploadPhase = 'waiting'
  #why: OspError | undefined
  #progress: Progress = { acknowledged: 0, durable: 0, size: 0 }
  #transferred = 0
  readonly #finished: Deferred<SentFile> = deferred()

  /** `changed` is called behind every event. */
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
    return this.#why
  }

  get progress(): Progress {
    return this.#progress
  }

  get transferred(): number {
    return this.#transferred
  }

  get done(): Promise<SentFile> {
    return this.#finished.promise
  }

  /** Whether nothing more becomes of it. */
  get over(): boolean {
    return this.#phase === 'done' || this.#phase === 'failed' || this.#phase === 'cancelled'
  }

  /** Takes a step of the table; `why` is what `finished` rejects with where that ends it. */
  move(step: Exclude<UploadStep, 'stored'>, why?: OspError): void {
    this.#phase = uploadPhases.next(this.#phase, step)
    this.#why = why
    if (this.over) this.#finished.reject(why)
    this.#tellPhase()
  }

  /** The server has stored it. */
  stored(file: SentFile): void {
    const { size } = file
    this.#phase = uploadPhases.next(this.#phase, 'stored')
    this.#why = undefined
    this.#progress = { acknowledged: size, durable: size, size }
    this.#finished.resolve(file)
    this.#tellProgress()
    this.#tellPhase()
  }

  stand(acknowledged: number, durable: number, size: number): void {
    this.#progress = { acknowledged, durable, size }
    this.#tellProgress()
  }

  /** The server has acknowledged this many bytes of content that this process has sent. */
  count(bytes: number): void {
    this.#transferred += bytes
  }

  #tellPhase(): void {
    this.emit('phase', this.#phase)
    this.#changed(this)
  }

  #tellProgress(): void {
    this.emit('progress', this.#progress)
    this.#changed(this)
  }
}
