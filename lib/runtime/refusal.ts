import { codeOf, numberOf, OspError } from '../errors.ts'
import { type NackName, nackNameOf, type RequestName, type WireMessage } from '../wire/message.ts'

/** Maximum length of a text; a longer one is cut, because a refusal must fit into the smallest frame. */
const mostCharacters = 500

/** The largest value on the wire. */
const mostRetryAfterMs = 0xffff_ffff

function fieldsOf(error: OspError) {
  const text = error.message.toWellFormed().slice(0, mostCharacters).toWellFormed()
  const retryAfter = Math.min(Math.max(Math.ceil(error.retryAfterMs), 0), mostRetryAfterMs)
  return { code: numberOf(error.code), retryAfter, text }
}

/** Returns the NACK of a request with this error, or `undefined` if the request is never refused. */
export function nackOf(request: RequestName, error: OspError): WireMessage<NackName> | undefined {
  const event = nackNameOf(request)
  if (event === undefined) return undefined
  const { progress = 0, recipients = [] } = error
  return { event, ...fieldsOf(error), progress, recipients } as WireMessage<NackName>
}

/** Returns the GOODBYE with this error. */
export function goodbyeOf(error: OspError): WireMessage<'GoodbyeNtf'> {
  return { event: 'GoodbyeNtf', ...fieldsOf(error) }
}

/** Characters that could control a terminal or change the direction of the text. */
const unfit = /[\p{Cc}\u2028\u2029\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/gu

/** Returns the error of a NACK or GOODBYE of the peer, with spaces in place of unfit characters. */
export function errorOf(refusal: WireMessage<NackName | 'GoodbyeNtf'>): OspError {
  const { code, retryAfter: retryAfterMs } = refusal
  const text = refusal.text.slice(0, mostCharacters).toWellFormed().replace(unfit, ' ').trim()
  const progress = 'progress' in refusal ? refusal.progress : undefined
  const recipients = 'recipients' in refusal ? refusal.recipients : undefined
  const details = { retryAfterMs, progress, recipients, fromPeer: true }
  return new OspError(codeOf(code), text === '' ? undefined : text, details)
}
