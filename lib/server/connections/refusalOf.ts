import { errors, OspError } from '../../errors.ts'
import type { EventName } from '../../wire/message.ts'

/**
 * What the peer is told of a refusal of `event`. Where the server is at fault the rest is for `log` alone, since it may name
 * paths; what has a public text was logged already.
 */
export function refusalOf(
  error: unknown,
  event: EventName,
  retryAfterMs: number,
  log: (fields: { text: string; stack: string | undefined }) => void,
): OspError {
  const why = OspError.from(error)
  const ours = why.code === 'internal'
  if (ours && why.publicText === undefined) {
    const { stack } = error instanceof OspError ? { stack: undefined } : (error as Error)
    log({ text: `${event}: ${why.message}`, stack })
  }
  const { code, progress, recipients, publicText } = why
  return new OspError(code, publicText ?? (ours || code === 'disk-full' ? errors[code].text : why.message), {
    cause: why,
    retryAfterMs: why.retry === 'later' ? why.retryAfterMs || retryAfterMs : 0,
    ...(progress !== undefined && { progress }),
    ...(recipients && { recipients }),
  })
}
