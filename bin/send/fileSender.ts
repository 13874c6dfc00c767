import { statSync } from 'node:fs'
import { type Client, OspError, type SentFile, type Upload } from 'ospd'
import { file as fileSource, pathBytes } from 'ospd/node'
import type { Candidate, Found } from './candidates.ts'
import type { ReportedFile, SendReporter } from './reporter.ts'
import { isRefusal, staysTask } from './reporter.ts'
import type { SendValues } from './send.ts'
import type { SendSummary } from './sendSummary.ts'

export interface FileSenderOptions {
  /** Where files are added. */
  readonly uploads: Pick<Client['uploads'], 'add'>
  readonly reporter: SendReporter
  readonly summary: SendSummary
  readonly digest: SendValues['digest']
  /** Aborts when the command is interrupted. No more files are added then. */
  readonly stop: AbortSignal
  /** Returns the error for which the client gave up, if it did. Every remaining file fails with this error. */
  readonly refusal: () => OspError | undefined
  /** Returns whether another program reports the result of this upload, which this command was not given. */
  readonly isAwaited?: (id: number) => boolean
  /** Returns the displayed path of the content of a task. */
  readonly shown?: (ref: string) => string
}

/** The maximum number of files that are being added at once. The list of tasks is flushed once for all of them. */
const addingMost = 100

/** The maximum number of unfinished uploads, including waiting ones. More files could exceed the memory. */
export const unfinishedMost = 10_000

/** Adds files to the client as they are found, and follows these uploads and those that other programs add. */
export class FileSender {
  readonly #options: FileSenderOptions
  readonly #unfinished = new Map<ReportedFile, Promise<void>>()
  readonly #tasks = new WeakMap<Upload, ReportedFile>()
  /** Tasks that were unfinished when this program, or the one that it had joined, ended. */
  readonly #left: ReportedFile[] = []
  /** Uploads of files that this command was given. */
  readonly #own = new WeakSet<Upload>()
  /** Paused uploads, which the command does not wait for. */
  readonly #parked = new Set<Upload>()
  /** Names that are being added. */
  readonly #adding = new Map<string, Promise<void>>()
  #wake: () => void = () => {}

  constructor(options: FileSenderOptions) {
    this.#options = options
    options.stop.addEventListener('abort', () => this.#wake(), { once: true })
  }

  /** The files that are in progress or waiting, or were when the program ended. */
  get unfinished(): readonly ReportedFile[] {
    return [...this.#left, ...[...this.#unfinished.keys()].filter(({ upload }) => !this.#parked.has(upload))]
  }

  /** Follows an upload that the command was not given. */
  adopt(upload: Upload): void {
    const { phase } = upload
    if ((phase === 'waiting' || phase === 'cancelling') && this.#parked.delete(upload)) this.#wake()
    if (this.#tasks.has(upload) || this.#adding.has(upload.name)) return
    const { ref = upload.name } = upload
    const { shown = (path) => path } = this.#options
    this.#follow({ path: shown(ref), size: sizeOf(ref), upload })
  }

  /** Stops waiting for paused uploads until they continue. Returns the paused files. */
  park(uploads: Iterable<Upload>): readonly ReportedFile[] {
    const paused = [...uploads].filter(({ phase }) => phase === 'paused')
    for (const upload of paused) this.#parked.add(upload)
    this.#wake()
    return paused.flatMap((upload) => this.#tasks.get(upload) ?? [])
  }

  /** Sends the candidates. Resolves when all files are stored or have failed, or when the command is interrupted. */
  async send(candidates: AsyncIterable<Found>): Promise<void> {
    const { stop, reporter } = this.#options
    try {
      for await (const found of candidates) {
        if (stop.aborted) break
        this.#take(found)
        await this.#until(
          () => this.#adding.size < addingMost && this.#adding.size + this.#unfinished.size < unfinishedMost,
        )
      }
    } catch (error) {
      // Reading a list that was closed by the interruption rejects.
      if (!stop.aborted) throw error
    }
    await Promise.all(this.#adding.values())
    reporter.complete()
    await this.rest()
  }

  /** Resolves when only paused uploads are unfinished, or when the command is interrupted. */
  rest(): Promise<void> {
    return this.#until(() => this.#unfinished.size <= this.#parked.size)
  }

  /** Stops waiting for paused uploads after the client gave up, since they do not end by themselves. */
  gaveUp(): void {
    this.park([...this.#unfinished.keys()].map(({ upload }) => upload))
  }

  /** Resolves when every upload has ended. Must be called after the client is closed. */
  async settled(): Promise<void> {
    await Promise.all([...this.#adding.values()])
    await Promise.all(this.#unfinished.values())
  }

  async #until(reached: () => boolean): Promise<void> {
    while (!reached() && !this.#options.stop.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  #take(found: Found): void {
    const { reporter, refusal } = this.#options
    if ('skipped' in found) reporter.skipped(found.path, found.skipped)
    else if ('failure' in found) this.#failed(found.path, found.failure)
    else {
      const why = refusal()
      const adding = (why ? this.#reject(found, why) : this.#add(found)).then(() => {
        this.#adding.delete(found.name)
        this.#wake()
      })
      this.#adding.set(found.name, adding)
    }
  }

  async #reject({ path, spooled }: Candidate, why: OspError): Promise<void> {
    await spooled?.discard()
    this.#failed(path, why)
  }

  #failed(path: string, why: OspError): void {
    this.#options.summary.addFailed(why)
    this.#options.reporter.failed({ path }, why)
  }

  async #add(candidate: Candidate): Promise<void> {
    const { uploads, digest, stop, summary } = this.#options
    const { path, name, size, spooled } = candidate
    try {
      const upload = await uploads.add(spooled?.source ?? fileSource(path, { name }), { digest })
      this.#own.add(upload)
      const known = this.#tasks.get(upload)
      if (known) this.#forget(known)
      this.#follow({ path, size, upload })
    } catch (error) {
      const why = OspError.from(error)
      if (why.code === 'closed' && stop.aborted) summary.addUnfinished(0)
      else await this.#reject(candidate, why)
    }
  }

  /** Forgets a followed task whose file the command is also given. */
  #forget(task: ReportedFile): void {
    this.#unfinished.delete(task)
    this.#options.reporter.passed(task)
  }

  #follow(task: ReportedFile): void {
    this.#tasks.set(task.upload, task)
    this.#options.reporter.added(task)
    this.#watchRefusals(task)
    this.#unfinished.set(task, this.#toItsEnd(task))
  }

  async #toItsEnd(task: ReportedFile): Promise<void> {
    const { upload } = task
    const end = await endOf(upload)
    // The command was also given the file, and follows it as another task.
    if (this.#tasks.get(upload) !== task) return
    const isClosed = 'why' in end && end.why.code === 'closed'
    if (!isClosed) this.#report(task, end)
    else if (!this.#parked.has(upload)) {
      this.#options.summary.addUnfinished(upload.transferred)
      this.#left.push(task)
    }
    this.#unfinished.delete(task)
    this.#parked.delete(upload)
    this.#wake()
  }

  #report(task: ReportedFile, end: End): void {
    const { summary, reporter, isAwaited } = this.#options
    const { upload } = task
    const isOwn = this.#own.has(upload)
    if (!isOwn && isAwaited?.(upload.id)) reporter.passed(task)
    else if ('file' in end) {
      summary.addStored(end.file, upload.transferred)
      reporter.stored(task, end.file)
    } else if (!isOwn && end.why.code === 'cancelled') reporter.cancelled(task)
    else {
      summary.addFailed(end.why, upload.transferred, staysTask(end.why))
      reporter.failed(task, end.why)
    }
  }

  /** Reports each reason for a temporary rejection of the file once. */
  #watchRefusals(task: ReportedFile): void {
    const said = new Set<string>()
    task.upload.on('phase', (phase) => {
      const { error: why } = task.upload
      if (phase !== 'waiting' || !why || !isRefusal(why) || said.has(why.code)) return
      said.add(why.code)
      this.#options.reporter.refused(task, why)
    })
  }
}

type End = { readonly file: SentFile } | { readonly why: OspError }

function endOf({ done: finished }: Upload): Promise<End> {
  return finished.then(
    (file) => ({ file }),
    (error: unknown) => ({ why: OspError.from(error) }),
  )
}

function sizeOf(path: string): number {
  try {
    return statSync(pathBytes(path)).size
  } catch {
    // The upload reports the reason.
    return 0
  }
}
