import { machine } from '../../core/machine.ts'
import { OspError } from '../../errors.ts'
import type { Listenable } from '../../ports/listenable.ts'
import type { Log } from '../../ports/log.ts'
import { deferred } from '../../runtime/deferred.ts'
import { Emitter } from '../../runtime/emitter.ts'
import type { FileInfo } from './fileRequests.ts'

/** The phases of a download. It waits for other downloads, for the link, or to retry after a refusal. */
const downloadPhases = machine({
  waiting: { receive: 'receiving', stored: 'done', fail: 'failed' },
  receiving: { stall: 'waiting', verify: 'verifying', fail: 'failed' },
  verifying: { stall: 'waiting', stored: 'done', fail: 'failed' },
  failed: {},
  done: {},
})

export type DownloadPhase = keyof typeof downloadPhases.table

type DownloadStep = Parameters<typeof downloadPhases.next>[1]

/** The progress of a download, in bytes. */
export interface DownloadProgress {
  /** Leading bytes that were written or handed over; verified only at the end. */
  readonly received: number
  /** The size of the file; 0 until the server has answered. */
  readonly size: number
}

export interface DownloadEvents {
  progress: [progress: DownloadProgress]
  phase: [phase: DownloadPhase]
}

/**
 * A download. Without a target, it is an iterable of the content that can be iterated once: it reads ahead a bounded number of
 * bytes, and rejects at the end with OspError `digest-mismatch` if the content is not that of the file.
 */
export interface Download extends Listenable<DownloadEvents>, AsyncIterable<Uint8Array> {
  /** The name on the server. */
  readonly name: string
  readonly phase: DownloadPhase
  /** The error because of which it waits or has failed. */
  readonly error: OspError | undefined
  readonly progress: DownloadProgress
  /** Content bytes that were received for it. 0 if the target already had the content. */
  readonly transferred: number
  /**
   * Resolves when the target is complete and durable, or when the content was handed over and verified. Rejects when it has
   * failed, with code `closed` if it was aborted or its client was closed. An unhandled rejection is silent.
   */
  readonly done: Promise<FileInfo>
  /** Returns the content as a web stream. Can be called once, instead of iterating. */
  stream(): ReadableStream<Uint8Array>
}

/** A download as its client changes it. `done` settles before the events are emitted. */
export class ClientDownload extends Emitter<DownloadEvents> implements Download {
  readonly name: string
  phase: DownloadPhase = 'waiting'
  error: OspError | undefined
  progress: DownloadProgress = { received: 0, size: 0 }
  transferred = 0
  readonly #done = deferred<FileInfo>()
  readonly done = this.#done.promise
  readonly #content: () => AsyncGenerator<Uint8Array>
  readonly #leave: () => void

  /** `content` starts to hand over the content, or throws if that is not possible. `leave` aborts this. */
  constructor(name: string, content: () => AsyncGenerator<Uint8Array>, leave: () => void, log?: Log) {
    super(log)
    this.name = name
    this.#content = content
    this.#leave = leave
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    const content = this.#content()
    const end = content.return.bind(content)
    content.return = (value) => {
      // A generator ends only after its pending read has ended.
      this.#leave()
      return end(value)
    }
    return content
  }

  /** Fails the download unless it has ended: by default because the caller has left it. */
  fail(error = new OspError('closed', `the download of ${this.name} was aborted`)): void {
    if (this.phase !== 'done' && this.phase !== 'failed') this.move('fail', error)
  }

  stream(): ReadableStream<Uint8Array> {
    const content = this[Symbol.asyncIterator]()
    return new ReadableStream({
      async pull(controller) {
        const { done, value } = await content.next()
        if (done) controller.close()
        else controller.enqueue(value)
      },
      async cancel() {
        await content.return?.(undefined)
      },
    })
  }

  /** Takes a step to another phase, unless the download is already in that phase. `done` rejects with `error` after `fail`. */
  move(step: Exclude<DownloadStep, 'stored'>, error?: OspError): void {
    const isSame = (step === 'receive' && this.phase === 'receiving') || (step === 'stall' && this.phase === 'waiting')
    if (!isSame) this.phase = downloadPhases.next(this.phase, step)
    this.error = error
    if (step === 'fail') this.#done.reject(error)
    if (!isSame) this.emit('phase', this.phase)
  }

  stored(file: FileInfo): void {
    this.phase = downloadPhases.next(this.phase, 'stored')
    this.error = undefined
    this.#done.resolve(file)
    this.setProgress(file.size, file.size)
    this.emit('phase', this.phase)
  }

  setProgress(received: number, size: number): void {
    this.progress = { received, size }
    this.emit('progress', this.progress)
  }
}
