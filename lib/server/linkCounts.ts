import { Tally } from '../core/tally.ts'
import { OspError } from '../errors.ts'
import type { Limits } from '../limits.ts'

/** The links that a server has, in all and from each origin. */
export class LinkCounts {
  readonly #limits: Pick<Limits, 'links' | 'linksPerAddress' | 'retryAfterMs'>
  readonly #byOrigin = new Tally()
  #all = 0

  constructor(limits: Pick<Limits, 'links' | 'linksPerAddress' | 'retryAfterMs'>) {
    this.#limits = limits
  }

  /** Why another link from there is not taken, if it isn't. */
  refusal(origin: string): OspError | undefined {
    const { links, linksPerAddress, retryAfterMs } = this.#limits
    const refused = (text: string) => new OspError('rate-limited', text, { retryAfterMs })
    if (this.#all >= links) return refused(`the server has ${links} links, as many as it takes`)
    if (this.#byOrigin.of(origin) < linksPerAddress) return undefined
    return refused(`the server has ${linksPerAddress} links from ${origin}, as many as it takes from one address`)
  }

  entered(origin: string): void {
    this.#all++
    this.#byOrigin.add(origin)
  }

  left(origin: string): void {
    this.#all--
    this.#byOrigin.remove(origin)
  }
}
