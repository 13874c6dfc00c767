import { type Client, connectionErrors, type OspError } from 'ospd'
import { type CommonOptions, commonOptions } from './commonOptions.ts'
import { contextsIn } from './context.ts'
import { results, type StatusPrinter, say } from './output.ts'
import { addressText } from './settings.ts'
import type { TokenSource } from './token.ts'
import { formatTime } from './units.ts'

/** The time without an answer after which the user is informed. */
const silentMs = 1_500

/** Calls `report` after `delayMs`, unless the returned object is disposed of first. */
export function afterDelay(report: () => unknown, delayMs: number = silentMs): Disposable {
  const timer = setTimeout(report, delayMs)
  return { [Symbol.dispose]: () => clearTimeout(timer) }
}

/** Reports the connection of a client that logs in with `token`. */
export function watchLink(client: Client, token: TokenSource, reporter: LinkReporter, delayMs?: number): void {
  let first: Disposable | undefined
  client.on('status', (status, error, retryMs) => {
    if (status === 'connecting') first ??= afterDelay(() => reporter.connecting(), delayMs)
    else first?.[Symbol.dispose]()
    if (status === 'online') reporter.online()
    if (!error) return
    if (status === 'waiting') reporter.waiting(error, retryMs ?? 0)
    if (status === 'refused') reporter.gaveUp(error, adviceAbout(error, token))
  })
}

/** Returns what to do if the server has rejected the token. */
export function adviceAbout({ code, fromPeer }: OspError, token: TokenSource): string | undefined {
  return code === 'unauthorized' && fromPeer ? token.advice() : undefined
}

/** The options of a command that its reports about the connection depend on. */
export type LinkValues = Pick<CommonOptions, 'server' | 'retry-for' | 'quiet' | 'json'> &
  Partial<Pick<CommonOptions, 'state'>>

/** Returns what to do if nothing can be reached at the default address, and no context selects another one. */
function defaultServerAdvice(values: LinkValues): string | undefined {
  const isDefault = addressText(values.server) === commonOptions.server.fallback
  if (!isDefault || contextsIn(values).load().current !== undefined) return undefined
  return 'this is the default server, and no context is selected; specify --server, run "osp context use NAME", or run "osp login"'
}

/** Returns a line that says what a command waits for, why, for how long, and which flag changes that. */
export function waitingText(server: string, reason: string, retryForMs: number): string {
  return `waiting for ${server}: ${reason}; giving up after ${formatTime(retryForMs)} (--retry-for)`
}

/** Prints the state of the connection: as lines of text, or as JSON. */
export class LinkReporter {
  readonly say: StatusPrinter
  protected readonly json: boolean
  readonly #values: LinkValues
  readonly #server: string
  /** The kind of the last line about a missing connection. Each kind is printed once, however often the client retries. */
  #waitingSince: 'answer' | 'link' | 'refusal' | undefined
  #wasOnline = false

  constructor(values: LinkValues, print: StatusPrinter = say) {
    this.#values = values
    this.#server = addressText(values.server)
    this.json = values.json
    this.say = print
  }

  /** Called if the first attempt to connect has neither succeeded nor failed for a while. */
  connecting(): void {
    this.#hintWaiting('no answer yet')
    this.#waitingSince = 'answer'
  }

  /** Called if there is no connection. The next attempt starts in `retryMs`. */
  waiting(error: OspError, retryMs: number): void {
    const { code, message: text } = error
    if (this.json) results.event({ event: 'waiting', server: this.#server, code, text, retryMs: Math.round(retryMs) })
    // A line has already reported the missing answer.
    if (this.#waitingSince === 'answer' && code === 'timed-out') return
    const kind = connectionErrors.has(code) ? 'link' : 'refusal'
    if (this.#waitingSince === kind) return
    this.#waitingSince = kind
    this.#hintWaiting(`${this.#reason(error)}; next try in ${formatTime(retryMs)}`)
  }

  online(): void {
    this.#wasOnline = true
    if (this.json) results.event({ event: 'online', server: this.#server })
    // After a slow answer the next output of the command shows that it is connected.
    if (this.#waitingSince && this.#waitingSince !== 'answer') this.hint(`connected to ${this.#server}`)
    this.#waitingSince = undefined
  }

  /** Called if the server has rejected this client permanently, or `--retry-for` has passed. `advice` says what to do. */
  gaveUp(error: OspError, advice?: string): void {
    const text = error.code === 'superseded' ? error.message : `gave up on ${this.#server}: ${this.#reason(error)}`
    // As JSON, the operation that fails prints the error.
    if (!this.json) this.say(text, 'red')
    const next = advice ?? (connectionErrors.has(error.code) ? defaultServerAdvice(this.#values) : undefined)
    if (next !== undefined) this.say(next, 'yellow')
  }

  /** Prints a remark, unless `--quiet` or `--json` is set. */
  protected hint(text: string): void {
    if (!this.#values.quiet && !this.json) this.say(text, 'yellow')
  }

  #hintWaiting(reason: string): void {
    this.hint(waitingText(this.#server, reason, this.#values['retry-for']))
  }

  /** An invalid first answer comes from a program of another protocol; an invalid later one does not. */
  #reason({ code, message, reason = message }: OspError): string {
    if (code !== 'malformed' || this.#wasOnline) return reason
    return `the program there does not speak the ospd protocol; check the port (${reason})`
  }
}
