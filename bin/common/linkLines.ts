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
  /** How long it is tried. */
  readonly retryForMs: number
  /** Say nothing but that it is given up. */
  readonly quiet: boolean
}

/** What a command waits for, why, how long it goes on, and how to change that. */
export function waitsFor({ server, retryForMs }: Pick<LinkLinesOptions, 'server' | 'retryForMs'>, why: string): string {
  return `waiting for ${server}: ${why}; gives up after ${formatTime(retryForMs)} (--retry-for)`
}

/** Tells in lines for people how the link fares. */
export class LinkLines implements LinkReporter {
  readonly #options: LinkLinesOptions
  /** What was said last about a missing link: it is said once, however often it is tried. */
  #waitingSince: 'answer' | 'link' | 'refusal' | undefined

  constructor(options: LinkLinesOptions) {
    this.#options = options
  }

  connecting(): void {
    this.#hint(waitsFor(this.#options, 'no answer yet'))
    this.#waitingSince = 'answer'
  }

  waiting(why: OspError, retryMs: number): void {
    // It was said already that there is no answer.
    if (this.#waitingSince === 'answer' && why.code === 'timed-out') return
    const about = away.includes(why.code) ? 'link' : 'refusal'
    if (this.#waitingSince === about) return
    this.#waitingSince = about
    this.#hint(waitsFor(this.#options, `${this.#reason(why)}; next try in ${formatTime(retryMs)}`))
  }

  online(): void {
    // What a slow link prints next says as much.
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

  /** What the line begins with already is not said twice. */
  #reason({ code, message }: OspError): string {
    const reason = message.replace(`cannot connect to ${this.#options.server}: `, '')
    return code === 'malformed' ? `${reason}; perhaps another program than ospd listens there` : reason
  }
}
