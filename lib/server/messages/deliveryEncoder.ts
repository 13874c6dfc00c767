import type { StoredMessage } from '../../ports/mailboxes.ts'
import { type Encoded, encode } from '../../wire/message.ts'

/** Encodes deliveries. Recipients of the same messages share the bytes. */
export class DeliveryEncoder {
  #messages: readonly StoredMessage[] = []
  #attempt = 0
  #encoded: Encoded<'DeliverMsgReq'> | undefined

  /** Returns the DELIVER_MSG_REQ of these messages. */
  encode(messages: readonly StoredMessage[], attempt: number): Encoded<'DeliverMsgReq'> {
    if (!this.#encoded || attempt !== this.#attempt || !areSame(messages, this.#messages)) {
      this.#messages = messages
      this.#attempt = attempt
      this.#encoded = { event: 'DeliverMsgReq', payload: encode(requestFor(messages, attempt)) }
    }
    return this.#encoded
  }

  /** Frees the memory of the latest messages. */
  clear(): void {
    this.#messages = []
    this.#encoded = undefined
  }
}

/** Compares by identity: the storage returns the same object for a message that is cached. */
const areSame = (a: readonly StoredMessage[], b: readonly StoredMessage[]) =>
  a.length === b.length && a.every((message, at) => message === b[at])

function requestFor(stored: readonly StoredMessage[], attempt: number) {
  return { event: 'DeliverMsgReq', attempt, messages: stored.map(wireMessageOf) } as const
}

/** Returns a message in the form that it has on the wire. */
export function wireMessageOf({ id: messageId, seq: mailboxSeq, sender, sentAt, content: body }: StoredMessage) {
  return { messageId, mailboxSeq, sender, sentAt, body }
}
