import type { OspError, SentFile } from 'ospd'
import { LinkTextReporter } from '../common/link.ts'
import { type StatusPrinter, statusPrinter } from '../common/output.ts'
import { printable, type Styles } from '../common/text.ts'
import { formatSize, formatTime } from '../common/units.ts'
import { shown } from '../common/usage.ts'
import type { Overview } from './overview.ts'
import { canPass, type RejectedPath, type ReportedFile, type SendReporter } from './reporter.ts'
import type { SendSummary } from './sendSummary.ts'

/** Where lines go: above the bars, if there are any. */
export interface Lines {
  /** To stdout. */
  result(line: string): void
  /** To stderr. */
  note(line: string): void
}

export interface TextOptions {
  readonly lines: Lines
  /** What the bars are drawn from, if there are any. */
  readonly overview?: Overview | undefined
  readonly styles: Styles
  /** The server's address, and how long the client retries. */
  readonly server: string
  readonly retryForMs: number
  /** Say nothing but results and failures. */
  readonly quiet: boolean
  /** Somebody looks on: raw names could steer the terminal, and a closing line is welcome. */
  readonly terminal: { readonly results: boolean; readonly notes: boolean }
}

/** Names of unfinished files that an interrupted command lists. */
const listed = 5

/** Reports in lines for people, and in checksum lines for stored files. */
export class TextReporter implements SendReporter {
  readonly #options: TextOptions
  readonly #say: StatusPrinter
  readonly #link: LinkTextReporter
  #gaveUp: OspError | undefined
  #notSent = 0
  /** Files of `#notSent` that stay tasks. */
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
    this.#hint('there is nothing left to send')
  }

  paused(tasks: readonly ReportedFile[]): void {
    const names = tasks.slice(0, listed).map(({ path }) => shown(path))
    const more = tasks.length - names.length
    const all = names.join(', ') + (more > 0 ? ` and ${files(more)} more` : '')
    this.#hint(`paused, and not taken up: ${all}; "osp continue" lets ${tasks.length === 1 ? 'it' : 'them'} go on`)
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
    if (storedName !== name) this.#hint(`${path}: stored as ${storedName}, since the server already has ${name}`)
    if (!replaced) return
    // The server repeats what it answered when the file was stored, which the sender may not have received then.
    const wasSent = upload.transferred > 0 || size === 0
    const which = wasSent ? 'replaced' : 'is stored already, nothing was sent; it replaced'
    this.#hint(`${path}: ${which} the file ${storedName} on the server`)
  }

  failed(file: ReportedFile | RejectedPath, why: OspError): void {
    if (file.upload) this.#options.overview?.end(file)
    if (this.#gaveUp && why.code === this.#gaveUp.code) {
      this.#notSent++
      if (file.upload && canPass(why)) this.#notSentTasks++
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
    this.#hint(`${path} is left out: ${why}`)
  }

  refused({ path }: ReportedFile, why: OspError): void {
    this.#hint(`${path} waits: ${why.message}`)
  }

  connecting(): void {
    this.#link.connecting()
  }

  waiting(why: OspError, retryMs: number): void {
    this.#options.overview?.waits(performance.now() + retryMs)
    this.#link.waiting(why, retryMs)
  }

  online(): void {
    this.#options.overview?.waits(undefined)
    this.#link.online()
  }

  gaveUp(why: OspError, advice?: string): void {
    this.#gaveUp = why
    this.#link.gaveUp(why, advice)
  }

  end(tally: SendSummary, seconds: number, unfinished: readonly ReportedFile[]): void {
    const { stored, failed, size } = tally
    if (unfinished.length > 0) this.#unfinished(unfinished)
    if (tally.paused > 0) {
      const are = tally.paused === 1 ? 'is' : 'are'
      this.#say(`${tally.paused} of these files ${are} paused; run "osp continue" first`, 'yellow')
    }
    if (this.#gaveUp && this.#notSent > 0) this.#say(this.#notSentText(this.#gaveUp), 'red')
    else if (failed > 0 && failed + stored > 1) this.#say(`${failed} of ${files(failed + stored)} failed`, 'red')
    else if (this.#options.terminal.notes && stored > 1) {
      const speed = formatSize(size / Math.max(seconds, 0.001))
      const total = `${formatSize(size)} in ${formatTime(seconds * 1_000)} (${speed}/s)`
      this.#hint(`${files(stored)} stored${outcomes(tally)}, ${total}`)
    }
  }

  #notSentText({ code }: OspError): string {
    const all = this.#notSent
    const kept = this.#notSentTasks
    const when = code === 'unauthorized' ? 'once the server lets you in' : 'when the server can be reached'
    const rest = kept < all ? `; ${files(all - kept)} must be given again` : ''
    const left =
      kept > 0 ? `; "osp send" sends ${kept === all ? (all === 1 ? 'it' : 'them') : `${kept} of them`} ${when}` : ''
    return `${files(all)} not sent${left}${rest}`
  }

  #unfinished(unfinished: readonly ReportedFile[]): void {
    if (this.#joined) {
      this.#say(`${files(unfinished.length)} left to the osp send that was joined; see "osp tasks"`, 'yellow')
      return
    }
    this.#say('interrupted; "osp send" continues where the server stands:', 'yellow')
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
 * The line that `sha256sum` (and its like) prints for a file, so that `sha256sum -c` takes it: where the path has a
 * backslash, a newline or a carriage return, these are escaped, and the line begins with a backslash.
 */
function checksumLine(digest: string, path: string): string {
  const escaped = path.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r')
  return `${escaped === path ? '' : '\\'}${digest}  ${escaped}`
}
