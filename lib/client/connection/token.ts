import { OspError } from '../../errors.ts'
import type { BoundToken, GivenToken } from '../../runtime/tokenBinding.ts'
import { unlessAborted } from '../../runtime/wait.ts'

/**
 * Calls the application's `token`. Rejects with OspError `unauthorized` if it throws, or returns something else: the server
 * cannot be asked then; with `closed` if `signal` aborts before.
 */
export async function tokenOf(token: () => Promise<GivenToken>, signal: AbortSignal): Promise<BoundToken> {
  const given = await unlessAborted(attempt(token), signal)
  if (typeof given === 'string') return { token: given, boundTo: 'open' }
  const { token: text, boundTo } = (given ?? {}) as Partial<BoundToken>
  if (typeof text === 'string' && typeof boundTo === 'string') return { token: text, boundTo }
  throw new OspError('unauthorized', `the token for the server must be a string, and is of type ${typeof given}`)
}

async function attempt(token: () => Promise<unknown>): Promise<unknown> {
  try {
    return await token()
  } catch (cause) {
    if (cause instanceof OspError && cause.code === 'unauthorized') throw cause
    const text = cause instanceof Error ? cause.message : String(cause)
    throw new OspError('unauthorized', `there is no token for the server: ${text}`, { cause })
  }
}
