import type { MessageOptions } from '../../runtime/newMessage.ts'
import type { FileReference } from '../files/fileRequests.ts'

/** A message in the mailbox of the user. */
export interface WaitingMessage {
  /** 32 hexadecimal digits that identify the message together with the sender. */
  readonly id: string
  /** The position in the mailbox. Later messages have higher ones. */
  readonly seq: number
  /** The sender. */
  readonly from: string
  /** The time at which the server accepted it, by the server's clock. */
  readonly sentAt: Date
  readonly content: Uint8Array
  /** The headers that the sender has added. */
  readonly headers: Readonly<Record<string, string>>
  /** The id of the message that this one answers. */
  readonly inReplyTo: string | undefined
  /** The stored file that the message is about, to download with `client.files.download`. */
  readonly file: FileReference | undefined
  /** Whether the sender gets a receipt, with the result of the handler. */
  readonly receiptWanted: boolean
  /** Returns the content decoded as UTF-8, with U+FFFD for invalid bytes. */
  text(): string
  /** Returns the content parsed as JSON. Throws SyntaxError if it is not valid JSON. */
  json<T = unknown>(): T
}

/** The messages of the user that no program has handled. Listing them does not receive them. */
export interface WaitingMessages {
  /** Lists the waiting messages or, with `setAside`, those that were set aside, in the order of the mailbox. */
  list(options?: ListMessagesOptions): AsyncIterableIterator<WaitingMessage>
  /**
   * Returns messages that were set aside, by their `seq`, to the mailbox: each becomes its last message, with a new `seq`, and
   * its age starts again. Other seqs are ignored. Resolves when the server has stored the change.
   */
  return(seqs: readonly number[], options?: SignalOptions): Promise<void>
  /** Removes messages, waiting or set aside, by their `seq`. Other seqs are ignored. */
  remove(seqs: readonly number[], options?: SignalOptions): Promise<void>
}

export interface SignalOptions {
  /** Rejects the call with OspError `closed` when it aborts. */
  readonly signal?: AbortSignal | undefined
}

export interface ListMessagesOptions extends SignalOptions {
  readonly setAside?: boolean | undefined
}

/** A message that was received. */
export interface Message extends WaitingMessage {
  /** The number of times that the server has sent it. If it is above 1, the message may have been handed over before. */
  readonly attempt: number
  /**
   * Acknowledges the message, before its handler returns or instead. Resolves when the client has recorded the message as
   * handled. Rejects with OspError `closed` if the message was already answered in another way, or its receiver has stopped. An
   * unhandled rejection is silent. `result`, of which 4 KiB are kept, is for the sender if it gets a receipt.
   */
  ack(result?: string): Promise<void>
  /**
   * Requests that the message is handled again, after `delayMs` or by default after a delay that doubles each time, as if its
   * handler had thrown an error. Throws OspError `closed` as `ack`.
   */
  nak(options?: NakOptions): void
  /** Rejects the message: the server sets it aside. A receipt contains the reason. Throws OspError `closed`, as `ack` does. */
  reject(reason: string): void
  /** Sends a message to the sender that answers this one (`inReplyTo`), as `Client.send`. */
  reply(content: string | Uint8Array, options?: Omit<SendOptions, 'inReplyTo'>): Promise<readonly RecipientState[]>
}

export interface NakOptions {
  readonly delayMs?: number | undefined
}

export interface ReceiveOptions {
  /**
   * The maximum number of messages that are handled at once, up to 256; 1 by default. If it is above 1, the handler is called in
   * the order of the mailbox, but the calls can end in another order.
   */
  readonly concurrency?: number | undefined
  /** The number of times that the handler is called for a message before the server sets it aside; 16 by default. */
  readonly tries?: number | undefined
}

export interface MessagesOptions extends ReceiveOptions {
  /**
   * `auto`, the default: `next()` acknowledges the previous message, unless it was answered. `manual`: the program answers each
   * message by `ack`, `nak` or `reject`; only this mode allows a `concurrency` above 1.
   */
  readonly ack?: 'auto' | 'manual' | undefined
}

/**
 * The state of a message for one of its recipients: `online` if the server sends it to a program that listens, `stored` if it
 * waits in the mailbox, and `unseen` if it waits and no user of this name has ever connected, so the name may be wrong.
 */
export interface RecipientState {
  readonly recipient: string
  readonly status: 'online' | 'stored' | 'unseen'
}

export interface SendOptions extends MessageOptions {
  /** Gives the message up. `send` rejects with OspError `closed`; its text says if the message may have been sent. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Handles a message. The client acknowledges the message when the handler has returned, and hands it over again if the handler
 * throws. If the handler returns a string, that is the result for the sender, as with `message.ack`.
 */
export type MessageHandler = (message: Message) => unknown

/** A running handler. */
export interface Receiver extends AsyncDisposable {
  /**
   * Resolves when it was disposed or its client closed. Rejects when it cannot continue: with `superseded` when another
   * program of the user listens. An unhandled rejection is silent.
   */
  readonly done: Promise<void>
  /**
   * Takes no further message. Resolves when the present handler has returned and its message is acknowledged, so a handler
   * must not wait for it. The next receiver of the user gets the messages that were not handed over.
   */
  [Symbol.asyncDispose](): Promise<void>
}
