import { connectionErrors, type OspError, type Retry, type SentFile, type Upload } from 'ospd'
import { exitCodeOf, exitCodes } from '../common/usage.ts'
import type { TextReporter } from './textReporter.ts'

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
export type SendReporter = Pick<TextReporter, keyof TextReporter>

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

  addFailed(error: OspError, upload?: Upload): void {
    this.failed++
    if (upload && staysTask(error)) this.remaining++
    this.transferred += upload?.transferred ?? 0
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
