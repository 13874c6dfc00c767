import type { Client, OspError } from 'ospd'

/** Tells the user how the link to the server fares. */
export interface LinkReporter {
  /** There is no link; the next try is in `retryMs`. */
  waiting(why: OspError, retryMs: number): void
  online(): void
  /** The server has refused this client for good, or was tried for long enough. */
  gaveUp(why: OspError): void
}

export function watchLink(client: Client, reporter: LinkReporter): void {
  client.on('status', (status, why, retryMs) => {
    if (status === 'online') reporter.online()
    if (!why) return
    if (status === 'waiting') reporter.waiting(why, retryMs ?? 0)
    if (status === 'refused') reporter.gaveUp(why)
  })
}
