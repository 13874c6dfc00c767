import type { OspError, SentFile, Upload } from 'ospd'
import type { LinkReporter } from '../common/link.ts'
import type { Tally } from './tally.ts'

/** A file that is being sent, or waits for its turn. */
export interface Task {
  /** As the user gave it; of a task that this command was not given, its whole path. */
  readonly path: string
  readonly size: number
  readonly upload: Upload
}

/** A path that never became a task. */
export interface Untaken {
  readonly path: string
  readonly upload?: undefined
}

/** Tells the user what happens, in text or JSON. */
export interface Reporter extends LinkReporter {
  /** Another program sends what this one is given. */
  joined(text: string): void
  /** No task is left that could be taken up. */
  nothing(): void
  /** Tasks that are not taken up, since they are paused. */
  paused(tasks: readonly Task[]): void
  added(task: Task): void
  /** No more files are to come. */
  complete(): void
  stored(task: Task, file: SentFile): void
  failed(file: Task | Untaken, why: OspError): void
  /** It was cancelled, as somebody wanted. */
  cancelled(task: Task): void
  /** It has ended; the program that has added it tells of that. */
  passed(task: Task): void
  skipped(path: string, why: string): void
  /** The server does not take a file for now. */
  refused(task: Task, why: OspError): void
  /** Ends the report; `unfinished` is what an interruption has left. */
  end(tally: Tally, seconds: number, unfinished: readonly Task[]): void
}
