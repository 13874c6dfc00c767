import type { ErrorCode, OspError } from 'ospd'
import type { LinkReporter } from './link.ts'
import type { Say } from './output.ts'
import { formatTime } from './units.ts'

/** Reasons that come one after another when a server goes away. */
const away: readonly ErrorCode[] = ['unreachable', 'link-lost', 'timed-out', 'shutting-down']

export interface LinkLinesOptions {
  readonly say: Say
  /** The server's address. */
  readonly server: string
  /** Say nothing but that it is given up. */
  readonly quiet: boolean
}

/** Tells in lines for people how the link fares. */
export class LinkLines implements LinkReporter {
  readonly #options: LinkLinesOptions
  /** What was said last about a missing link: it is said once, however often it is tried. */
  #waitingSince: 'link' | 'refusal' | undefined

  constructor(options: LinkLinesOptions) {
    this.#options = options
  }

  waiting(why: OspError, retryMs: number): void {
    const about = away.includes(why.code) ? 'link' : 'refusal'
    if (this.#waitingSince === about) return
    this.#waitingSince = about
    this.#hint(`waiting for ${this.#options.server}: ${this.#reason(why)}; next try in ${formatTime(retryMs)}`)
  }

  online(): void {
    if (this.#waitingSince) this.#hint(`connected to ${this.#options.server}`)
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
  #reason({ message }: OspError): string {
    return message.replace(`cannot connect to ${this.#options.server}: `, '')
  }
}
