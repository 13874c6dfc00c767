import { OspError } from 'ospd'
import { UsageError } from '../common/usage.ts'
import type { ReportedFile, SendReporter, SendSummary } from './reporter.ts'

/** Waits for the receipts of the messages about stored files, and reports them. */
export class HandledFiles {
  readonly isOn: boolean
  readonly #reporter: Pick<SendReporter, 'receipt' | 'storedBefore'>
  readonly #summary: SendSummary
  readonly #waiting: Promise<void>[] = []

  /** Throws UsageError if another program sends the files (`joined`), because that program gets their receipts. */
  constructor(
    isOn: boolean,
    joined: boolean,
    reporter: Pick<SendReporter, 'receipt' | 'storedBefore'>,
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

  add(file: ReportedFile): void {
    if (this.isOn) this.#waiting.push(this.#wait(file))
  }

  async #wait(file: ReportedFile): Promise<void> {
    try {
      for await (const receipt of file.upload.receipts()) {
        if (receipt.state !== 'handled') this.#summary.unhandled++
        // The server keeps the receipt until the next one is requested.
        if (!(await this.#reporter.receipt(file, receipt))) return
      }
    } catch (error) {
      // Otherwise the client has ended. Other lines report this.
      if (OspError.from(error).code === 'file-exists') this.#reporter.storedBefore(file)
      this.#summary.unhandled++
    }
  }

  /** Resolves when the messages about all files are handled, the client has ended, or `signal` aborts. */
  async ended(signal: AbortSignal): Promise<void> {
    const aborted = new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true })
      if (signal.aborted) resolve()
    })
    await Promise.race([Promise.all(this.#waiting), aborted])
  }
}
