import { connectionErrors, type OspError, type Retry, type SentFile, type Upload } from 'ospd'
import type { LinkReporter } from '../common/link.ts'
import type { StatusPrinter } from '../common/output.ts'
import { exitCodeOf, exitCodes } from '../common/usage.ts'

/** A file that is being sent or waiting. */
export interface ReportedFile {
  /** The path as it was given; the absolute path if this command was not given the file. */
  readonly path: string
  readonly size: number
  readonly upload: Upload
}

/** A file that failed, possibly before it became a task. */
export type FailedFile = Pick<ReportedFile, 'path'> & Partial<ReportedFile>

/** Reports results to the user, as text or JSON. Must be disposed of after the end. */
export interface SendReporter extends LinkReporter, Disposable {
  /** Prints a sentence, above the bars if there are any. */
  readonly say: StatusPrinter
  /** Another program sends the files of this command. */
  joined(text: string): void
  /** There is no task to continue. */
  nothing(): void
  /** These tasks are not continued, because they are paused. */
  paused(tasks: readonly ReportedFile[]): void
  stored(task: ReportedFile, file: SentFile): void
  failed(file: FailedFile, error: OspError): void
  /** The task was cancelled by a user. */
  cancelled(task: ReportedFile): void
  skipped(path: string, reason: string): void
  /** The server does not accept the file at the moment. */
  refused(task: ReportedFile, error: OspError): void
  /** Ends the report. `unfinished` contains the files that were interrupted. */
  end(summary: SendSummary, seconds: number, unfinished: readonly ReportedFile[]): void
}

/** Returns whether the server has temporarily rejected a file. Lost connections are reported once for all files. */
export function isRefusal({ code, retry }: OspError): boolean {
  return retry === 'later' && !connectionErrors.has(code)
}

/** Returns whether the same command can succeed later. A rejected login can succeed with another token. */
export const retryOf = ({ code, retry }: OspError): Retry => (code === 'unauthorized' ? 'later' : retry)

/** Returns whether a file that has failed with this error remains a task. */
export const staysTask = (error: OspError): boolean => retryOf(error) !== 'never'

/** Counts the results of a command and derives its exit code. */
export class SendSummary {
  stored = 0
  /** Stored files that replaced another file, and stored files that the server renamed. */
  replaced = 0
  renamed = 0
  failed = 0
  /** Failed files that remain tasks, which the next `osp send` continues. */
  remaining = 0
  /** Files that were in progress or waiting when this command, or the program that it had joined, was interrupted. */
  unfinished = 0
  /** Files that were paused when the command was interrupted. */
  paused = 0
  size = 0
  transferred = 0
  /** The error for which the client gave up, if it did. */
  refusal: OspError | undefined
  #interrupted = false
  readonly #codes = new Set<number>()

  addStored(file: SentFile, transferred: number): void {
    this.stored++
    if (file.replaced) this.replaced++
    if (file.storedName !== file.name) this.renamed++
    this.size += file.size
    this.transferred += transferred
  }

  /** `staysTask` tells whether the file remains a task. */
  addFailed(error: OspError, transferred = 0, staysTask = false): void {
    this.failed++
    if (staysTask) this.remaining++
    this.transferred += transferred
    this.#codes.add(error.code === 'usage' ? exitCodes.usage : exitCodeOf(error))
  }

  addUnfinished(transferred: number): void {
    this.unfinished++
    this.transferred += transferred
  }

  interrupted(paused: number): void {
    this.#interrupted = true
    this.paused = paused
  }

  /** An error of the whole command takes precedence over errors of files, and permanent ones over temporary ones. */
  get exitCode(): number {
    if (this.#interrupted) return exitCodes.interrupted
    if (this.refusal) return exitCodeOf(this.refusal)
    const { usage, failed, unauthorized, unreachable, later, done } = exitCodes
    const worst = [usage, failed, unauthorized, unreachable, later].find((code) => this.#codes.has(code))
    return worst ?? (this.unfinished > 0 ? later : done)
  }
}
