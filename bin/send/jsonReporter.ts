import type { OspError, SentFile } from 'ospd'
import type { PrintedEvent } from '../common/events.ts'
import { LinkJsonReporter, type LinkValues } from '../common/link.ts'
import { results, say } from '../common/output.ts'
import type { Overview } from './overview.ts'
import { type FailedFile, type ReportedFile, retryOf, type SendReporter, type SendSummary } from './reporter.ts'

const progressMs = 1_000

/** Prints the events of docs/json.md. */
export class JsonReporter extends LinkJsonReporter implements SendReporter {
  readonly say = say
  readonly #overview: Overview
  readonly #timer: NodeJS.Timeout
  readonly #reported = new WeakMap<ReportedFile, string>()

  constructor(values: LinkValues, overview: Overview, emit?: (event: PrintedEvent) => void) {
    super(values, emit)
    this.#overview = overview
    const report = () => results.waitingBytes > 0 || this.progress(performance.now())
    this.#timer = setInterval(report, progressMs).unref()
  }

  joined(text: string): void {
    this.emit({ event: 'joined', text })
  }

  nothing(): void {}

  paused(tasks: readonly ReportedFile[]): void {
    for (const task of tasks) this.emit({ event: 'paused', ...named(task) })
  }

  stored(task: ReportedFile, { storedName, replaced, size, algorithm, digest }: SentFile): void {
    const { transferred } = task.upload
    this.emit({ event: 'stored', ...named(task), storedName, replaced, size, algorithm, digest, transferred })
  }

  failed({ path: file, upload }: FailedFile, error: OspError): void {
    const { code, message: text } = error
    const { id: task, name, transferred } = upload ?? { id: null, name: null, transferred: 0 }
    this.emit({ event: 'failed', task, file, name, code, text, retry: retryOf(error), transferred })
  }

  cancelled(task: ReportedFile): void {
    this.emit({ event: 'cancelled', ...named(task) })
  }

  /** Reports each file that has progressed since the last call. */
  progress(nowMs: number): void {
    this.#overview.measure(nowMs)
    for (const task of this.#overview.shown(nowMs)) {
      const { phase: state } = task.upload
      if (state !== 'sending' && state !== 'verifying') continue
      const { done: acknowledged, durable, size, bytesPerSecond } = this.#overview.stateOf(task)
      const progress = `${state} ${acknowledged} ${durable}`
      if (this.#reported.get(task) === progress) continue
      this.#reported.set(task, progress)
      const leftMs = bytesPerSecond ? Math.round(((size - acknowledged) / bytesPerSecond) * 1_000) : null
      const rate = bytesPerSecond === undefined ? null : Math.round(bytesPerSecond)
      const bytes = { acknowledged, durable, size, bytesPerSecond: rate, leftMs }
      this.emit({ event: 'progress', ...named(task), state, ...bytes })
    }
  }

  skipped(file: string, text: string): void {
    this.emit({ event: 'skipped', file, text })
  }

  refused(task: ReportedFile, { code, message: text }: OspError): void {
    this.emit({ event: 'refused', ...named(task), code, text })
  }

  end(summary: SendSummary, elapsed: number): void {
    const { stored, replaced, renamed, failed, remaining, unfinished, size, transferred, exitCode } = summary
    const seconds = Math.round(elapsed * 1_000) / 1_000
    const counts = { stored, replaced, renamed, failed: failed - remaining, unfinished: unfinished + remaining }
    this.emit({ event: 'summary', ...counts, size, transferred, seconds, exitCode })
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}

const named = ({ path, upload }: ReportedFile) => ({ task: upload.id, file: path, name: upload.name })
