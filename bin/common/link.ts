import type { Client, OspError } from 'ospd'
import type { TokenSource } from './token.ts'

/** Tells the user how the link to the server fares. */
export interface LinkReporter {
  /** There is no link; the next try is in `retryMs`. */
  waiting(why: OspError, retryMs: number): void
  online(): void
  /** The server has refused this client for good, or was tried for long enough; `advice` says what helps, if it can. */
  gaveUp(why: OspError, advice?: string): void
}

/** `token` is what the client lets itself in by. */
export function watchLink(client: Client, token: TokenSource, reporter: LinkReporter): void {
  client.on('status', (status, why, retryMs) => {
    if (status === 'online') reporter.online()
    if (!why) return
    if (status === 'waiting') reporter.waiting(why, retryMs ?? 0)
    if (status === 'refused') reporter.gaveUp(why, token.advice(why))
  })
}
