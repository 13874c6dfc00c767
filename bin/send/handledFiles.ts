import { OspError, type SentFile } from 'ospd'
import { UsageError } from '../common/usage.ts'
import { type AwaitedFile, messagesAbout, type ReportedFile, type SendReporter, type SendSummary } from './reporter.ts'

/** Waits for the receipts of the messages about stored files, and reports them. */
export class HandledFiles {
  readonly isOn: boolean
  readonly #reporter: Pick<SendReporter, 'receipt' | 'storedBefore' | 'unhandled' | 'waitsForReceipts'>
  readonly #summary: SendSummary
  readonly #waiting: Promise<void>[] = []
  /** The files whose users have not all handled the message about them. */
  readonly #unhandled = new Map<ReportedFile, AwaitedFile>()

  /** Throws UsageError if another program sends the files (`joined`), because that program gets their receipts. */
  constructor(
    isOn: boolean,
    joined: boolean,
    reporter: Pick<SendReporter, 'receipt' | 'storedBefore' | 'unhandled' | 'waitsForReceipts'>,
    summary: SendSummary,
  ) {
    if (isOn && joined)
      throw new UsageError(
        'another osp send is running; wait until it ends, or use another --state with --wait handled',
      )
    this.isOn = isOn
    this.#reporter = reporter
    this.#summary = summary
  }

  add(file: ReportedFile, stored: SentFile): void {
    if (!this.isOn) return
    const messages = messagesAbout(stored)
    const users = new Set(messages.flatMap(({ recipients }) => recipients))
    this.#unhandled.set(file, { ids: messages.map(({ id }) => id), users })
    this.#waiting.push(this.#wait(file, users))
  }

  async #wait(file: ReportedFile, users: Set<string>): Promise<void> {
    try {
      for await (const receipt of file.upload.receipts()) {
        users.delete(receipt.recipient)
        if (receipt.state !== 'handled') this.#summary.unhandled++
        // The server keeps the receipt until the next one is requested.
        if (!(await this.#reporter.receipt(file, receipt))) return
      }
      this.#unhandled.delete(file)
    } catch (error) {
      this.#summary.unhandled++
      // Otherwise the client has ended.
      if (OspError.from(error).code !== 'file-exists') return
      this.#unhandled.delete(file)
      this.#reporter.storedBefore(file)
    }
  }

  /**
   * Resolves when the messages about all files are handled, the client has ended, or `signal` aborts. Reports the files that are not
   * handled.
   */
  async ended(signal: AbortSignal): Promise<void> {
    const aborted = new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true })
      if (signal.aborted) resolve()
    })
    const awaited = [...this.#unhandled.values()].flatMap(({ users }) => [...users])
    if (awaited.length > 0 && !signal.aborted) this.#reporter.waitsForReceipts(awaited)
    await Promise.race([Promise.all(this.#waiting), aborted])
    this.#reporter.unhandled(this.#unhandled)
  }
}
