import { machine } from '../../core/machine.ts'
import { OspError } from '../../errors.ts'
import { checkOptions } from '../../options.ts'
import type { Listenable } from '../../ports/listenable.ts'
import type { Log } from '../../ports/log.ts'
import type { FileNotice, SentFile } from '../../ports/storage.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { Emitter } from '../../runtime/emitter.ts'
import type { SignalOptions } from '../messages/message.ts'
import type { MessageReceipt, MessageReceipts } from '../messages/messageReceipts.ts'
import type { ReceiptIterators } from '../messages/sentMessage.ts'
import { signalOptions } from '../options.ts'

/** The steps that are possible in every phase in which the upload is to be sent. */
const interruptions = { pause: 'paused', cancel: 'cancelling', fail: 'failed', close: 'failed' } as const

/**
 * The phases of an upload on the client. It waits for other uploads, for the link, or for a refusal to pass. A file that is sent
 * in one request is never in the phase `verifying`. The server can have stored it already when it is paused or cancelled.
 * Closing the client fails each upload that has not ended.
 */
export const uploadPhases = machine({
  waiting: { ...interruptions, begin: 'sending' },
  sending: { ...interruptions, verify: 'verifying', stall: 'waiting', stored: 'done' },
  verifying: { ...interruptions, resend: 'sending', stall: 'waiting', stored: 'done' },
  paused: { resume: 'waiting', cancel: 'cancelling', stored: 'done', close: 'failed' },
  cancelling: { cancelled: 'cancelled', stored: 'done', fail: 'failed', close: 'failed' },
  cancelled: {},
  failed: {},
  done: {},
})

export type UploadPhase = keyof typeof uploadPhases.table

type UploadStep = Parameters<typeof uploadPhases.next>[1]

/** The progress of an upload, in bytes. */
export interface Progress {
  /** Leading bytes that the server has acknowledged. */
  readonly acknowledged: number
  /** Leading bytes that survive a crash of the server. */
  readonly durable: number
  /** The size of the source; 0 until it was opened. */
  readonly size: number
}

export interface UploadEvents {
  progress: [progress: Progress]
  phase: [phase: UploadPhase]
}

/** An upload of a client. */
export interface Upload extends Listenable<UploadEvents> {
  readonly id: number
  readonly name: string
  /** The reference by which the client's state opens its source again: the path of a file. */
  readonly ref: string | undefined
  readonly phase: UploadPhase
  /** The error for which it waits, has failed or was cancelled. */
  readonly error: OspError | undefined
  readonly progress: Progress
  /** Content bytes that this process sent for it and the server acknowledged, including repeated ones. */
  readonly transferred: number
  /** The stored file; undefined until the phase is `done`. */
  readonly file: SentFile | undefined
  /**
   * Resolves when the server has stored it. Rejects when it has failed, with code `cancelled` when it was cancelled, and with
   * `closed` when its client was closed or its signal has aborted. An unhandled rejection is silent.
   */
  readonly done: Promise<SentFile>
  /**
   * Resolves with the receipts when each user who is notified of the file has handled or rejected the message about it, or the
   * message has expired. Rejects as `done` does, with OspError `usage` if the upload was added without `receipt`, and with
   * `file-exists` if an earlier upload has stored the file: the server has notified its users then, and their receipts belong to that
   * upload. The receipts are removed from the server when it resolves. If it rejects, they stay for `client.receipts`.
   */
  readonly handled: Promise<readonly MessageReceipt[]>
  /**
   * Iterates over the same receipts, as `SentMessage.receipts` does: each stays on the server until the program asks for the next one.
   * Use either this or `handled`.
   */
  receipts(options?: SignalOptions): AsyncIterableIterator<MessageReceipt>
  /** As `Uploads.pause` for this upload. Does nothing after its end. */
  pause(): Promise<void>
  /** As `Uploads.resume` for this upload. Does nothing after its end. */
  resume(): Promise<void>
  /** As `Uploads.cancel` for this upload. Does nothing after its end. */
  cancel(): Promise<void>
}

/** The dependencies that the uploads of a list share. */
export interface UploadHost {
  pause(ids: readonly number[]): Promise<unknown>
  resume(ids: readonly number[]): Promise<unknown>
  cancel(ids: readonly number[]): Promise<unknown>
  /** Called after each event, and once after both events of a stored upload. */
  readonly changed?: (upload: ClientUpload) => void
}

/** An upload as its client changes it. `done` settles before the events are emitted. */
export class ClientUpload extends Emitter<UploadEvents> implements Upload {
  readonly id: number
  readonly name: string
  readonly ref: string | undefined
  phase: UploadPhase = 'waiting'
  error: OspError | undefined
  progress: Progress = { acknowledged: 0, durable: 0, size: 0 }
  transferred = 0
  file: SentFile | undefined
  #done: Deferred<SentFile> | undefined
  readonly #host: UploadHost
  #handled: Promise<readonly MessageReceipt[]> | undefined
  #receipts: ReceiptIterators | undefined
  #allReceipts: (() => Promise<readonly MessageReceipt[]>) | undefined

  constructor(id: number, name: string, host: UploadHost, ref?: string, log?: Log) {
    super(log)
    this.id = id
    this.name = name
    this.ref = ref
    this.#host = host
  }

  /** Awaits the receipts of the messages about the file. */
  expect(receipts: MessageReceipts, { id }: FileNotice): void {
    const release = receipts.hold(id)
    const expected = (notice: FileNotice) => ({ ...receipts.expect(notice.id, false), count: notice.recipients.length })
    const awaited = this.done
      .then(({ notice, notified }) => ({
        own: notice && expected(notice),
        byServer: notified && expected(notified),
      }))
      .finally(release)
    awaited.catch(() => {})
    this.#receipts = async function* (options) {
      const { own, byServer } = await awaited
      if (own) yield* own.receipts(own.count, options)
      if (!byServer) throw storedBefore()
      yield* byServer.receipts(byServer.count, options)
    }
    this.#allReceipts = async () => {
      const { own, byServer } = await awaited
      if (!own || !byServer) {
        const error = storedBefore()
        own?.failed(error)
        throw error
      }
      const found = await Promise.all([own, byServer].map(({ all, count }) => all(count)))
      for (const { remove } of found) remove()
      return found.flatMap((each) => each.receipts)
    }
  }

  receipts(options: SignalOptions = {}): AsyncIterableIterator<MessageReceipt> {
    checkOptions('receipts', signalOptions, options)
    if (this.#receipts) return this.#receipts(options)
    throw withoutReceipts()
  }

  get handled(): Promise<readonly MessageReceipt[]> {
    this.#handled ??= this.#allReceipts?.() ?? Promise.reject(withoutReceipts())
    this.#handled.catch(() => {})
    return this.#handled
  }

  get done(): Promise<SentFile> {
    if (!this.#done) {
      this.#done = deferred()
      if (this.file) this.#done.resolve(this.file)
      else if (this.over) this.#done.reject(this.error)
    }
    return this.#done.promise
  }

  /** Whether it has ended: done, failed or cancelled. */
  get over(): boolean {
    return this.phase === 'done' || this.phase === 'failed' || this.phase === 'cancelled'
  }

  async pause(): Promise<void> {
    if (!this.over) await this.#host.pause([this.id])
  }

  async resume(): Promise<void> {
    if (!this.over) await this.#host.resume([this.id])
  }

  async cancel(): Promise<void> {
    if (!this.over) await this.#host.cancel([this.id])
  }

  /** Takes a step of the phases. `done` rejects with `error` if the step ends the upload. */
  move(step: Exclude<UploadStep, 'stored'>, error?: OspError): void {
    this.phase = uploadPhases.next(this.phase, step)
    this.error = error
    if (this.over) this.#done?.reject(error)
    this.#emitPhase()
  }

  stored(file: SentFile): void {
    const { size } = file
    this.phase = uploadPhases.next(this.phase, 'stored')
    this.error = undefined
    this.file = file
    this.#done?.resolve(file)
    this.progress = { acknowledged: size, durable: size, size }
    this.emit('progress', this.progress)
    this.#emitPhase()
  }

  setProgress(acknowledged: number, durable: number, size: number): void {
    this.progress = { acknowledged, durable, size }
    this.emit('progress', this.progress)
    this.#host.changed?.(this)
  }

  #emitPhase(): void {
    this.emit('phase', this.phase)
    this.#host.changed?.(this)
  }
}

const storedBefore = () =>
  new OspError(
    'file-exists',
    'an earlier upload has stored the file, and the server has notified its users then; client.receipts() has their receipts',
  )

const withoutReceipts = () =>
  new OspError('usage', 'an upload has receipts only if it is added with the option receipt: true')
