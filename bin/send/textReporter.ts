import type { OspError, SentFile } from 'ospd'
import { LinkTextReporter, type LinkValues } from '../common/link.ts'
import { statusPrinter } from '../common/output.ts'
import { isTerminal, printable, stylesFor } from '../common/text.ts'
import { formatSize, formatTime, percentOf } from '../common/units.ts'
import { displayed } from '../common/usage.ts'
import { type FailedFile, type ReportedFile, type SendSummary, staysTask } from './reporter.ts'

/** The destination of lines: above the bars, if there are any. */
export interface Lines extends Disposable {
  result(line: string): void
  note(line: string): void
}

const listed = 5

/** Reports as text, with a checksum line for each stored file. */
export class TextReporter extends LinkTextReporter implements Disposable {
  readonly #lines: Lines
  #refusal: OspError | undefined
  #notSent = 0
  /** Files of `#notSent` that remain tasks. */
  #notSentTasks = 0
  #joined = false

  constructor(values: LinkValues, lines: Lines) {
    const print = statusPrinter((line) => lines.note(line), stylesFor(process.stderr))
    super(values, print)
    this.#lines = lines
  }

  /** Reports that another program sends the files of this command. */
  joined(text: string): void {
    this.#joined = true
    this.hint(text)
  }

  nothing(): void {
    this.hint('there is nothing to send')
  }

  /** Reports tasks that are not continued, because they are paused. */
  paused(tasks: readonly ReportedFile[]): void {
    const names = tasks.slice(0, listed).map(({ path }) => displayed(path))
    const more = tasks.length - names.length
    const all = names.join(', ') + (more > 0 ? ` and ${files(more)} more` : '')
    this.hint(`paused and not sent: ${all}; run "osp continue" to send ${tasks.length === 1 ? 'it' : 'them'}`)
  }

  stored({ path, upload }: ReportedFile, { digest, name, storedName, replaced, size }: SentFile): void {
    this.#lines.result(checksumLine(digest, isTerminal(process.stdout) ? printable(path) : path))
    if (storedName !== name) this.hint(`${path}: stored as ${storedName}, because the server already has ${name}`)
    if (!replaced) return
    // The server repeats its answer from when the file was stored, which the sender may not have received.
    const wasSent = upload.transferred > 0 || size === 0
    const which = wasSent ? 'replaced' : 'was already stored, nothing was sent; it replaced'
    this.hint(`${path}: ${which} the file ${storedName} on the server`)
  }

  failed({ path, upload }: FailedFile, error: OspError): void {
    if (error.code === this.#refusal?.code) {
      this.#notSent++
      if (upload && staysTask(error)) this.#notSentTasks++
    } else this.say(`${displayed(path)}: ${error.message}`, 'red')
  }

  /** Reports a task that a user has cancelled. */
  cancelled({ path }: ReportedFile): void {
    this.hint(`${path}: cancelled`)
  }

  skipped(path: string, reason: string): void {
    this.hint(`skipped ${path}: ${reason}`)
  }

  /** Reports that the server does not accept the file at the moment. */
  refused({ path }: ReportedFile, error: OspError): void {
    this.hint(`${path} waits: ${error.message}`)
  }

  override gaveUp(error: OspError, advice?: string): void {
    this.#refusal = error
    super.gaveUp(error, advice)
  }

  /** Ends the report. `unfinished` contains the files that were interrupted. */
  end(summary: SendSummary, seconds: number, unfinished: readonly ReportedFile[]): void {
    const { stored, failed, paused, size } = summary
    if (unfinished.length > 0) this.#unfinished(unfinished)
    if (paused > 0) {
      this.say(`${paused} of these files ${paused === 1 ? 'is' : 'are'} paused; run "osp continue" first`, 'yellow')
    }
    if (this.#refusal && this.#notSent > 0) this.say(this.#notSentText(this.#refusal), 'red')
    else if (failed > 0 && failed + stored > 1) this.say(`${failed} of ${files(failed + stored)} failed`, 'red')
    else if (isTerminal(process.stderr) && stored > 1) {
      const speed = formatSize(size / Math.max(seconds, 0.001))
      const total = `${formatSize(size)} in ${formatTime(seconds * 1_000)} (${speed}/s)`
      this.hint(`${files(stored)} stored${outcomes(summary)}, ${total}`)
    }
  }

  [Symbol.dispose](): void {
    this.#lines[Symbol.dispose]()
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
      this.say(`${files(unfinished.length)} left to the running osp send; see "osp tasks"`, 'yellow')
      return
    }
    this.say('interrupted; run "osp send" to continue:', 'yellow')
    const begun = unfinished.filter(({ upload }) => upload.progress.acknowledged > 0)
    for (const { path, upload } of begun.slice(0, listed)) {
      const { acknowledged, size } = upload.progress
      this.say(`  ${path}: ${percentOf(acknowledged, size)} % is on the server`, 'yellow')
    }
    const more = unfinished.length - Math.min(begun.length, listed)
    if (more > 0) this.say(`  ${files(more)}${begun.length > 0 ? ' more' : ''}`, 'yellow')
  }
}

const files = (count: number) => (count === 1 ? '1 file' : `${count} files`)

function outcomes({ replaced, renamed }: SendSummary): string {
  const parts = [replaced > 0 && `${replaced} replaced another file`, renamed > 0 && `${renamed} renamed`]
  const all = parts.filter(Boolean).join(', ')
  return all && ` (${all})`
}

/**
 * Returns the line that `sha256sum` prints for a file, which `sha256sum -c` accepts. If the path contains a backslash, a
 * newline or a carriage return, these are escaped, and the line begins with a backslash.
 */
function checksumLine(digest: string, path: string): string {
  const escaped = path.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r')
  return `${escaped === path ? '' : '\\'}${digest}  ${escaped}`
}
