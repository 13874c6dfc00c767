import type { Client, OspError } from 'ospd'
import type { TokenSource } from './token.ts'

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
export function unlessSoon(tell: () => unknown, soonMs: number = silentMs): Disposable {
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
    if (status === 'connecting') first ??= unlessSoon(() => reporter.connecting(), soonMs)
    else first?.[Symbol.dispose]()
    if (status === 'online') reporter.online()
    if (!why) return
    if (status === 'waiting') reporter.waiting(why, retryMs ?? 0)
    if (status === 'refused') reporter.gaveUp(why, token.advice(why))
  })
}
