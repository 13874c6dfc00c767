import { checkMessageParts } from '../core/messageLimits.ts'
import { textsOf } from '../core/metadata.ts'
import { checkUserName } from '../names.ts'
import { checkArgument, checkOptions, type Kind, kinds, type Options, optional } from '../options.ts'
import { type Attributes, encodeBody } from '../wire/messageBody.ts'
import { bytesOfHex } from './hex.ts'

/** The parts of a message besides its recipients and content. */
export interface MessageOptions {
  /**
   * 32 hexadecimal digits that identify the message; random by default. A message that is sent again with its id, even by another
   * process, is stored once. The server remembers ids for some days.
   */
  readonly id?: string | undefined
  /** Strings by key, up to 32 keys and 4 KiB in total, for example `contentType`. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** The id of the message that this one answers. */
  readonly inReplyTo?: string | undefined
  /**
   * Time after which the server removes an unhandled message from a mailbox, by its own clock. By default, only the age limit of
   * the server applies.
   */
  readonly timeToLiveMs?: number | undefined
  /**
   * Asks for a receipt from each recipient. The server stores the receipt when the recipient has handled or rejected the message, or
   * when the message has expired. The server refuses the message with `too-many-receipts` if the sender has too many receipts that
   * wait or are expected.
   */
  readonly receipt?: boolean | undefined
}

const recipientsKind: Kind = {
  takes: 'an array of one or more user names',
  holds: (value) => Array.isArray(value) && value.length > 0 && value.every((name) => typeof name === 'string'),
}

const contentKind: Kind = {
  takes: 'a string or a Uint8Array',
  holds: (value) => typeof value === 'string' || value instanceof Uint8Array,
}

const messageId: Kind = {
  takes: 'a string of 32 hexadecimal digits',
  holds: (id) => typeof id === 'string' && /^[\da-f]{32}$/iu.test(id),
}

export const metadata: Kind = {
  takes: 'an object whose values are strings',
  holds: (value) => isPlain(value) && Object.values(value).every((text) => typeof text === 'string'),
  advice: (value) => {
    const wrong = isPlain(value) ? Object.keys(value).find((key) => typeof value[key] !== 'string') : undefined
    return wrong === undefined ? undefined : `the value of ${wrong} is not a string`
  },
}

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  const prototype = typeof value === 'object' && value !== null ? Object.getPrototypeOf(value) : undefined
  return prototype === Object.prototype || prototype === null
}

export const messageOptions = {
  headers: optional(metadata),
  id: optional(messageId),
  inReplyTo: optional(messageId),
  timeToLiveMs: optional(kinds.delay),
  receipt: optional(kinds.flag),
} as const

const encoder = new TextEncoder()

/** The arguments of a function that sends a message. */
export interface MessageArguments {
  /** The name of the function, for errors. */
  readonly where: string
  /** The valid options. */
  readonly kinds: Options
  readonly to: readonly string[]
  readonly content: string | Uint8Array
  readonly options: MessageOptions
}

/**
 * Encodes a message. A recipient that is named twice counts once. `take` returns the memory for the body. Throws OspError `usage`
 * for invalid arguments, `bad-name` for an invalid recipient, or `too-large`.
 */
export function newMessage(
  { where, kinds, to, content, options }: MessageArguments,
  newId: () => Uint8Array,
  take?: (length: number) => Uint8Array,
) {
  checkArgument(where, 'the recipients', recipientsKind, to)
  checkArgument(where, 'the content', contentKind, content)
  checkOptions(where, kinds, options)
  const recipients = (to.length > 1 ? [...new Set(to)] : to).map(checkUserName)
  // The caller may change its bytes later, but a message that is sent again must be identical.
  const given = typeof content === 'string' ? encoder.encode(content) : content
  const attributes = attributesOf(options)
  checkMessageParts(attributes, given)
  const body = encodeBody(attributes, given, take)
  const messageId = options.id === undefined ? newId() : bytesOfHex(options.id)
  return { messageId, recipients, body, timeToLive: attributes.timeToLive, receipt: attributes.receiptWanted }
}

/** Returns the parts of a message that its sender adds to the content. */
function attributesOf({ headers = {}, inReplyTo, timeToLiveMs, receipt }: MessageOptions): Attributes {
  return {
    ...(Object.keys(headers).length > 0 ? { headers: textsOf(headers) } : {}),
    ...(timeToLiveMs === undefined ? {} : { timeToLive: Math.min(Math.ceil(timeToLiveMs), Number.MAX_SAFE_INTEGER) }),
    ...(inReplyTo === undefined ? {} : { inReplyTo: bytesOfHex(inReplyTo) }),
    ...(receipt ? { receiptWanted: true } : {}),
  }
}
