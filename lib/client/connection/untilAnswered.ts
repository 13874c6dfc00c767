import { OspError } from '../../errors.ts'
import type { Platform } from '../../ports/platform.ts'
import { onAbort, wait, whenAborted } from '../../runtime/wait.ts'
import type { AckOf, RequestName, WireMessage } from '../../wire/message.ts'
import { type OnlineLink, refusalBackoff } from './session.ts'

interface AskOptions {
  readonly platform: Platform
  /** Time for retries after temporary refusals. */
  readonly retryForMs: number
  /** Resolves with the link for the request. */
  readonly online: (signal: AbortSignal) => Promise<OnlineLink>
}

/**
 * Repeats a request until the server answers it, on this link or a later one. Retries after temporary refusals. Rejects when
 * `signal` aborts: with its reason if that is an OspError, otherwise with OspError `closed`.
 */
export async function askUntilAnswered<K extends RequestName>(
  options: AskOptions,
  message: WireMessage<K>,
  signal: AbortSignal,
): Promise<WireMessage<AckOf<K>>> {
  try {
    return await answerTo(options, message, signal)
  } catch (error) {
    if (!signal.aborted) throw error
    throw signal.reason instanceof OspError ? signal.reason : new OspError('closed', 'the request was aborted')
  }
}

async function answerTo<K extends RequestName>(
  { platform, retryForMs, online }: AskOptions,
  message: WireMessage<K>,
  signal: AbortSignal,
): Promise<WireMessage<AckOf<K>>> {
  const backoff = refusalBackoff(platform, retryForMs)
  for (;;) {
    const { peer, closed } = await online(signal)
    const { seq, reply } = peer.ask(message)
    using _ = onAbort(signal, () => peer.abandon(seq))
    const answer = await reply.catch(OspError.from)
    if (!(answer instanceof OspError)) return answer
    if (signal.aborted) throw new OspError('closed')
    if (peer.ended) await whenAborted(closed)
    else if (answer.retry !== 'later') throw answer
    else await wait(platform.clock, backoff.next(answer), signal)
  }
}
