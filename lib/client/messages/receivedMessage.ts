import { fixed } from '../../limits.ts'
import { checkArgument, checkOptions } from '../../options.ts'
import type { Receipt } from '../../ports/clientState.ts'
import { hex } from '../../runtime/hex.ts'
import type { WireMessage } from '../../wire/message.ts'
import { type Attributes, decodeBody } from '../../wire/messageBody.ts'
import { protocolViolation } from '../connection/session.ts'
import { fileReference } from '../files/fileRequests.ts'
import { nakOptions, reason as reasonKind, result as resultKind } from '../options.ts'
import type { HandOver } from './handOver.ts'
import type { Message, NakOptions, RecipientState, SendOptions, WaitingMessage } from './message.ts'

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** Sends a message to one user. */
export type SendReply = (
  to: string,
  content: string | Uint8Array,
  options: SendOptions,
) => Promise<readonly RecipientState[]>

/** A message from the wire. */
export interface Decoded {
  readonly receipt: Receipt
  readonly sentAt: number
  readonly attributes: Attributes
  readonly content: Uint8Array
}

/** The latest time that a Date can hold. */
const latestMs = 8.64e15

type Delivered = WireMessage<'ListMsgAck'>['messages'][number]

/** Decodes a message, except that it does not check the name of the sender. Throws OspError `malformed`. */
export function decodedMessage({ messageId, mailboxSeq: seq, sender, sentAt, body }: Delivered): Decoded {
  const { attributes, content } = decodeBody(body)
  if (content.length > fixed.messageBytes) throw protocolViolation(`it delivered a message of ${content.length} bytes`)
  if (sentAt > latestMs) throw protocolViolation('it delivered a message with an invalid time')
  return { receipt: { seq, sender, id: hex(messageId) }, sentAt, attributes, content }
}

/** Returns a message that the application does not receive. */
export function waitingMessage({ receipt, sentAt, attributes, content }: Decoded): WaitingMessage {
  const { seq, sender: from, id } = receipt
  const { headers = [], inReplyTo, file, receiptWanted = false } = attributes
  // In memory of its own: an application that keeps a message does not keep the whole delivery, and one that transfers the
  // content to another thread takes nothing else with it.
  const owned = new Uint8Array(content)
  const text = () => decoder.decode(owned)
  return {
    id,
    seq,
    from,
    sentAt: new Date(sentAt),
    content: owned,
    headers: Object.fromEntries(headers.map(({ key, value }) => [key, value])),
    inReplyTo: inReplyTo && hex(inReplyTo),
    file: file && fileReference(file),
    receiptWanted,
    text,
    json: () => JSON.parse(text()),
  }
}

/** Returns a delivered message for the application. `inHand` returns its hand-over, or throws OspError `closed`. */
export function messageOf(decoded: Decoded, attempt: number, inHand: () => HandOver, send: SendReply): Message {
  const { sender: from, id } = decoded.receipt
  return Object.assign(waitingMessage(decoded), {
    attempt,
    ack(result?: string) {
      const acknowledged = (async () => {
        if (result !== undefined) checkArgument('message.ack', 'the result', resultKind, result)
        return inHand().ack(result)
      })()
      acknowledged.catch(() => {})
      return acknowledged
    },
    nak(options: NakOptions = {}) {
      checkOptions('message.nak', nakOptions, options)
      inHand().nak(options.delayMs)
    },
    reject(reason: string) {
      checkArgument('message.reject', 'the reason', reasonKind, reason)
      inHand().reject(reason)
    },
    reply: (content: string | Uint8Array, options: SendOptions = {}) =>
      send(from, content, { ...options, inReplyTo: id }),
  })
}
