import { OspError } from '../errors.ts'
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

async function attempt(token: () => Promise<string>): Promise<unknown> {
  try {
    return await token()
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause)
    throw new OspError('unauthorized', `there is no token for the server: ${text}`, { cause })
  }
}
