/** A message that was received. */
export interface Message {
  /** 16 bytes. Together with the sender they name the message. */
  readonly id: Uint8Array
  /** Its place in the mailbox: later messages have higher ones. */
  readonly seq: number
  /** The user who has sent it. */
  readonly from: string
  /** When the server took it in, by the server's clock. */
  readonly sentAt: Date
  readonly content: Uint8Array
  /** The content read as UTF-8; what is not UTF-8 becomes U+FFFD. */
  text(): string
  /** How often the server has sent it, this time included. Above 1 it was perhaps handed over before. */
  readonly attempt: number
}

/**
 * What has become of a message for one of its recipients: `online` if it was sent on to a program that listens, `stored` if it is
 * kept for later, and `unseen` if it is kept although no user of this name has come in to the server yet: perhaps the name is wrong.
 */
export interface RecipientState {
  readonly recipient: string
  readonly status: 'online' | 'stored' | 'unseen'
}

export interface SendOptions {
  /**
   * 16 bytes that name the message; by default random ones. A message that is sent again with its id, by another process
   * too, is stored once; the server remembers ids for some days.
   */
  readonly id?: Uint8Array | undefined
  /** Gives the message up: rejects with OspError `closed`, which says whether it was perhaps sent already. */
  readonly signal?: AbortSignal | undefined
}

/** Takes a message. It is acknowledged when this has returned, and handed over again if it throws. */
export type MessageHandler = (message: Message) => void | Promise<void>

/** A handler at work. */
export interface Receiver extends AsyncDisposable {
  /**
   * Resolves when it was disposed or its client closed. Rejects when it can't go on: with `superseded` when another
   * program of the user listens. An unheard rejection is silent.
   */
  readonly finished: Promise<void>
  /**
   * Takes no further message. Resolves when the handler that is under way has returned, and its message is acknowledged; so
   * a handler must not wait for it. What was not handed over comes to whoever listens next.
   */
  [Symbol.asyncDispose](): Promise<void>
}
