import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { checkUserName } from '../../names.ts'
import { deferred } from '../../runtime/deferred.ts'
import type { WireMessage } from '../../wire/message.ts'
import { deliveryStatus, events } from '../../wire/protocol.ts'
import { type OnlineLink, protocolViolation } from '../connection/session.ts'
import { checkSending } from '../options.ts'
import type { RecipientState, SendOptions } from './message.ts'

const encoder = new TextEncoder()

/** A message to send, and the promise of its sender. */
export interface Outgoing {
  readonly request: WireMessage<'PostMsgReq'>
  /** Bytes of the payload. */
  readonly bytes: number
  readonly states: ReturnType<typeof deferred<readonly RecipientState[]>>
  /** The time from which the server may have forgotten its id, so that it must not be sent again; set at the first try. */
  knownUntilMs: number | undefined
  /** Whether its sender has given it up. */
  abandoned: boolean
}

/**
 * Returns a message to send. Throws OspError `usage` for invalid arguments, `bad-name` for an invalid recipient,
 * `too-many-recipients` or `too-large`. A recipient that is named twice counts once.
 */
export function outgoing(
  to: readonly string[],
  content: string | Uint8Array,
  options: SendOptions,
  newId: () => Uint8Array,
): Outgoing {
  checkSending(to, content, options)
  const recipients = [...new Set(to)].map(checkUserName)
  // The caller may change its bytes later, and a repetition must be identical.
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

/** The number that the wire format can hold. */
const mostRecipients = 0xffff

/** Returns `too-many-recipients` or `too-large` if the message exceeds what the server of this link accepts. */
export function misfit({ request, bytes }: Outgoing, { welcome }: Pick<OnlineLink, 'welcome'>): OspError | undefined {
  const { maxFrame, maxRecipients } = welcome
  if (request.recipients.length > maxRecipients) return tooMany(request.recipients, maxRecipients)
  if (bytes > maxFrame)
    return new OspError('too-large', `the message has ${bytes} bytes; the server accepts at most ${maxFrame}`)
  return undefined
}

function tooMany({ length }: readonly string[], most: number): OspError {
  return new OspError('too-many-recipients', `a message has at most ${most} recipients; this one has ${length}`)
}

/** Returns `error` with the addition that the message may have been stored. */
export function outcomeUnknown(error: OspError): OspError {
  const text = `${error.message}; whether the message was stored is unknown (sent again with its id it is stored once)`
  return new OspError(error.code, text, { cause: error })
}

const statuses = new Map(
  Object.entries(deliveryStatus).map(([status, number]) => [number as number, status as keyof typeof deliveryStatus]),
)

/**
 * Returns the states in an ACK, in the order of the recipients in the request. Throws OspError `malformed` if the ACK does not
 * name exactly these recipients, each once.
 */
export function recipientStates(
  recipients: readonly string[],
  ack: WireMessage<'PostMsgAck'>,
): readonly RecipientState[] {
  const byName = new Map(ack.recipients.map(({ recipient, status }) => [recipient, statuses.get(status)]))
  if (ack.recipients.length !== recipients.length)
    throw protocolViolation('it acknowledged a message for other recipients')
  return recipients.map((recipient) => {
    const status = byName.get(recipient)
    if (status === undefined)
      throw protocolViolation('it acknowledged a message for other recipients, or with an unknown status')
    return { recipient, status }
  })
}

/** Returns a refusal without the names that are not recipients of the request: they may not be safe to show. */
export function refusalFor(asked: readonly string[], error: OspError): OspError {
  const recipients = asked.filter((recipient) => error.recipients?.includes(recipient))
  return new OspError(error.code, error.message, { retryAfterMs: error.retryAfterMs, recipients, cause: error })
}
