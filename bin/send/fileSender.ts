import { statSync } from 'node:fs'
import { type Client, OspError, type SentFile, type Upload } from 'ospd'
import { file as fileSource, pathBytes } from 'ospd/node'
import type { Candidate, Found } from './candidates.ts'
import type { ReportedFile, SendReporter } from './reporter.ts'
import { canPass, isRefusal } from './reporter.ts'
import type { SendValues } from './send.ts'
import type { SendSummary } from './sendSummary.ts'

export interface FileSenderOptions {
  /** Where files are added. */
  readonly uploads: Pick<Client['uploads'], 'add'>
  readonly reporter: SendReporter
  readonly summary: SendSummary
  readonly digest: SendValues['digest']
  /** Ends the adding of more files: the command was interrupted. */
  readonly stop: AbortSignal
  /** Why the server is not asked for anything any more, once that is so: every file that is left fails with it. */
  readonly refusal: () => OspError | undefined
  /** Whether another program tells what becomes of an upload that this command was not given. */
  readonly isAwaited?: (id: number) => boolean
  /** What the user is shown of where a task's content is. */
  readonly shown?: (ref: string) => string
}

/** Files that are being added at once: the list of tasks is flushed for all of them together. */
const addingMost = 100

/** Unfinished uploads at once, waiting ones included: what is to be sent can be more than fits in memory. */
export const unfinishedMost = 10_000

/** Feeds the client with files as they are found, and follows what becomes of them, and of what others have added. */
export class FileSender {
  readonly #options: FileSenderOptions
  readonly #unfinished = new Map<ReportedFile, Promise<void>>()
  readonly #tasks = new WeakMap<Upload, ReportedFile>()
  /** Tasks that stay, since this program, or the one that it has joined, has ended before. */
  readonly #left: ReportedFile[] = []
  /** Tasks that the command was given itself. */
  readonly #own = new WeakSet<Upload>()
  /** What is paused, and not waited for as long as it is. */
  readonly #parked = new Set<Upload>()
  /** Names that are being added. */
  readonly #adding = new Map<string, Promise<void>>()
  #wake: () => void = () => {}

  constructor(options: FileSenderOptions) {
    this.#options = options
    options.stop.addEventListener('abort', () => this.#wake(), { once: true })
  }

  /** Those that are under way or wait for their turn, or were so when they were left. */
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

  /** Does not wait for paused uploads, until they go on; returns those that are. */
  park(uploads: Iterable<Upload>): readonly ReportedFile[] {
    const paused = [...uploads].filter(({ phase }) => phase === 'paused')
    for (const upload of paused) this.#parked.add(upload)
    this.#wake()
    return paused.flatMap((upload) => this.#tasks.get(upload) ?? [])
  }

  /** Sends what is found; resolves when all of it is stored or has failed, or when it was stopped. */
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
      // A list that was closed early says so.
      if (!stop.aborted) throw error
    }
    await Promise.all(this.#adding.values())
    reporter.complete()
    await this.rest()
  }

  /** Resolves when nothing is unfinished that is not parked, or when it was stopped. */
  rest(): Promise<void> {
    return this.#until(() => this.#unfinished.size <= this.#parked.size)
  }

  /** The server is not asked any more: what is paused does not end by itself. */
  gaveUp(): void {
    this.park([...this.#unfinished.keys()].map(({ upload }) => upload))
  }

  /** Resolves when every upload has ended: after the client was closed. */
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
    const { uploads, digest, stop, summary: tally } = this.#options
    const { path, name, size, spooled } = candidate
    try {
      const upload = await uploads.add(spooled?.source ?? fileSource(path, { name }), { digest })
      this.#own.add(upload)
      const known = this.#tasks.get(upload)
      if (known) this.#forget(known)
      this.#follow({ path, size, upload })
    } catch (error) {
      const why = OspError.from(error)
      if (why.code === 'closed' && stop.aborted) tally.addUnfinished(0)
      else await this.#reject(candidate, why)
    }
  }

  /** It goes on as a task that the command was given. */
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
    // It was followed before the command was given it as well.
    if (this.#tasks.get(upload) !== task) return
    const isClosed = 'why' in end && end.why.code === 'closed'
    if (!isClosed) this.#tell(task, end)
    else if (!this.#parked.has(upload)) {
      this.#options.summary.addUnfinished(upload.transferred)
      this.#left.push(task)
    }
    this.#unfinished.delete(task)
    this.#parked.delete(upload)
    this.#wake()
  }

  #tell(task: ReportedFile, end: End): void {
    const { summary: tally, reporter, isAwaited } = this.#options
    const { upload } = task
    const isOwn = this.#own.has(upload)
    if (!isOwn && isAwaited?.(upload.id)) reporter.passed(task)
    else if ('file' in end) {
      tally.addStored(end.file, upload.transferred)
      reporter.stored(task, end.file)
    } else if (!isOwn && end.why.code === 'cancelled') reporter.cancelled(task)
    else {
      tally.addFailed(end.why, upload.transferred, canPass(end.why))
      reporter.failed(task, end.why)
    }
  }

  /** Says once for each reason that the server does not take the file for now. */
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
    // Its upload tells why.
    return 0
  }
}
