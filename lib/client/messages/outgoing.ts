import { OspError } from '../../errors.ts'
import type { Blocks } from '../../runtime/blocks.ts'
import { newMessage } from '../../runtime/newMessage.ts'
import type { WireMessage } from '../../wire/message.ts'
import { events } from '../../wire/protocol.ts'
import type { OnlineLink } from '../connection/session.ts'
import { sendOptions } from '../options.ts'
import type { RecipientState, SendOptions } from './message.ts'

/** A message to send, and the promise of its sender. */
export type Outgoing = ReturnType<typeof outgoingOf>

/** The state of a message in a stored outbox. */
export interface QueueState {
  readonly number: number
  /** Whether the store has recorded that the message may have been sent. */
  isMarked: boolean
  /** The number of times that the server has temporarily refused it, and the time of the next attempt. */
  refusals: number
  retryAtMs: number
  /** Called when the server has temporarily refused it. */
  readonly deferred: (error: OspError) => void
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
  blocks: Blocks,
) {
  const given = { where: 'client.send', kinds: sendOptions, to, content, options }
  const { messageId, recipients, body } = newMessage(given, newId, (length) => blocks.take(length))
  if (recipients.length > mostRecipients) throw tooMany(recipients, mostRecipients)
  return outgoingOf({ messageId, recipients, body })
}

type PostedMessage = WireMessage<'PostMsgReq'>['messages'][number]

/** Returns a message to send, from its encoded form. */
export function outgoingOf(message: PostedMessage) {
  return {
    message,
    /** The size of the payload of a request with only this message. */
    bytes: events.PostMsgReq.codec.size({ messages: [message] }),
    /** Resolves the promise of `send`. */
    resolve: (_states: readonly RecipientState[]): void => {},
    /** Rejects the promise of `send`. The message stays in a stored outbox if `isKept` is set. */
    reject: (_error: OspError, _isKept: boolean): void => {},
    /**
     * The time from which the server may have forgotten its id. After it, the message must not be sent again. Set at the first
     * attempt.
     */
    knownUntilMs: undefined as number | undefined,
    abandoned: false,
    queueState: undefined as QueueState | undefined,
  }
}

/** The number that the wire format can hold. */
const mostRecipients = 0xffff

/** Returns `too-many-recipients` or `too-large` if the message exceeds what the server of this link accepts. */
export function misfit(
  { message: { recipients }, bytes }: Outgoing,
  { welcome }: Pick<OnlineLink, 'welcome'>,
): OspError | undefined {
  const { maxFrame, maxRecipients } = welcome
  if (recipients.length > maxRecipients) return tooMany(recipients, maxRecipients)
  if (bytes > maxFrame)
    return new OspError('too-large', `the message has ${bytes} bytes; the server accepts at most ${maxFrame}`)
  return undefined
}

function tooMany({ length }: readonly string[], most: number): OspError {
  return new OspError('too-many-recipients', `a message has at most ${most} recipients; this one has ${length}`)
}
