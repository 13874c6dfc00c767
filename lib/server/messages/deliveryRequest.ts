import type { StoredMessage } from '../../ports/mailboxes.ts'
import type { Message } from '../../wire/message.ts'

/** The REQ by which a message is delivered. */
export function deliveryRequest(message: StoredMessage, attempt: number): Message<'DeliverMsgReq'> {
  const { id: messageId, seq: mailboxSeq, sender, sentAt, content } = message
  return { event: 'DeliverMsgReq', messageId, mailboxSeq, sender, sentAt, content, attempt }
}
