import type { OspError, SentFile } from 'ospd'
import type { SendEvent } from '../common/events.ts'
import { LinkJsonReporter } from '../common/link.ts'
import { Overview } from './overview.ts'
import type { RejectedPath, ReportedFile, SendReporter } from './reporter.ts'
import { retryOf } from './reporter.ts'
import type { SendSummary } from './sendSummary.ts'

/** Prints the events of docs/json.md. */
export class JsonReporter extends LinkJsonReporter implements SendReporter {
  readonly #emit: (event: SendEvent) => void
  readonly #overview = new Overview()
  /** The last `progress` event of each file. */
  readonly #reported = new WeakMap<ReportedFile, string>()

  constructor(server: string, emit: (event: SendEvent) => void) {
    super(server, emit)
    this.#emit = emit
  }

  joined(text: string): void {
    this.#emit({ event: 'joined', text })
  }

  nothing(): void {}

  paused(tasks: readonly ReportedFile[]): void {
    for (const task of tasks) this.#emit({ event: 'paused', ...named(task) })
  }

  added(task: ReportedFile): void {
    this.#overview.add(task)
  }

  complete(): void {}

  stored(task: ReportedFile, stored: SentFile): void {
    this.#overview.end(task)
    const { path, upload } = task
    const { name, storedName, replaced, size, algorithm, digest } = stored
    const which = { task: upload.id, file: path, name, storedName, replaced }
    this.#emit({ event: 'stored', ...which, size, algorithm, digest, transferred: upload.transferred })
  }

  failed(file: ReportedFile | RejectedPath, why: OspError): void {
    if (file.upload) this.#overview.end(file)
    const { path, upload } = file
    const { code, message: text } = why
    const task = upload?.id ?? null
    const transferred = upload?.transferred ?? 0
    const name = upload?.name ?? null
    this.#emit({ event: 'failed', task, file: path, name, code, text, retry: retryOf(why), transferred })
  }

  cancelled(task: ReportedFile): void {
    this.#overview.end(task)
    this.#emit({ event: 'cancelled', ...named(task) })
  }

  passed(task: ReportedFile): void {
    this.#overview.end(task)
  }

  /** Reports each file that has progressed since the last call. */
  progress(nowMs: number): void {
    this.#overview.measure(nowMs)
    for (const task of this.#overview.shown(nowMs)) {
      const { phase: state } = task.upload
      if (state !== 'sending' && state !== 'verifying') continue
      const { done: acknowledged, durable, size, bytesPerSecond } = this.#overview.stateOf(task)
      const standing = `${state} ${acknowledged} ${durable}`
      if (this.#reported.get(task) === standing) continue
      this.#reported.set(task, standing)
      const leftMs = bytesPerSecond ? Math.round(((size - acknowledged) / bytesPerSecond) * 1_000) : null
      const rate = bytesPerSecond === undefined ? null : Math.round(bytesPerSecond)
      const bytes = { acknowledged, durable, size, bytesPerSecond: rate, leftMs }
      this.#emit({ event: 'progress', ...named(task), state, ...bytes })
    }
  }

  skipped(file: string, text: string): void {
    this.#emit({ event: 'skipped', file, text })
  }

  refused({ path, upload }: ReportedFile, { code, message: text }: OspError): void {
    this.#emit({ event: 'refused', task: upload.id, file: path, name: upload.name, code, text })
  }

  end(summary: SendSummary, seconds: number): void {
    const { stored, replaced, renamed, failed, remaining, unfinished, size, transferred, exitCode } = summary
    const rounded = Math.round(seconds * 1_000) / 1_000
    const counts = { stored, replaced, renamed, failed: failed - remaining, unfinished: unfinished + remaining }
    this.#emit({ event: 'summary', ...counts, size, transferred, seconds: rounded, exitCode })
  }
}

const named = ({ path, upload }: ReportedFile) => ({ task: upload.id, file: path, name: upload.name })
