import type { ErrorCode, OspError } from 'ospd'
import type { LinkReporter } from './link.ts'
import type { Say } from './output.ts'
import { formatTime } from './units.ts'

/** Reasons that come one after another when a server goes away. */
const away: readonly ErrorCode[] = ['unreachable', 'link-lost', 'link-replaced', 'timed-out', 'shutting-down']

export interface LinkLinesOptions {
  readonly say: Say
  /** The server's address. */
  readonly server: string
  /** How long the client retries. */
  readonly retryForMs: number
  /** Print only that the client gave up. */
  readonly quiet: boolean
}

/** Returns a line that says what a command waits for, why, for how long, and which flag changes that. */
export function waitsFor({ server, retryForMs }: Pick<LinkLinesOptions, 'server' | 'retryForMs'>, why: string): string {
  return `waiting for ${server}: ${why}; gives up after ${formatTime(retryForMs)} (--retry-for)`
}

/** Prints the state of the link as lines for people. */
export class LinkLines implements LinkReporter {
  readonly #options: LinkLinesOptions
  /**
   * The kind of the last line about a missing link. Each kind is printed once, regardless of the number of attempts.
   */
  #waitingSince: 'answer' | 'link' | 'refusal' | undefined
  /** Whether the server has spoken the protocol. */
  #wasOnline = false

  constructor(options: LinkLinesOptions) {
    this.#options = options
  }

  connecting(): void {
    this.#hint(waitsFor(this.#options, 'no answer yet'))
    this.#waitingSince = 'answer'
  }

  waiting(why: OspError, retryMs: number): void {
    // A line has already reported the missing answer.
    if (this.#waitingSince === 'answer' && why.code === 'timed-out') return
    const about = away.includes(why.code) ? 'link' : 'refusal'
    if (this.#waitingSince === about) return
    this.#waitingSince = about
    this.#hint(waitsFor(this.#options, `${this.#reason(why)}; next try in ${formatTime(retryMs)}`))
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
