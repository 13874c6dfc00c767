import type { OspError, SentFile } from 'ospd'
import { LinkTextReporter } from '../common/link.ts'
import { type StatusPrinter, statusPrinter } from '../common/output.ts'
import { printable, type Styles } from '../common/text.ts'
import { formatSize, formatTime } from '../common/units.ts'
import { shown } from '../common/usage.ts'
import type { Overview } from './overview.ts'
import { type RejectedPath, type ReportedFile, type SendReporter, staysTask } from './reporter.ts'
import type { SendSummary } from './sendSummary.ts'

/** The destination of lines: above the bars, if there are any. */
export interface Lines {
  /** Prints a line on stdout. */
  result(line: string): void
  /** Prints a line on stderr. */
  note(line: string): void
}

export interface TextOptions {
  readonly lines: Lines
  /** The source of the bars, if there are any. */
  readonly overview?: Overview | undefined
  readonly styles: Styles
  /** The address of the server, and how long the client retries. */
  readonly server: string
  readonly retryForMs: number
  /** Print only results and errors. */
  readonly quiet: boolean
  /** Whether each output is a terminal. Then names are escaped, and a closing line is printed. */
  readonly terminal: { readonly results: boolean; readonly notes: boolean }
}

/** The maximum number of file names in a list. */
const listed = 5

/** Reports as text, with a checksum line for each stored file. */
export class TextReporter implements SendReporter {
  readonly #options: TextOptions
  readonly #say: StatusPrinter
  readonly #link: LinkTextReporter
  #gaveUp: OspError | undefined
  #notSent = 0
  /** Files of `#notSent` that remain tasks. */
  #notSentTasks = 0
  #joined = false

  constructor(options: TextOptions) {
    const { lines, styles, server, retryForMs, quiet } = options
    this.#options = options
    this.#say = statusPrinter((line) => lines.note(line), styles)
    this.#link = new LinkTextReporter({ say: this.#say, server, retryForMs, quiet })
  }

  joined(text: string): void {
    this.#joined = true
    this.#hint(text)
  }

  nothing(): void {
    this.#hint('there is nothing to send')
  }

  paused(tasks: readonly ReportedFile[]): void {
    const names = tasks.slice(0, listed).map(({ path }) => shown(path))
    const more = tasks.length - names.length
    const all = names.join(', ') + (more > 0 ? ` and ${files(more)} more` : '')
    this.#hint(`paused and not sent: ${all}; run "osp continue" to send ${tasks.length === 1 ? 'it' : 'them'}`)
  }

  added(task: ReportedFile): void {
    this.#options.overview?.add(task)
  }

  complete(): void {
    this.#options.overview?.complete()
  }

  stored(task: ReportedFile, { digest, name, storedName, replaced, size }: SentFile): void {
    const { lines, terminal, overview } = this.#options
    const { path, upload } = task
    overview?.end(task)
    lines.result(checksumLine(digest, terminal.results ? printable(path) : path))
    if (storedName !== name) this.#hint(`${path}: stored as ${storedName}, because the server already has ${name}`)
    if (!replaced) return
    // The server repeats its answer from when the file was stored, which the sender may not have received.
    const wasSent = upload.transferred > 0 || size === 0
    const which = wasSent ? 'replaced' : 'was already stored, nothing was sent; it replaced'
    this.#hint(`${path}: ${which} the file ${storedName} on the server`)
  }

  failed(file: ReportedFile | RejectedPath, why: OspError): void {
    if (file.upload) this.#options.overview?.end(file)
    if (this.#gaveUp && why.code === this.#gaveUp.code) {
      this.#notSent++
      if (file.upload && staysTask(why)) this.#notSentTasks++
    } else this.#say(`${shown(file.path)}: ${why.message}`, 'red')
  }

  cancelled(task: ReportedFile): void {
    this.#options.overview?.end(task)
    this.#hint(`${task.path}: cancelled`)
  }

  passed(task: ReportedFile): void {
    this.#options.overview?.end(task)
  }

  skipped(path: string, why: string): void {
    this.#hint(`skipped ${path}: ${why}`)
  }

  refused({ path }: ReportedFile, why: OspError): void {
    this.#hint(`${path} waits: ${why.message}`)
  }

  connecting(): void {
    this.#link.connecting()
  }

  waiting(why: OspError, retryMs: number): void {
    this.#options.overview?.setNextTry(performance.now() + retryMs)
    this.#link.waiting(why, retryMs)
  }

  online(): void {
    this.#options.overview?.setNextTry(undefined)
    this.#link.online()
  }

  gaveUp(why: OspError, advice?: string): void {
    this.#gaveUp = why
    this.#link.gaveUp(why, advice)
  }

  end(summary: SendSummary, seconds: number, unfinished: readonly ReportedFile[]): void {
    const { stored, failed, size } = summary
    if (unfinished.length > 0) this.#unfinished(unfinished)
    if (summary.paused > 0) {
      const are = summary.paused === 1 ? 'is' : 'are'
      this.#say(`${summary.paused} of these files ${are} paused; run "osp continue" first`, 'yellow')
    }
    if (this.#gaveUp && this.#notSent > 0) this.#say(this.#notSentText(this.#gaveUp), 'red')
    else if (failed > 0 && failed + stored > 1) this.#say(`${failed} of ${files(failed + stored)} failed`, 'red')
    else if (this.#options.terminal.notes && stored > 1) {
      const speed = formatSize(size / Math.max(seconds, 0.001))
      const total = `${formatSize(size)} in ${formatTime(seconds * 1_000)} (${speed}/s)`
      this.#hint(`${files(stored)} stored${outcomes(summary)}, ${total}`)
    }
  }

  #notSentText({ code }: OspError): string {
    const all = this.#notSent
    const kept = this.#notSentTasks
    const when = code === 'unauthorized' ? 'when the server accepts your login' : 'when the server can be reached'
    const again = kept < all ? `; specify ${files(all - kept)} again` : ''
    const which = kept === all ? (all === 1 ? 'it' : 'them') : `${kept} of them`
    const later = kept > 0 ? `; run "osp send" to send ${which} ${when}` : ''
    return `${files(all)} not sent${later}${again}`
  }

  #unfinished(unfinished: readonly ReportedFile[]): void {
    if (this.#joined) {
      this.#say(`${files(unfinished.length)} left to the running osp send; see "osp tasks"`, 'yellow')
      return
    }
    this.#say('interrupted; run "osp send" to continue:', 'yellow')
    const begun = unfinished.filter(({ upload }) => upload.progress.acknowledged > 0)
    for (const { path, upload } of begun.slice(0, listed)) {
      const { acknowledged, size } = upload.progress
      this.#say(`  ${path}: ${Math.floor((100 * acknowledged) / Math.max(size, 1))} % is on the server`, 'yellow')
    }
    const more = unfinished.length - Math.min(begun.length, listed)
    if (more > 0) this.#say(`  ${files(more)}${begun.length > 0 ? ' more' : ''}`, 'yellow')
  }

  #hint(text: string): void {
    if (!this.#options.quiet) this.#say(text, 'yellow')
  }
}

const files = (count: number) => (count === 1 ? '1 file' : `${count} files`)

/** Returns how many stored files replaced another file or were renamed. */
function outcomes({ replaced, renamed }: SendSummary): string {
  const parts = [replaced > 0 && `${replaced} replaced another file`, renamed > 0 && `${renamed} renamed`].filter(
    Boolean,
  )
  return parts.length > 0 ? ` (${parts.join(', ')})` : ''
}

/**
 * Returns the line that `sha256sum` prints for a file, which `sha256sum -c` accepts. If the path contains a backslash, a
 * newline or a carriage return, these are escaped, and the line begins with a backslash.
 */
function checksumLine(digest: string, path: string): string {
  const escaped = path.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r')
  return `${escaped === path ? '' : '\\'}${digest}  ${escaped}`
}
