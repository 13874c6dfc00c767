import type { OspError, SentFile } from 'ospd'
import { exitCodeOf, exitCodes } from '../common/exitCodes.ts'

/** Counts what has become of the files, and knows the exit code. */
export class SendSummary {
  stored = 0
  /** Stored files that replaced another file, and stored files that the server renamed. */
  replaced = 0
  renamed = 0
  failed = 0
  /** Under way or waiting when the command ended, because it was interrupted or the program that it had joined was. */
  unfinished = 0
  size = 0
  transferred = 0
  /** Of those that have failed, those that stay tasks: the next `osp send` takes them up. */
  left = 0
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

  /** `staysTask`: it is a task, and what has ended it can pass. */
  addFailed(why: OspError, transferred = 0, staysTask = false): void {
    this.failed++
    if (staysTask) this.left++
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

  /** The server has refused this client, or could not be reached in time. */
  refused(why: OspError): void {
    this.#refusal = why
  }

  /** Why the server was given up, once it was. */
  get refusal(): OspError | undefined {
    return this.#refusal
  }

  /** What concerns the whole command stands before what concerns one file, and what is final before what can pass. */
  get exitCode(): number {
    if (this.#interrupted) return exitCodes.interrupted
    if (this.#refusal) return exitCodeOf(this.#refusal)
    const { usage, failed, notLetIn, unreachable, later, done } = exitCodes
    const worst = [usage, failed, notLetIn, unreachable, later].find((code) => this.#codes.has(code))
    return worst ?? (this.unfinished > 0 ? later : done)
  }
}
