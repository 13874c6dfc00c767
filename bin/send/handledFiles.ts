import { OspError, type SentFile } from 'ospd'
import { UsageError } from '../common/usage.ts'
import { messageIdsOf, type ReportedFile, type SendReporter, type SendSummary } from './reporter.ts'

/** Waits for the receipts of the messages about stored files, and reports them. */
export class HandledFiles {
  readonly isOn: boolean
  readonly #reporter: Pick<SendReporter, 'receipt' | 'storedBefore' | 'unhandled' | 'waitsForReceipts'>
  readonly #summary: SendSummary
  readonly #waiting: Promise<void>[] = []
  /** The files whose users have not all handled the message about them, with the ids of the messages. */
  readonly #unhandled = new Map<ReportedFile, readonly string[]>()

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
    this.#unhandled.set(file, messageIdsOf(stored))
    this.#waiting.push(this.#wait(file))
  }

  async #wait(file: ReportedFile): Promise<void> {
    try {
      for await (const receipt of file.upload.receipts()) {
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
    const isWaiting = [...this.#unhandled.values()].some((ids) => ids.length > 0)
    if (isWaiting && !signal.aborted) this.#reporter.waitsForReceipts()
    await Promise.race([Promise.all(this.#waiting), aborted])
    this.#reporter.unhandled(this.#unhandled)
  }
}
