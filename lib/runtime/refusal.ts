import { codeOf, numberOf, OspError } from '../errors.ts'
import { fixed } from '../limits.ts'
import { type NackName, nackNameOf, type RequestName, type WireMessage } from '../wire/message.ts'

/** Maximum length of a text; a longer one is cut, because a refusal must fit into the smallest frame. */
const mostCharacters = 500

/** Returns a text for the peer, cut to the maximum length. */
export const cutText = (text: string) => text.toWellFormed().slice(0, mostCharacters).toWellFormed()

/** Returns the longest beginning of a text that has at most `bytes` in UTF-8; by default the size of a result. */
export function cutUtf8(text: string, bytes: number = fixed.resultBytes): string {
  const into = new Uint8Array(bytes)
  return text.slice(0, new TextEncoder().encodeInto(text, into).read).toWellFormed()
}

/** The largest value on the wire. */
const mostRetryAfterMs = 0xffff_ffff

/** Returns the fields of a refusal with this error. */
export function refusalFields(error: OspError) {
  const text = cutText(error.message)
  const retryAfter = Math.min(Math.max(Math.ceil(error.retryAfterMs), 0), mostRetryAfterMs)
  return { code: numberOf(error.code), retryAfter, text }
}

/** Returns the NACK of a request with this error, or `undefined` if the request is never refused. */
export function nackOf(request: RequestName, error: OspError): WireMessage<NackName> | undefined {
  const event = nackNameOf(request)
  if (event === undefined) return undefined
  const { progress = 0 } = error
  return { event, ...refusalFields(error), progress } as WireMessage<NackName>
}

/** Returns the GOODBYE with this error. */
export function goodbyeOf(error: OspError): WireMessage<'GoodbyeNtf'> {
  return { event: 'GoodbyeNtf', ...refusalFields(error) }
}

/** Characters that could control a terminal or change the direction of the text. */
const unfit = /[\p{Cc}\u2028\u2029\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/gu

/** The fields of a refusal. */
type Refusal = ReturnType<typeof refusalFields> & {
  readonly progress?: number
  readonly recipients?: readonly string[]
}

/** Returns the error of a refusal by the peer, with spaces in place of unfit characters. */
export function errorOf(refusal: Refusal): OspError {
  const { code, retryAfter: retryAfterMs, progress, recipients } = refusal
  const text = refusal.text.slice(0, mostCharacters).toWellFormed().replace(unfit, ' ').trim()
  const details = { retryAfterMs, progress, recipients, fromPeer: true }
  return new OspError(codeOf(code), text === '' ? undefined : text, details)
}
