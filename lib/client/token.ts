import { OspError } from '../errors.ts'
import type { Socket } from '../ports/socket.ts'
import { isOpenWay } from '../runtime/openWay.ts'
import { unlessAborted } from '../runtime/wait.ts'

/**
 * What the application's `token` gives. Rejects with OspError `unauthorized` where it throws, or gives something else
 * than a string: the server cannot be asked then; with `closed` when `signal` aborts before.
 */
export async function tokenOf(token: () => Promise<string>, signal: AbortSignal): Promise<string> {
  const given = await unlessAborted(attempt(token), signal)
  if (typeof given === 'string') return given
  throw new OspError('unauthorized', `the token for the server must be a string, and is of type ${typeof given}`)
}

/** Ends a fresh socket and throws OspError `unauthorized` where others could read the token on its way; no token may go. */
export function keepToken(token: string, socket: Socket, insecure: boolean): void {
  if (token === '' || insecure || !isOpenWay(socket)) return
  socket.destroy()
  throw new OspError(
    'unauthorized',
    `the token was not sent to ${socket.peer.host}: others could read it on the way; use TLS, or the option insecure`,
  )
}

async function attempt(token: () => Promise<string>): Promise<unknown> {
  try {
    return await token()
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause)
    throw new OspError('unauthorized', `there is no token for the server: ${text}`, { cause })
  }
}
