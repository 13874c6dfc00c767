import { codeOf, numberOf, OspError } from '../errors.ts'
import type { Message, NackName, RequestName } from '../wire/message.ts'
import { events } from '../wire/protocol.ts'

/** Longer sentences are cut: a refusal must fit the smallest frame. */
const mostCharacters = 500

/** What the wire has room for. */
const mostRetryAfterMs = 0xffff_ffff

type Refused = { readonly code: number; readonly retryAfter: number; readonly text: string }

function refused(error: OspError): Refused {
  const text = error.message.toWellFormed().slice(0, mostCharacters).toWellFormed()
  const retryAfter = Math.min(Math.max(Math.ceil(error.retryAfterMs), 0), mostRetryAfterMs)
  return { code: numberOf(error.code), retryAfter, text }
}

/** Returns the NACK of a request with this error, or `undefined` if the protocol has none for it. */
export function nackOf(event: RequestName, error: OspError): Message<NackName> | undefined {
  const { nack } = events[event]
  if (nack === undefined) return undefined
  return {
    event: nack,
    ...refused(error),
    progress: error.progress ?? 0,
    recipients: error.recipients ?? [],
  } as Message<NackName>
}

/** The GOODBYE that tells `error` to a peer. */
export function goodbyeOf(error: OspError): Message<'GoodbyeNtf'> {
  return { event: 'GoodbyeNtf', ...refused(error) }
}

/** What a sentence that people will read must not have: it could drive a terminal, or read otherwise than it is. */
const unfit = /[\p{Cc}\u2028\u2029\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/gu

/** The error that a NACK or GOODBYE of the peer tells; characters that don't belong into its sentence become spaces. */
export function errorOf(told: Message<NackName | 'GoodbyeNtf'>): OspError {
  const { code, retryAfter: retryAfterMs } = told
  const text = told.text.slice(0, mostCharacters).toWellFormed().replace(unfit, ' ').trim()
  const progress = 'progress' in told ? told.progress : undefined
  const recipients = 'recipients' in told ? told.recipients : undefined
  return new OspError(codeOf(code), text === '' ? undefined : text, {
    retryAfterMs,
    ...(progress !== undefined && { progress }),
    ...(recipients !== undefined && { recipients }),
  })
}
