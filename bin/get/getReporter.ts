import { type Download, type FileInfo, OspError, type Upload } from 'ospd'
import { LinkReporter, type LinkValues } from '../common/link.ts'
import { results, statusPrinter } from '../common/output.ts'
import { isTerminal, printable, stylesFor } from '../common/text.ts'
import { formatSize, formatTime } from '../common/units.ts'
import { exitCodeOf, exitCodes } from '../common/usage.ts'
import type { Lines } from '../send/lines.ts'
import type { Overview, TransferredFile } from '../send/overview.ts'
import { checksumLine, isRefusal } from '../send/reporter.ts'

/** A file that is waiting or being received. */
export interface ReceivedFile extends TransferredFile {
  readonly name: string
  readonly download: Download
}

const phases = {
  waiting: 'waiting',
  receiving: 'sending',
  verifying: 'verifying',
  failed: 'failed',
  done: 'done',
} as const satisfies Record<Download['phase'], Upload['phase']>

/** Adapts a download to the progress bars. */
export function receivedFile(path: string, size: number | undefined, download: Download): ReceivedFile {
  const upload = {
    get phase() {
      return phases[download.phase]
    },
    get error() {
      return download.error
    },
    get transferred() {
      return download.transferred
    },
    get progress() {
      const { received, size } = download.progress
      return { acknowledged: received, durable: received, size }
    },
  }
  return { name: download.name, path, size, upload, download }
}

/** Counts the results of a command and derives its exit code. */
export class GetSummary {
  saved = 0
  failed = 0
  unfinished = 0
  size = 0
  transferred = 0
  readonly #codes = new Set<number>()

  addSaved({ size }: FileInfo, transferred: number): void {
    this.saved++
    this.size += size
    this.transferred += transferred
  }

  addFailed(error: OspError, transferred: number): void {
    this.failed++
    this.transferred += transferred
    this.#codes.add(exitCodeOf(error))
  }

  addUnfinished(transferred: number): void {
    this.unfinished++
    this.transferred += transferred
  }

  /** Permanent errors take precedence over temporary ones. */
  get exitCode(): number {
    const { failed, unauthorized, unreachable, later, done } = exitCodes
    return [unauthorized, unreachable, failed, later].find((code) => this.#codes.has(code)) ?? done
  }
}

const progressMs = 1_000

/** Reports as text, with a checksum line for each saved file, or as JSON. Must be disposed of after the end. */
export class GetReporter extends LinkReporter implements Disposable {
  readonly #lines: Lines
  readonly #overview: Overview<ReceivedFile>
  readonly #timer: NodeJS.Timeout | undefined
  /** The last reported progress of each file. */
  readonly #reported = new WeakMap<ReceivedFile, string>()
  /** The error codes of the refusals that were reported for a file. */
  readonly #refusals = new WeakMap<ReceivedFile, Set<string>>()

  #isMissing = false

  constructor(values: LinkValues, overview: Overview<ReceivedFile>, lines: Lines) {
    super(
      values,
      statusPrinter((line) => lines.note(line), stylesFor(process.stderr)),
    )
    this.#lines = lines
    this.#overview = overview
    const report = () => results.waitingBytes > 0 || this.#progress(performance.now())
    this.#timer = values.json ? setInterval(report, progressMs).unref() : undefined
  }

  saved({ path: file, download }: ReceivedFile, { name, version, size, algorithm, digest }: FileInfo): void {
    const { transferred } = download
    if (algorithm === undefined || digest === undefined) throw new OspError('internal', `${name} was not verified`)
    if (this.json) results.event({ event: 'saved', file, name, version, size, algorithm, digest, transferred })
    else if (file !== '-') this.#lines.result(checksumLine(digest, isTerminal(process.stdout) ? printable(file) : file))
  }

  /** `isRejected`: the server has permanently rejected the client, which was already reported unless the output is JSON. */
  failed(
    file: string,
    { name, transferred }: Pick<Download, 'name' | 'transferred'>,
    { code, message: text, retry }: OspError,
    isRejected: boolean,
  ): void {
    if (this.json) results.event({ event: 'failed', file, name: name || null, code, text, retry, transferred })
    else if (!isRejected) this.say(name === '' ? text : `${name}: ${text}`, 'red')
  }

  /** Says once how to download a file that is not the user's own. */
  missing(): void {
    if (this.#isMissing) return
    this.#isMissing = true
    this.hint('to download a file that another user has sent you, use --from USER; "osp inbox" lists waiting messages')
  }

  /** Reports each reason for a temporary refusal of a file once. */
  refused(task: ReceivedFile): void {
    const { path: file, name, download } = task
    const { error } = download
    if (download.phase !== 'waiting' || !error || !isRefusal(error)) return
    const reported = this.#refusals.get(task) ?? new Set()
    if (reported.has(error.code)) return
    this.#refusals.set(task, reported.add(error.code))
    const { code, message: text } = error
    if (this.json) results.event({ event: 'refused', file, name, code, text })
    else this.hint(`${name} waits: ${text}`)
  }

  nothing(folder: string): void {
    this.hint(folder === '' ? 'there are no files on the server' : `there are no files in ${folder}`)
  }

  /** Ends the report. */
  end(summary: GetSummary, seconds: number, exitCode: number): void {
    const { saved, failed, unfinished, size, transferred } = summary
    if (this.json) {
      const rounded = Math.round(seconds * 1_000) / 1_000
      results.event({ event: 'summary', saved, failed, unfinished, size, transferred, seconds: rounded, exitCode })
      return
    }
    if (unfinished > 0) this.say('interrupted; run the same command to continue', 'yellow')
    if (failed > 0 && failed + saved > 1) this.say(`${failed} of ${files(failed + saved)} failed`, 'red')
    else if (isTerminal(process.stderr) && saved > 1) {
      const speed = formatSize(size / Math.max(seconds, 0.001))
      this.hint(`${files(saved)} saved, ${formatSize(size)} in ${formatTime(seconds * 1_000)} (${speed}/s)`)
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.#lines[Symbol.dispose]()
  }

  /** Reports each file that has progressed since the last call. */
  #progress(nowMs: number): void {
    this.#overview.measure(nowMs)
    for (const task of this.#overview.shown(nowMs)) {
      const { phase: state } = task.download
      if (state !== 'receiving' && state !== 'verifying') continue
      const { done: received, size, bytesPerSecond } = this.#overview.stateOf(task)
      if (this.#reported.get(task) === `${state} ${received}`) continue
      this.#reported.set(task, `${state} ${received}`)
      const leftMs = bytesPerSecond ? Math.round(((size - received) / bytesPerSecond) * 1_000) : null
      const rate = bytesPerSecond === undefined ? null : Math.round(bytesPerSecond)
      const { path: file, name } = task
      results.event({ event: 'progress', file, name, state, received, size, bytesPerSecond: rate, leftMs })
    }
  }
}

const files = (count: number) => (count === 1 ? '1 file' : `${count} files`)
