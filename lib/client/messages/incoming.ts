import type { Request } from '../../core/link.ts'
import { fixed } from '../../limits.ts'
import { isUserName } from '../../names.ts'
import type { Receipt } from '../../ports/clientState.ts'
import { hex } from '../../runtime/hex.ts'
import type { Message as Event } from '../../wire/message.ts'
import { protocolViolation } from '../connection/protocolViolation.ts'
import type { Message } from './message.ts'

/** A message that a server delivers, and the requests to answer after it was handled. */
export interface Incoming {
  readonly message: Message
  readonly receipt: Receipt
  /** Identifies the message within its mailbox. */
  readonly key: string
  /** The requests of the present link, the earliest first. A server can deliver a message again if it has received no answer. */
  readonly requests: Request[]
}

/** The latest time that a Date can hold. */
const latestMs = 8.64e15

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** Returns the message of a DELIVER_MSG_REQ. Throws OspError `malformed` if its fields are not valid. */
export function incoming(request: Request, event: Event<'DeliverMsgReq'>): Incoming {
  const { messageId: id, mailboxSeq: seq, sender, sentAt, content, attempt } = event
  if (!isUserName(sender)) throw protocolViolation('the name of a sender is not allowed')
  if (content.length > fixed.messageBytes) throw protocolViolation(`it delivers a message of ${content.length} bytes`)
  if (sentAt > latestMs) throw protocolViolation('it delivers a message of no time')
  if (attempt === 0) throw protocolViolation('it delivers a message that it has never sent')
  const receipt = { seq, sender, id: hex(id) }
  const message = {
    id,
    seq,
    from: sender,
    sentAt: new Date(sentAt),
    content,
    attempt,
    text: () => decoder.decode(content),
  }
  return { message, receipt, key: receiptKey(receipt), requests: [request] }
}

/** Returns a string that is equal for equal receipts only. */
export function receiptKey({ seq, sender, id }: Receipt): string {
  return `${seq} ${id} ${sender}`
}
