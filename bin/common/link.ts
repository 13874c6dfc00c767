import { type Client, connectionErrors, type OspError } from 'ospd'
import type { LinkEvent } from './events.ts'
import { errorLine, type StatusPrinter, statusPrinter } from './output.ts'
import { stylesFor } from './text.ts'
import type { TokenSource } from './token.ts'
import { formatTime } from './units.ts'

/** Reports the state of the connection to the user. */
export interface LinkReporter {
  /** Called if the first attempt to connect has neither succeeded nor failed for a while. */
  connecting(): void
  /** Called if there is no connection. The next attempt starts in `retryMs`. */
  waiting(error: OspError, retryMs: number): void
  online(): void
  /** Called if the server has rejected this client permanently, or `--retry-for` has passed. `advice` says what to do. */
  gaveUp(error: OspError, advice?: string): void
}

/** The time without an answer after which the user is informed. */
const silentMs = 1_500

/** Calls `report` after `delayMs`, unless the returned object is disposed of first. */
export function afterDelay(report: () => unknown, delayMs: number = silentMs): Disposable {
  const timer = setTimeout(report, delayMs)
  return { [Symbol.dispose]: () => clearTimeout(timer) }
}

/** Reports the connection of a client that logs in with `token`. */
export function watchLink(
  client: Pick<Client, 'on'>,
  token: TokenSource,
  reporter: LinkReporter,
  delayMs?: number,
): void {
  let first: Disposable | undefined
  client.on('status', (status, error, retryMs) => {
    if (status === 'connecting') first ??= afterDelay(() => reporter.connecting(), delayMs)
    else first?.[Symbol.dispose]()
    if (status === 'online') reporter.online()
    if (!error) return
    if (status === 'waiting') reporter.waiting(error, retryMs ?? 0)
    if (status === 'refused') reporter.gaveUp(error, token.advice(error))
  })
}

export interface LinkTextOptions {
  readonly say: StatusPrinter
  /** The address of the server. */
  readonly server: string
  /** How long the client retries. */
  readonly retryForMs: number
  /** Print only that the client gave up. */
  readonly quiet: boolean
}

/** Returns a line that says what a command waits for, why, for how long, and which flag changes that. */
export function waitingText(
  { server, retryForMs }: Pick<LinkTextOptions, 'server' | 'retryForMs'>,
  reason: string,
): string {
  return `waiting for ${server}: ${reason}; gives up after ${formatTime(retryForMs)} (--retry-for)`
}

/** Prints the state of the connection as lines of text. */
export class LinkTextReporter implements LinkReporter {
  readonly #options: LinkTextOptions
  /** The kind of the last line about a missing connection. Each kind is printed once, however often the client retries. */
  #waitingSince: 'answer' | 'link' | 'refusal' | undefined
  /** Whether the server has spoken the protocol. */
  #wasOnline = false

  constructor(options: LinkTextOptions) {
    this.#options = options
  }

  connecting(): void {
    this.#hint(waitingText(this.#options, 'no answer yet'))
    this.#waitingSince = 'answer'
  }

  waiting(error: OspError, retryMs: number): void {
    // A line has already reported the missing answer.
    if (this.#waitingSince === 'answer' && error.code === 'timed-out') return
    const kind = connectionErrors.has(error.code) ? 'link' : 'refusal'
    if (this.#waitingSince === kind) return
    this.#waitingSince = kind
    this.#hint(waitingText(this.#options, `${this.#reason(error)}; next try in ${formatTime(retryMs)}`))
  }

  online(): void {
    this.#wasOnline = true
    // After a slow answer the next output of the command shows that it is connected.
    if (this.#waitingSince && this.#waitingSince !== 'answer') this.#hint(`connected to ${this.#options.server}`)
    this.#waitingSince = undefined
  }

  gaveUp(error: OspError, advice?: string): void {
    const { say, server } = this.#options
    say(error.code === 'superseded' ? error.message : `gave up on ${server}: ${this.#reason(error)}`, 'red')
    if (advice !== undefined) say(advice, 'yellow')
  }

  #hint(text: string): void {
    if (!this.#options.quiet) this.#options.say(text, 'yellow')
  }

  /** An invalid first answer comes from a program of another protocol; an invalid later one does not. */
  #reason({ code, message, reason = message }: OspError): string {
    if (code !== 'malformed' || this.#wasOnline) return reason
    return `the program there does not speak the protocol of ospd; check the port (${reason})`
  }
}

/** Prints the state of the connection as JSON. */
export class LinkJsonReporter implements LinkReporter {
  readonly #emit: (event: LinkEvent) => void
  readonly #server: string

  constructor(server: string, emit: (event: LinkEvent) => void) {
    this.#server = server
    this.#emit = emit
  }

  /** Does nothing, since a program can set a timer of its own. */
  connecting(): void {}

  waiting({ code, message: text }: OspError, retryMs: number): void {
    this.#emit({ event: 'waiting', server: this.#server, code, text, retryMs: Math.round(retryMs) })
  }

  online(): void {
    this.#emit({ event: 'online', server: this.#server })
  }

  /** Prints the advice on stderr. The operation that fails prints the error. */
  gaveUp(_error: OspError, advice?: string): void {
    if (advice !== undefined) statusPrinter(errorLine, stylesFor(process.stderr))(advice, 'yellow')
  }
}
