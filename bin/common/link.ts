import type { Client, ErrorCode, OspError } from 'ospd'
import type { LinkEvent } from './events.ts'
import { errorLine, type StatusPrinter, statusPrinter } from './output.ts'
import { stylesFor } from './text.ts'
import type { TokenSource } from './token.ts'
import { formatTime } from './units.ts'

/** Reports the state of the link to the user. */
export interface LinkReporter {
  /** The first attempt to connect has neither succeeded nor failed for a while. */
  connecting(): void
  /** There is no link; the next attempt is in `retryMs`. */
  waiting(why: OspError, retryMs: number): void
  online(): void
  /** The server has refused this client for good, or was tried for long enough; `advice` says what helps, if it can. */
  gaveUp(why: OspError, advice?: string): void
}

/** How long a client connects before its user sees what it waits for. */
const silentMs = 1_500

/** Calls `tell` after `soonMs`, unless the returned object is disposed of before. */
export function afterDelay(tell: () => unknown, soonMs: number = silentMs): Disposable {
  const timer = setTimeout(tell, soonMs)
  return { [Symbol.dispose]: () => clearTimeout(timer) }
}

/** Reports the link of a client that logs in with `token`. */
export function watchLink(
  client: Pick<Client, 'on'>,
  token: TokenSource,
  reporter: LinkReporter,
  soonMs?: number,
): void {
  let first: Disposable | undefined
  client.on('status', (status, why, retryMs) => {
    if (status === 'connecting') first ??= afterDelay(() => reporter.connecting(), soonMs)
    else first?.[Symbol.dispose]()
    if (status === 'online') reporter.online()
    if (!why) return
    if (status === 'waiting') reporter.waiting(why, retryMs ?? 0)
    if (status === 'refused') reporter.gaveUp(why, token.advice(why))
  })
}

/** Reasons that come one after another when a server goes away. */
const away: readonly ErrorCode[] = ['unreachable', 'link-lost', 'link-replaced', 'timed-out', 'shutting-down']

export interface LinkTextOptions {
  readonly say: StatusPrinter
  /** The server's address. */
  readonly server: string
  /** How long the client retries. */
  readonly retryForMs: number
  /** Print only that the client gave up. */
  readonly quiet: boolean
}

/** Returns a line that says what a command waits for, why, for how long, and which flag changes that. */
export function waitingText(
  { server, retryForMs }: Pick<LinkTextOptions, 'server' | 'retryForMs'>,
  why: string,
): string {
  return `waiting for ${server}: ${why}; gives up after ${formatTime(retryForMs)} (--retry-for)`
}

/** Prints the state of the link as lines for people. */
export class LinkTextReporter implements LinkReporter {
  readonly #options: LinkTextOptions
  /**
   * The kind of the last line about a missing link. Each kind is printed once, regardless of the number of attempts.
   */
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

  waiting(why: OspError, retryMs: number): void {
    // A line has already reported the missing answer.
    if (this.#waitingSince === 'answer' && why.code === 'timed-out') return
    const about = away.includes(why.code) ? 'link' : 'refusal'
    if (this.#waitingSince === about) return
    this.#waitingSince = about
    this.#hint(waitingText(this.#options, `${this.#reason(why)}; next try in ${formatTime(retryMs)}`))
  }

  online(): void {
    this.#wasOnline = true
    // After a slow answer the next output of the command shows that it is connected.
    if (this.#waitingSince && this.#waitingSince !== 'answer') this.#hint(`connected to ${this.#options.server}`)
    this.#waitingSince = undefined
  }

  gaveUp(why: OspError, advice?: string): void {
    const { say, server } = this.#options
    say(why.code === 'superseded' ? why.message : `gave up on ${server}: ${this.#reason(why)}`, 'red')
    if (advice !== undefined) say(advice, 'yellow')
  }

  #hint(text: string): void {
    if (!this.#options.quiet) this.#options.say(text, 'yellow')
  }

  /**
   * Removes the start of the message, which the line already contains. A first answer that is not valid comes from
   * another program; later ones do not.
   */
  #reason({ code, message }: OspError): string {
    const reason = message.replace(`cannot connect to ${this.#options.server}: `, '')
    if (code !== 'malformed' || this.#wasOnline) return reason
    return `the program there does not speak the protocol of ospd; check the port (${reason})`
  }
}

/** Tells in JSON how the link fares. */
export class LinkJsonReporter implements LinkReporter {
  readonly #emit: (event: LinkEvent) => void
  readonly #server: string

  constructor(server: string, emit: (event: LinkEvent) => void) {
    this.#server = server
    this.#emit = emit
  }

  /** Does nothing: a program that must know before `waiting` can set a timer. */
  connecting(): void {}

  waiting({ code, message: text }: OspError, retryMs: number): void {
    this.#emit({ event: 'waiting', server: this.#server, code, text, retryMs: Math.round(retryMs) })
  }

  online(): void {
    this.#emit({ event: 'online', server: this.#server })
  }

  /** What fails by it is told with the reason; the advice is for people. */
  gaveUp(_why: OspError, advice?: string): void {
    if (advice !== undefined) statusPrinter(errorLine, stylesFor(process.stderr))(advice, 'yellow')
  }
}
