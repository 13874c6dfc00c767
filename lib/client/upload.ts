import { EventEmitter } from 'eventemitter3'
import type { OspError } from '../errors.ts'
import type { DigestName } from '../ports/platform.ts'
import { type Deferred, deferred } from '../runtime/deferred.ts'
import { type UploadPhase, uploadPhases } from './phases.ts'

export type { UploadPhase } from './phases.ts'

/** How far an upload is, in bytes. */
export interface Progress {
  /** Leading bytes that the server has acknowledged. */
  readonly sent: number
  /** Leading bytes that would survive a crash of the server. */
  readonly durable: number
  /** Of the source, 0 until it was opened. */
  readonly size: number
}

/** What a finished upload has led to. */
export interface SentFile {
  /** The name it was sent under. */
  readonly name: string
  /** The name it lies under on the server. */
  readonly storedName: string
  readonly size: number
  readonly algorithm: DigestName
  /** Of the whole file, in hexadecimal. */
  readonly digest: string
}

export interface UploadEvents {
  progress: [progress: Progress]
  phase: [phase: UploadPhase]
}

/** One upload of a client. */
export class Upload extends EventEmitter<UploadEvents> {
  readonly id: number
  readonly name: string
  #phase: UploadPhase = 'waiting'
  #why: OspError | undefined
  #progress: Progress = { sent: 0, durable: 0, size: 0 }
  #contentBytes = 0
  readonly #finished: Deferred<SentFile> = deferred()

  constructor(id: number, name: string) {
    super()
    this.id = id
    this.name = name
  }

  get phase(): UploadPhase {
    return this.#phase
  }

  /** Why it waits, is paused or has failed, where there is something to say. */
  get why(): OspError | undefined {
    return this.#why
  }

  get progress(): Progress {
    return this.#progress
  }

  /** Bytes of content that this process has sent for it, repeated ones included. */
  get contentBytes(): number {
    return this.#contentBytes
  }

  /** Resolves when the server has stored it; rejects when it has failed or was cancelled. An unheard rejection is silent. */
  get finished(): Promise<SentFile> {
    return this.#finished.promise
  }

  /** For the list that drives it. */
  static readonly control = {
    move(upload: Upload, event: Parameters<typeof uploadPhases.next>[1], why?: OspError): void {
      upload.#phase = uploadPhases.next(upload.#phase, event)
      upload.#why = why
      if (upload.#phase === 'failed' || upload.#phase === 'cancelled') upload.#finished.reject(why)
      upload.emit('phase', upload.#phase)
    },
    stand(upload: Upload, sent: number, durable: number, size: number): void {
      upload.#progress = { sent, durable, size }
      upload.emit('progress', upload.#progress)
    },
    count(upload: Upload, bytes: number): void {
      upload.#contentBytes += bytes
    },
    finish(upload: Upload, file: SentFile): void {
      upload.#finished.resolve(file)
    },
    /** The client was closed: nobody will drive it any more. */
    abandon(upload: Upload, why: OspError): void {
      upload.#finished.reject(why)
    },
  }
}
