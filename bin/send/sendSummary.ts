import type { OspError, SentFile } from 'ospd'
import { exitCodeOf, exitCodes } from '../common/exitCodes.ts'

/** Counts the results of a command and derives its exit code. */
export class SendSummary {
  stored = 0
  /** Stored files that replaced another file, and stored files that the server renamed. */
  replaced = 0
  renamed = 0
  failed = 0
  /** Files that were in progress or waiting when this command, or the program that it had joined, was interrupted. */
  unfinished = 0
  size = 0
  transferred = 0
  /** Failed files that remain tasks, which the next `osp send` continues. */
  remaining = 0
  #interrupted = false
  #refusal: OspError | undefined
  readonly #codes = new Set<number>()

  addStored(file: SentFile, transferred: number): void {
    this.stored++
    if (file.replaced) this.replaced++
    if (file.storedName !== file.name) this.renamed++
    this.size += file.size
    this.transferred += transferred
  }

  /** `staysTask` tells whether the file remains a task. */
  addFailed(why: OspError, transferred = 0, staysTask = false): void {
    this.failed++
    if (staysTask) this.remaining++
    this.transferred += transferred
    this.#codes.add(why.code === 'usage' ? exitCodes.usage : exitCodeOf(why))
  }

  addUnfinished(transferred: number): void {
    this.unfinished++
    this.transferred += transferred
  }

  /** Files that were paused when the command was interrupted. */
  paused = 0

  interrupted(paused: number): void {
    this.#interrupted = true
    this.paused = paused
  }

  /** Records that the server has rejected this client, or could not be reached in time. */
  gaveUp(why: OspError): void {
    this.#refusal = why
  }

  /** The error for which the client gave up, if it did. */
  get refusal(): OspError | undefined {
    return this.#refusal
  }

  /** An error of the whole command takes precedence over errors of files, and permanent ones over temporary ones. */
  get exitCode(): number {
    if (this.#interrupted) return exitCodes.interrupted
    if (this.#refusal) return exitCodeOf(this.#refusal)
    const { usage, failed, notLetIn, unreachable, later, done } = exitCodes
    const worst = [usage, failed, notLetIn, unreachable, later].find((code) => this.#codes.has(code))
    return worst ?? (this.unfinished > 0 ? later : done)
  }
}
