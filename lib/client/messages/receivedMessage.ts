import { checkArgument, checkOptions } from '../../options.ts'
import type { Receipt } from '../../ports/clientState.ts'
import { hex } from '../../runtime/hex.ts'
import type { Attributes } from '../../wire/messageBody.ts'
import { fileReference } from '../files/fileRequests.ts'
import { nakOptions, reason as reasonKind } from '../options.ts'
import type { HandOver } from './handOver.ts'
import type { Message, NakOptions, RecipientState, SendOptions } from './message.ts'

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** Sends a message to one user. */
export type SendReply = (
  to: string,
  content: string | Uint8Array,
  options: SendOptions,
) => Promise<readonly RecipientState[]>

interface Delivered {
  readonly receipt: Receipt
  readonly sentAt: number
  readonly attempt: number
  readonly attributes: Attributes
  readonly content: Uint8Array
}

/** Returns a delivered message for the application. `inHand` returns its hand-over, or throws OspError `closed`. */
export function messageOf(
  { receipt, sentAt, attempt, attributes, content }: Delivered,
  inHand: () => HandOver,
  send: SendReply,
): Message {
  const { seq, sender: from, id } = receipt
  const { headers = [], inReplyTo, file } = attributes
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
    attempt,
    text,
    json: () => JSON.parse(text()),
    ack() {
      const acknowledged = (async () => inHand().ack())()
      acknowledged.catch(() => {})
      return acknowledged
    },
    nak(options: NakOptions = {}) {
      checkOptions('message.nak', nakOptions, options)
      inHand().nak(options.delayMs)
    },
    reject(reason) {
      checkArgument('message.reject', 'the reason', reasonKind, reason)
      inHand().reject(reason)
    },
    reply: (content, options = {}) => send(from, content, { ...options, inReplyTo: id }),
  }
}
