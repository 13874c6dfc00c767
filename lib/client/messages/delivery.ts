import type { Request } from '../../core/link.ts'
import { fixed } from '../../limits.ts'
import { isUserName } from '../../names.ts'
import type { Receipt } from '../../ports/clientState.ts'
import { hex } from '../../runtime/hex.ts'
import type { Message as Event } from '../../wire/message.ts'
import { protocolViolation } from '../connection/answers.ts'
import type { Message } from './message.ts'

/** A message that a server delivers, and the requests to answer once something has become of it. */
export interface Delivery {
  readonly message: Message
  readonly receipt: Receipt
  /** Names the message among all of its mailbox. */
  readonly key: string
  /** Of the present link, the first one first: a server may deliver again what it has not seen answered. */
  readonly requests: Request[]
}

/** The latest moment that a Date can hold. */
const latestMs = 8.64e15

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** What a DELIVER_MSG_REQ delivers. Throws OspError `malformed` for what nobody could be shown. */
export function deliveryOf(request: Request, told: Event<'DeliverMsgReq'>): Delivery {
  const { messageId: id, mailboxSeq: seq, sender, sentAt, content, attempt } = told
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
  return { message, receipt, key: keyOf(receipt), requests: [request] }
}

/** Equal for equal receipts only. */
export function keyOf({ seq, sender, id }: Receipt): string {
  return `${seq} ${id} ${sender}`
}
