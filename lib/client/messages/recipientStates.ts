import { OspError } from '../../errors.ts'
import type { Message as Event } from '../../wire/message.ts'
import { deliveryStatus } from '../../wire/protocol.ts'
import { protocolViolation } from '../connection/answers.ts'
import type { RecipientState } from './message.ts'

const statuses: ReadonlyMap<number, RecipientState['status']> = new Map([
  [deliveryStatus.online, 'online'],
  [deliveryStatus.stored, 'stored'],
  [deliveryStatus.unseen, 'unseen'],
])

/**
 * What an ACK says of the recipients, in the order in which the request names them. Throws OspError `malformed` where it
 * does not name just these, each once.
 */
export function recipientStates(asked: readonly string[], ack: Event<'PostMsgAck'>): readonly RecipientState[] {
  const told = new Map(ack.recipients.map(({ recipient, status }) => [recipient, statuses.get(status)]))
  if (ack.recipients.length !== asked.length) throw protocolViolation('it acknowledges a message for other recipients')
  return asked.map((recipient) => {
    const status = told.get(recipient)
    if (status === undefined)
      throw protocolViolation('it acknowledges a message for other recipients, or with an unknown status')
    return { recipient, status }
  })
}

/** A refusal, with those of its recipients whom the request names: other names are nothing to show to anybody. */
export function refusalFor(asked: readonly string[], why: OspError): OspError {
  const recipients = asked.filter((recipient) => why.recipients?.includes(recipient))
  return new OspError(why.code, why.message, { retryAfterMs: why.retryAfterMs, recipients, cause: why })
}
