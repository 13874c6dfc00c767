/** A message that was received. */
export interface Message {
  /** 16 bytes that identify the message together with the sender. */
  readonly id: Uint8Array
  /** The position in the mailbox. Later messages have higher ones. */
  readonly seq: number
  /** The sender. */
  readonly from: string
  /** The time at which the server accepted it, by the server's clock. */
  readonly sentAt: Date
  readonly content: Uint8Array
  /** The headers that the sender has added. */
  readonly headers: Readonly<Record<string, string>>
  /** Returns the content decoded as UTF-8, with U+FFFD for invalid bytes. */
  text(): string
  /** The number of times that the server has sent it. If it is above 1, the message may have been handed over before. */
  readonly attempt: number
}

/**
 * The state of a message for one of its recipients: `online` if the server sends it to a program that listens, `stored` if it
 * waits in the mailbox, and `unseen` if it waits and no user of this name has ever connected, so the name may be wrong.
 */
export interface RecipientState {
  readonly recipient: string
  readonly status: 'online' | 'stored' | 'unseen'
}

export interface SendOptions {
  /**
   * 16 bytes that identify the message; random by default. A message that is sent again with its id, also by another process,
   * is stored once. The server remembers ids for some days.
   */
  readonly id?: Uint8Array | undefined
  /** Texts by key, up to 32 keys and 4 KiB, for example `contentType`. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Gives the message up. `send` rejects with OspError `closed`; its text says if the message may have been sent. */
  readonly signal?: AbortSignal | undefined
}

/** Handles a message. The message is acknowledged when the handler has returned, and handed over again if it throws. */
export type MessageHandler = (message: Message) => void | Promise<void>

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
