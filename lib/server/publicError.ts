import { errors, OspError } from '../errors.ts'
import type { Connection, ServerContext } from './app.ts'
import { linkOf } from './serverLog.ts'

/**
 * Returns the refusal of a request for the client. A fault of the server is logged; the client gets no details, such as paths.
 */
export function publicError(
  error: unknown,
  event: string,
  caller: Connection,
  { log, limits }: Pick<ServerContext, 'log' | 'limits'>,
): OspError {
  const reason = OspError.from(error)
  const { code, progress, recipients, publicText } = reason
  const isInternal = code === 'internal'
  if (isInternal && publicText === undefined) {
    const stack = error instanceof OspError ? undefined : (error as Error).stack
    log({ level: 'error', event: 'request-failed', ...linkOf(caller), text: `${event}: ${reason.message}`, stack })
  }
  const text = publicText ?? (isInternal || code === 'disk-full' ? errors[code].text : reason.message)
  return new OspError(code, text, {
    cause: reason,
    retryAfterMs: reason.retry === 'later' ? reason.retryAfterMs || limits.retryAfterMs : 0,
    ...(progress !== undefined && { progress }),
    ...(recipients && { recipients }),
  })
}
