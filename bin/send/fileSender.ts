import { statSync } from 'node:fs'
import { type FileSource, OspError, type SentFile, type Upload, type UploadOptions } from 'ospd'
import { file as fileSource, pathBytes } from 'ospd/node'
import { refText } from '../tasks/tasks.ts'
import type { Candidate, FoundPath, FoundPaths } from './candidates.ts'
import type { Overview } from './overview.ts'
import { isRefusal, type ReportedFile, type SendReporter, type SendSummary } from './reporter.ts'

export interface FileSenderOptions {
  /** Adds files to the uploads of this program, or of the program that it has joined. Resolves with an upload or error for each. */
  readonly upload: (sources: readonly FileSource[], options: UploadOptions) => Promise<readonly (Upload | OspError)[]>
  /** Called before files are added, so that the client can connect while the list of tasks is flushed. */
  readonly connect: () => void
  /** Called for each file that was given to the command, after the server has stored it. */
  readonly stored?: (file: ReportedFile, sent: SentFile) => void
  readonly reporter: Pick<SendReporter, 'stored' | 'failed' | 'cancelled' | 'skipped' | 'refused'>
  readonly overview: Overview<ReportedFile>
  /** Counts the results. After the client gave up, every remaining file fails with `refusal`. */
  readonly summary: SendSummary
  /** The options of each upload. */
  readonly uploadOptions: UploadOptions
  /** Aborts when the command is interrupted. No more files are added then. */
  readonly stop: AbortSignal
  readonly directory: string
  /** Returns whether another program reports the result of this upload, which this command was not given. */
  readonly isAwaited: (id: number) => boolean
}

/** The maximum number of files that are being added at once. The list of tasks is flushed once for all of them. */
const addingMost = 400

/** The maximum number of unfinished uploads, including waiting ones. More files could exceed the memory. */
export const unfinishedMost = 1_000

/** A file that is in progress or waiting. */
class FollowedFile implements ReportedFile {
  readonly path: string
  readonly upload: Upload
  /** Whether the command was given the file. */
  readonly isOwn: boolean
  #size: number | undefined

  constructor(path: string, upload: Upload, isOwn: boolean, size?: number) {
    this.path = path
    this.upload = upload
    this.isOwn = isOwn
    this.#size = size
  }

  /** Is determined when it is first needed. */
  get size(): number {
    this.#size ??= sizeOf(this.upload.ref ?? this.path)
    return this.#size
  }
}

/** Adds files to the client as they are found, and follows these uploads and those that other programs add. */
export class FileSender {
  readonly #options: FileSenderOptions
  /** The files that are in progress or waiting. */
  readonly #tasks = new Map<Upload, FollowedFile>()
  /** Tasks that were unfinished when this program, or the one that it had joined, ended. */
  readonly #left: ReportedFile[] = []
  /** The error codes of the rejections that were reported for an upload. */
  readonly #refusals = new WeakMap<Upload, Set<string>>()
  /** Paused uploads, which the command does not wait for. */
  readonly #parked = new Set<Upload>()
  /** The names of the files that are being added. */
  readonly #adding = new Set<string>()
  #wake: () => void = () => {}

  constructor(options: FileSenderOptions) {
    this.#options = options
    options.stop.addEventListener('abort', () => this.#wake(), { once: true })
  }

  /** The files that are in progress or waiting, or were when the program ended. */
  get unfinished(): readonly ReportedFile[] {
    return [...this.#left, ...[...this.#tasks.values()].filter(({ upload }) => !this.#parked.has(upload))]
  }

  /** Handles a change of an upload. Follows an upload that the command was not given. */
  changed(upload: Upload): void {
    const { phase } = upload
    const task = this.#tasks.get(upload)
    if (isOver(upload)) {
      if (task) this.#ended(task)
      return
    }
    if (phase === 'waiting' && task) this.#reportRefusal(task)
    if ((phase === 'waiting' || phase === 'cancelling') && this.#parked.delete(upload)) this.#wake()
    if (task || this.#adding.has(upload.name)) return
    const { ref = upload.name } = upload
    this.#follow(new FollowedFile(refText(this.#options.directory, ref), upload, false))
  }

  /** Stops waiting for paused uploads until they continue. Returns the paused files. */
  park(uploads: Iterable<Upload>): readonly ReportedFile[] {
    const paused = [...uploads].filter(({ phase }) => phase === 'paused')
    for (const upload of paused) this.#parked.add(upload)
    this.#wake()
    return paused.flatMap((upload) => this.#tasks.get(upload) ?? [])
  }

  /** Sends the candidates. Resolves when all files are stored or have failed, or when the command is interrupted. */
  async send(candidates: FoundPaths): Promise<void> {
    const { stop, overview } = this.#options
    try {
      for await (const paths of candidates) {
        await this.#take(paths)
        if (stop.aborted) break
      }
    } catch (error) {
      // Reading a list that was closed by the interruption rejects.
      if (!stop.aborted) throw error
    }
    await this.#until(() => this.#adding.size === 0)
    overview.isComplete = true
    await this.rest()
  }

  /** Resolves when only paused uploads are unfinished, or when the command is interrupted. */
  rest(): Promise<void> {
    return this.#until(() => this.#options.stop.aborted || this.#tasks.size <= this.#parked.size)
  }

  /** Stops waiting for paused uploads after the client gave up, since they do not end by themselves. */
  gaveUp(): void {
    this.park(this.#tasks.keys())
  }

  /** Resolves when every upload has ended. Must be called after the client is closed. */
  settled(): Promise<void> {
    return this.#until(() => this.#adding.size + this.#tasks.size === 0)
  }

  get #hasRoom(): boolean {
    return this.#adding.size < addingMost && this.#adding.size + this.#tasks.size < unfinishedMost
  }

  async #until(reached: () => boolean): Promise<void> {
    while (!reached()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /** Takes the paths of a group, unless the command is interrupted. Resolves when the next group may be taken. */
  async #take(paths: readonly FoundPath[]): Promise<void> {
    const { reporter, stop } = this.#options
    const candidates: Candidate[] = []
    for (const found of paths) {
      // The interruption can precede the first read of stdin, whose content is then empty.
      if (stop.aborted) await ('spooled' in found ? found.spooled?.discard() : undefined)
      else if ('skipped' in found) reporter.skipped(found.path, found.skipped)
      else if ('failure' in found) this.#failed(found.path, found.failure)
      else candidates.push(found)
    }
    if (candidates.length > 0) void this.#add(candidates)
    if (!this.#hasRoom) await this.#until(() => stop.aborted || this.#hasRoom)
  }

  async #reject({ path, spooled }: Candidate, error: OspError): Promise<void> {
    await spooled?.discard()
    this.#failed(path, error)
  }

  #failed(path: string, error: OspError): void {
    this.#options.summary.addFailed(error)
    this.#options.reporter.failed({ path }, error)
  }

  async #add(candidates: readonly Candidate[]): Promise<void> {
    const { upload: add, connect, uploadOptions, summary } = this.#options
    for (const { name } of candidates) this.#adding.add(name)
    const failed = (error: unknown) => candidates.map(() => OspError.from(error))
    if (!summary.refusal) connect()
    const sourceOf = ({ path, name, spooled }: Candidate) =>
      spooled?.source ?? fileSource(path, { name, isRegular: true })
    const sources = candidates.map(sourceOf)
    const uploads = summary.refusal ? failed(summary.refusal) : await add(sources, uploadOptions).catch(failed)
    let index = 0
    for (const candidate of candidates) {
      const rejected = this.#added(candidate, uploads[index++] ?? new OspError('internal'))
      if (rejected) await rejected
      this.#adding.delete(candidate.name)
    }
    this.#wake()
  }

  #added(candidate: Candidate, upload: Upload | OspError): Promise<void> | undefined {
    const { stop, summary, overview } = this.#options
    if (upload instanceof OspError) {
      if (upload.code !== 'closed' || !stop.aborted) return this.#reject(candidate, upload)
      summary.addUnfinished(0)
      return undefined
    }
    const known = this.#tasks.get(upload)
    // The command may follow it already, for another program.
    if (known) overview.end(known)
    this.#follow(new FollowedFile(candidate.path, upload, true, candidate.size))
    return undefined
  }

  #follow(task: FollowedFile): void {
    this.#tasks.set(task.upload, task)
    this.#options.overview.add(task)
    if (isOver(task.upload)) this.#ended(task)
  }

  #ended(task: FollowedFile): void {
    const { upload } = task
    const end = upload.file ?? OspError.from(upload.error)
    this.#tasks.delete(upload)
    const isParked = this.#parked.delete(upload)
    this.#wake()
    if (!(end instanceof OspError && end.code === 'closed')) this.#report(task, end)
    else if (!isParked) {
      this.#options.summary.addUnfinished(upload.transferred)
      this.#left.push(task)
    }
  }

  #report(task: FollowedFile, end: SentFile | OspError): void {
    const { summary, reporter, overview, isAwaited } = this.#options
    const { upload, isOwn } = task
    overview.end(task)
    // The program that has added the file reports the result.
    if (!isOwn && isAwaited(upload.id)) return
    if (!(end instanceof OspError)) {
      summary.addStored(end, upload.transferred)
      reporter.stored(task, end)
      if (isOwn) this.#options.stored?.(task, end)
    } else if (!isOwn && end.code === 'cancelled') reporter.cancelled(task)
    else {
      summary.addFailed(end, upload)
      reporter.failed(task, end)
    }
  }

  /** Reports each reason for a temporary rejection of a file once. */
  #reportRefusal(task: FollowedFile): void {
    const { upload } = task
    const { error } = upload
    if (!error || !isRefusal(error)) return
    const reported = this.#refusals.get(upload) ?? new Set()
    if (reported.has(error.code)) return
    this.#refusals.set(upload, reported.add(error.code))
    this.#options.reporter.refused(task, error)
  }
}

const isOver = ({ phase }: Upload) => phase === 'done' || phase === 'failed' || phase === 'cancelled'

function sizeOf(path: string): number {
  try {
    return statSync(pathBytes(path)).size
  } catch {
    // The upload reports the reason.
    return 0
  }
}
