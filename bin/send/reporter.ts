import { connectionErrors, type MessageReceipt, type OspError, type Retry, type SentFile, type Upload } from 'ospd'
import { refusalText, unseenText } from '../common/client.ts'
import type { PrintedEvent } from '../common/events.ts'
import { LinkReporter, type LinkValues } from '../common/link.ts'
import { results, statusPrinter } from '../common/output.ts'
import { isTerminal, printable, stylesFor } from '../common/text.ts'
import { formatSize, formatTime, percentOf } from '../common/units.ts'
import { displayed, exitCodeOf, exitCodes } from '../common/usage.ts'
import { receiptLine, waitingForReceipts } from '../listen/receipts.ts'
import type { Lines } from './lines.ts'
import type { Overview } from './overview.ts'

/** A file that is being sent or waiting. */
export interface ReportedFile {
  /** The path as it was given; the absolute path if this command was not given the file. */
  readonly path: string
  readonly size: number
  readonly upload: Upload
}

/** A stored file with a message that not all users have handled. */
export interface AwaitedFile {
  /** The ids of the messages about the file. */
  readonly ids: readonly string[]
  /** The users whose receipts have not arrived. */
  readonly users: ReadonlySet<string>
}

/** A file that failed, possibly before it became a task. */
export type FailedFile = Pick<ReportedFile, 'path'> & Partial<ReportedFile>

/** Returns whether the server has temporarily rejected a file. Lost connections are reported once for all files. */
export function isRefusal({ code, retry }: OspError): boolean {
  return retry === 'later' && !connectionErrors.has(code)
}

/** Returns whether the same command can succeed later. A rejected login can succeed with another token. */
const retryOf = ({ code, retry }: OspError): Retry => (code === 'unauthorized' ? 'later' : retry)

/** Returns whether a file that has failed with this error remains a task. */
const staysTask = (error: OspError): boolean => retryOf(error) !== 'never'

/** Counts the results of a command and derives its exit code. */
export class SendSummary {
  stored = 0
  /** Stored files that replaced another file, and stored files that the server renamed. */
  replaced = 0
  /** Files of `replaced` that this command has sent. */
  justReplaced = 0
  renamed = 0
  failed = 0
  /** Failed files that remain tasks, which the next `osp send` continues. */
  remaining = 0
  /** Files that were in progress or waiting when this command, or the program that it had joined, was interrupted. */
  unfinished = 0
  paused = 0
  /** Messages about files that no recipient is known to have handled. */
  unhandled = 0
  size = 0
  transferred = 0
  refusal: OspError | undefined
  isInterrupted = false
  readonly #codes = new Set<number>()

  addStored(file: SentFile, transferred: number): void {
    this.stored++
    if (file.replaced) this.replaced++
    if (hasJustReplaced(file, transferred)) this.justReplaced++
    if (file.storedName !== file.name) this.renamed++
    this.size += file.size
    this.transferred += transferred
  }

  addFailed(error: OspError, upload?: Upload): void {
    this.failed++
    if (upload && staysTask(error)) this.remaining++
    this.transferred += upload?.transferred ?? 0
    this.#codes.add(error.code === 'usage' ? exitCodes.usage : exitCodeOf(error))
  }

  /** Counts a message of the outbox that the server has refused. Called only if the command sends the outbox. */
  addRefused(error: OspError): void {
    this.#codes.add(exitCodeOf(error))
  }

  addUnfinished(transferred: number): void {
    this.unfinished++
    this.transferred += transferred
  }

  interrupted(paused: number): void {
    this.isInterrupted = true
    this.paused = paused
  }

  /** An error of the whole command takes precedence over errors of files, and permanent ones over temporary ones. */
  get exitCode(): number {
    if (this.isInterrupted) return exitCodes.interrupted
    if (this.refusal) return exitCodeOf(this.refusal)
    const { usage, failed, unauthorized, unreachable, later, unhandled, done } = exitCodes
    const worst = [usage, failed, unauthorized, unreachable, later].find((code) => this.#codes.has(code))
    if (worst !== undefined) return worst
    if (this.unfinished > 0) return later
    return this.unhandled > 0 ? unhandled : done
  }
}

const listed = 5

const progressMs = 1_000

/** Reports as text, with a checksum line for each stored file, or as JSON. Must be disposed of after the end. */
export class SendReporter extends LinkReporter implements Disposable {
  readonly #lines: Lines
  readonly #overview: Overview<ReportedFile>
  readonly #timer: NodeJS.Timeout | undefined
  /** The last reported progress of each file. */
  readonly #reported = new WeakMap<ReportedFile, string>()
  #refusal: OspError | undefined
  /** The users of `--to` that were reported because they have never logged in. */
  readonly #unseen = new Set<string>()
  #notSent = 0
  /** Files of `#notSent` that remain tasks. */
  #notSentTasks = 0
  #joined = false

  constructor(values: LinkValues, overview: Overview<ReportedFile>, lines: Lines) {
    super(
      values,
      statusPrinter((line) => lines.note(line), stylesFor(process.stderr)),
    )
    this.#lines = lines
    this.#overview = overview
    const report = () => results.waitingBytes > 0 || this.progress(performance.now())
    this.#timer = values.json ? setInterval(report, progressMs).unref() : undefined
  }

  joined(text: string): void {
    this.#joined = true
    this.#report({ event: 'joined', text }, text)
  }

  /** Reports the messages of the outbox, or that there is nothing to send. */
  queued(hasTasks: boolean, messages: number): void {
    if (messages > 0) this.hint(`sending ${messages === 1 ? '1 queued message' : `${messages} queued messages`}`)
    else if (!hasTasks) this.hint('there is nothing to send')
  }

  /** Reports tasks that are not continued, because they are paused. */
  paused(tasks: readonly ReportedFile[]): void {
    if (this.json) for (const task of tasks) results.event({ event: 'paused', ...named(task) })
    const names = tasks.slice(0, listed).map(({ path }) => displayed(path))
    const more = tasks.length - names.length
    const all = names.join(', ') + (more > 0 ? ` and ${files(more)} more` : '')
    this.hint(`paused and not sent: ${all}; run "osp continue" to send ${tasks.length === 1 ? 'it' : 'them'}`)
  }

  stored(task: ReportedFile, file: SentFile): void {
    const { digest, name, storedName, replaced, size, algorithm, notice, unseen = [] } = file
    const { path, upload } = task
    const { transferred } = upload
    if (this.json) {
      const ids = { messageIds: messageIdsOf(file) }
      results.event({
        event: 'stored',
        ...named(task),
        storedName,
        replaced,
        size,
        algorithm,
        digest,
        ...ids,
        unseen: [...unseen],
        transferred,
      })
      return
    }
    this.#lines.result(checksumLine(digest, isTerminal(process.stdout) ? printable(path) : path))
    if (storedName !== name) this.hint(`${path}: the server stored it as ${storedName}`)
    if (hasJustReplaced(file, transferred)) this.hint(`${path}: replaced the file ${storedName} on the server`)
    const users = notice?.recipients ?? []
    if (users.length > 0 && transferred === 0 && size > 0)
      this.hint(`${path}: the server already had the file; sent ${users.join(', ')} a message about it`)
    for (const recipient of unseen) {
      if (this.#unseen.has(recipient)) continue
      this.#unseen.add(recipient)
      this.hint(unseenText(recipient))
    }
  }

  failed({ path, upload }: FailedFile, error: OspError): void {
    if (this.json) {
      const { code, message: text } = error
      const { id: task, name, transferred } = upload ?? { id: null, name: null, transferred: 0 }
      results.event({ event: 'failed', task, file: path, name, code, text, retry: retryOf(error), transferred })
    } else if (error.code === this.#refusal?.code) {
      this.#notSent++
      if (upload && staysTask(error)) this.#notSentTasks++
    } else this.say(`${displayed(path)}: ${refusalText(error)}`, 'red')
  }

  waitsForReceipts(users: Iterable<string>): void {
    this.hint(waitingForReceipts(users))
  }

  /** Resolves with whether the receipt is printed. */
  async receipt(task: ReportedFile, receipt: MessageReceipt): Promise<boolean> {
    const { recipient, state, at, result } = receipt
    const event = { event: 'handled', ...named(task), recipient, state, at: at.toISOString(), result } as const
    const line = `${task.path}: ${receiptLine(receipt)}`
    if (this.json) return results.printed(event, line)
    this.hint(line)
    return true
  }

  /** The server has notified its users of the file after an earlier upload, whose receipts may have been printed. */
  storedBefore({ path }: ReportedFile): void {
    this.hint(
      `${path}: an earlier command has sent the file, and its users were notified then; "osp listen --receipts" prints their receipts`,
    )
  }

  /** Reports the files that are not handled when the command ends, with the ids of the messages about them. */
  unhandled(tasks: ReadonlyMap<ReportedFile, AwaitedFile>): void {
    if (this.json || tasks.size === 0) return
    this.say('not handled yet; the server keeps the receipts, and "osp listen --receipts" prints them:', 'yellow')
    for (const [{ path }, { ids }] of [...tasks].slice(0, listed))
      this.say(`  ${path}: message ${ids.join(', ')}`, 'yellow')
    if (tasks.size > listed) this.say(`  ${files(tasks.size - listed)} more`, 'yellow')
  }

  cancelled(task: ReportedFile): void {
    this.#report({ event: 'cancelled', ...named(task) }, `${task.path}: cancelled`)
  }

  skipped(file: string, text: string): void {
    this.#report({ event: 'skipped', file, text }, `skipped ${file}: ${text}`)
  }

  refused(task: ReportedFile, { code, message: text }: OspError): void {
    this.#report({ event: 'refused', ...named(task), code, text }, `${task.path} waits: ${text}`)
  }

  /** Reports with `--json` each file that has progressed since the last call. */
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
      results.event({ event: 'progress', ...named(task), state, ...bytes })
    }
  }

  override gaveUp(error: OspError, advice?: string): void {
    this.#refusal = error
    super.gaveUp(error, advice)
  }

  /** Ends the report. `unfinished` contains the files that were interrupted. */
  end(summary: SendSummary, seconds: number, unfinished: readonly ReportedFile[]): void {
    if (this.json) {
      results.event(summaryEvent(summary, seconds))
      return
    }
    const { stored, failed, paused, size, isInterrupted } = summary
    if (unfinished.length > 0) this.#unfinished(unfinished, isInterrupted)
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
    clearInterval(this.#timer)
    this.#lines[Symbol.dispose]()
  }

  #report(event: PrintedEvent, text: string): void {
    if (this.json) results.event(event)
    else this.hint(text)
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

  #unfinished(unfinished: readonly ReportedFile[], isInterrupted: boolean): void {
    if (this.#joined && isInterrupted) {
      this.say(`${files(unfinished.length)} left to the running osp send; see "osp tasks"`, 'yellow')
      return
    }
    const reason = this.#joined ? 'the other osp send has ended' : 'interrupted'
    this.say(`${reason}; run "osp send" to continue:`, 'yellow')
    const begun = unfinished.filter(({ upload }) => upload.progress.acknowledged > 0)
    for (const { path, upload } of begun.slice(0, listed)) {
      const { acknowledged, size } = upload.progress
      this.say(`  ${path}: ${percentOf(acknowledged, size)} % is on the server`, 'yellow')
    }
    const more = unfinished.length - Math.min(begun.length, listed)
    if (more > 0) this.say(`  ${files(more)}${begun.length > 0 ? ' more' : ''}`, 'yellow')
  }
}

/** Returns the ids of the messages that notify users of a file. */
const messageIdsOf = (file: SentFile): string[] => messagesAbout(file).map(({ id }) => id)

/** Returns the messages about a stored file: to the users of `--to`, and to those that the server notifies. */
export const messagesAbout = ({ notice, notified }: SentFile) =>
  [notice, notified].filter((message) => message !== undefined).filter(({ recipients }) => recipients.length > 0)

const files = (count: number) => (count === 1 ? '1 file' : `${count} files`)

/** If nothing was sent, `replaced` is from an earlier answer of the server, which it repeats. */
const hasJustReplaced = ({ replaced, size }: SentFile, transferred: number) =>
  replaced && (transferred > 0 || size === 0)

function outcomes({ justReplaced, renamed }: SendSummary): string {
  const parts = [justReplaced > 0 && `${justReplaced} replaced another file`, renamed > 0 && `${renamed} renamed`]
  const all = parts.filter(Boolean).join(', ')
  return all && ` (${all})`
}

/** Returns a line as `sha256sum` prints it. If the path needs escapes, the line begins with a backslash. */
export function checksumLine(digest: string, path: string): string {
  if (!/[\\\n\r]/u.test(path)) return `${digest}  ${path}`
  const escaped = path.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r')
  return `\\${digest}  ${escaped}`
}

function summaryEvent(summary: SendSummary, elapsed: number): PrintedEvent {
  const { stored, replaced, renamed, failed, remaining, unfinished, size, transferred, exitCode } = summary
  const seconds = Math.round(elapsed * 1_000) / 1_000
  const counts = { stored, replaced, renamed, failed: failed - remaining, unfinished: unfinished + remaining }
  return { event: 'summary', ...counts, size, transferred, seconds, exitCode }
}

const named = ({ path, upload }: ReportedFile) => ({ task: upload.id, file: path, name: upload.name })
