import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { checkUserName } from '../../names.ts'
import { deferred } from '../../runtime/deferred.ts'
import type { Message as Event } from '../../wire/message.ts'
import { events } from '../../wire/protocol.ts'
import type { OnlineLink } from '../connection/session.ts'
import { checkSending } from '../options.ts'
import type { RecipientState, SendOptions } from './message.ts'

const encoder = new TextEncoder()

/** A message on its way to the server, and what its sender waits for. */
export interface Outgoing {
  readonly request: Event<'PostMsgReq'>
  /** Of its payload. */
  readonly bytes: number
  readonly states: ReturnType<typeof deferred<readonly RecipientState[]>>
  /** When the server may have forgotten its id, counted from the first try; until then it may be sent again. */
  knownUntilMs: number | undefined
  /** Its sender has given it up. */
  abandoned: boolean
}

/**
 * A message to send. Throws OspError `usage` for what can't be sent at all, `bad-name` that names a recipient who can't be,
 * `too-large`. A recipient who is named twice counts once.
 */
export function outgoing(
  to: readonly string[],
  content: string | Uint8Array,
  options: SendOptions,
  newId: () => Uint8Array,
): Outgoing {
  checkSending(to, content, options)
  const recipients = [...new Set(to)].map(checkUserName)
  // The caller may go on to use its bytes, and a repetition must be the same.
  const bytes = typeof content === 'string' ? encoder.encode(content) : content.slice()
  if (bytes.length > fixed.messageBytes) {
    throw new OspError('too-large', `a message has at most ${fixed.messageBytes} bytes; this one has ${bytes.length}`)
  }
  const messageId = options.id?.slice() ?? newId()
  if (recipients.length > mostRecipients) throw tooMany(recipients, mostRecipients)
  const request = { event: 'PostMsgReq', messageId, recipients, content: bytes } as const
  const size = events.PostMsgReq.codec.size(request)
  return { request, bytes: size, states: deferred(), knownUntilMs: undefined, abandoned: false }
}

/** What the wire has room for. */
const mostRecipients = 0xffff

/** Why a message can't be sent on this link: `too-many-recipients` or `too-large`. */
export function misfit({ request, bytes }: Outgoing, { welcome }: Pick<OnlineLink, 'welcome'>): OspError | undefined {
  const { maxFrame, maxRecipients } = welcome
  if (request.recipients.length > maxRecipients) return tooMany(request.recipients, maxRecipients)
  if (bytes > maxFrame) return new OspError('too-large', `the message is ${bytes} bytes, the server takes ${maxFrame}`)
  return undefined
}

function tooMany({ length }: readonly string[], most: number): OspError {
  return new OspError('too-many-recipients', `a message has at most ${most} recipients; this one has ${length}`)
}

/** `why`, and that nobody knows whether the message was stored. */
export function outcomeUnknown(why: OspError): OspError {
  const text = `${why.message}; whether the message was stored is unknown (sent again with its id it is stored once)`
  return new OspError(why.code, text, { cause: why })
}
