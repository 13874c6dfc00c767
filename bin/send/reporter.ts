import { connectionErrors, type OspError, type Retry, type SentFile, type Upload } from 'ospd'
import type { LinkReporter } from '../common/link.ts'
import type { SendSummary } from './sendSummary.ts'

/** A file that is being sent or waiting. */
export interface ReportedFile {
  /** The path as it was given; the absolute path if this command was not given the file. */
  readonly path: string
  readonly size: number
  readonly upload: Upload
}

/** A path that never became a task. */
export interface RejectedPath {
  readonly path: string
  readonly upload?: undefined
}

/** Reports the progress and the results to the user, as text or JSON. */
export interface SendReporter extends LinkReporter {
  /** Another program sends the files of this command. */
  joined(text: string): void
  /** There is no task to continue. */
  nothing(): void
  /** These tasks are not continued, because they are paused. */
  paused(tasks: readonly ReportedFile[]): void
  added(task: ReportedFile): void
  /** All files have been added. */
  complete(): void
  stored(task: ReportedFile, file: SentFile): void
  failed(file: ReportedFile | RejectedPath, why: OspError): void
  /** The task was cancelled by a user. */
  cancelled(task: ReportedFile): void
  /** The task has ended. The program that has added it reports the result. */
  passed(task: ReportedFile): void
  skipped(path: string, why: string): void
  /** The server does not accept the file at the moment. */
  refused(task: ReportedFile, why: OspError): void
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
