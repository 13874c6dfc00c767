import type { OspError, Retry, SentFile, Upload } from 'ospd'
import type { LinkReporter } from '../common/link.ts'
import type { SendSummary } from './sendSummary.ts'

/** A file that is being sent, or waits for its turn. */
export interface ReportedFile {
  /** As the user gave it; of a task that this command was not given, its whole path. */
  readonly path: string
  readonly size: number
  readonly upload: Upload
}

/** A path that never became a task. */
export interface RejectedPath {
  readonly path: string
  readonly upload?: undefined
}

/** Tells the user what happens, in text or JSON. */
export interface SendReporter extends LinkReporter {
  /** Another program sends what this one is given. */
  joined(text: string): void
  /** No task is left that could be taken up. */
  nothing(): void
  /** Tasks that are not taken up, since they are paused. */
  paused(tasks: readonly ReportedFile[]): void
  added(task: ReportedFile): void
  /** No more files are to come. */
  complete(): void
  stored(task: ReportedFile, file: SentFile): void
  failed(file: ReportedFile | RejectedPath, why: OspError): void
  /** It was cancelled, as somebody wanted. */
  cancelled(task: ReportedFile): void
  /** It has ended; the program that has added it tells of that. */
  passed(task: ReportedFile): void
  skipped(path: string, why: string): void
  /** The server does not take a file for now. */
  refused(task: ReportedFile, why: OspError): void
  /** Ends the report; `unfinished` is what an interruption has left. */
  end(tally: SendSummary, seconds: number, unfinished: readonly ReportedFile[]): void
}

/** Broken links are told for all files at once, and what the client repairs by itself is not worth a word. */
export function isRefusal({ code, retry }: OspError): boolean {
  const broken = ['link-lost', 'link-replaced', 'unreachable', 'timed-out', 'closed', 'superseded', 'shutting-down']
  return retry === 'later' && !broken.includes(code)
}

/** Whether the same command can help later. Whom the server does not let in can come with another token. */
export const retryOf = ({ code, retry }: OspError): Retry => (code === 'unauthorized' ? 'later' : retry)

/** Whether a task stays one that has ended so. */
export const canPass = (why: OspError): boolean => retryOf(why) !== 'never'
