import type { OspError } from '../errors.ts'
import type { ClientState } from '../ports/clientState.ts'
import type { Listenable } from '../ports/listenable.ts'
import type { LocalFiles } from '../ports/localFiles.ts'
import type { Log } from '../ports/log.ts'
import type { Platform } from '../ports/platform.ts'
import type { Transport } from '../ports/socket.ts'
import type { GivenToken } from '../runtime/tokenBinding.ts'
import type { ClientStatus } from './connection/session.ts'
import type { Files } from './files/files.ts'
import type { Devices } from './messages/devices.ts'
import type {
  Message,
  MessageHandler,
  MessagesOptions,
  ReceiveOptions,
  Receiver,
  SendOptions,
  SignalOptions,
  WaitingMessages,
} from './messages/message.ts'
import type { MessageReceipt } from './messages/messageReceipts.ts'
import type { Presence } from './messages/presence.ts'
import type { SentMessage } from './messages/sentMessage.ts'
import type { Upload } from './uploads/upload.ts'
import type { UploadOptions, Uploads } from './uploads/uploadList.ts'
import type { UploadSource } from './uploads/uploadSource.ts'

/** An option that is `undefined` has its default. */
export interface ConnectOptions {
  readonly user: string
  /**
   * The name of the device on which the client receives messages. Each device of a user receives every message. A message stays in
   * the mailbox until all known devices have handled it. A device becomes known when it first calls `receive` or `messages`, and
   * begins with the messages that wait. The server forgets a device that does not listen for 30 days (a setting of the server).
   * Another client with the same device takes over its messages. Each device needs its own `state`. Clients without a device take
   * over from each other, and count as one more device if other devices are known. A server of a cluster refuses devices with
   * `too-many-devices`.
   */
  readonly device?: string | undefined
  /**
   * Returns the user's token for the server. A `BoundToken`, such as `keptToken(directory).load()` resolves with, is sent only
   * over connections at least as secure as the one that it is bound to. If the function throws, the status of the client is `refused`.
   */
  readonly token?: (() => Promise<GivenToken>) | undefined
  /** Also sends the token to other machines over connections that others can read in transit. */
  readonly allowPlaintext?: boolean | undefined
  /**
   * Time for retries while the server is unreachable or refuses for a limited time; by default unlimited. `connect` rejects at
   * the first failure by default; after that the client retries without a limit as well.
   */
  readonly retryForMs?: number | undefined
  /**
   * The durable state of this user at this server: receipts of handled messages, tasks, and the outbox of unsent messages. By
   * default the state is in memory and ends with the client.
   */
  readonly state?: ClientState | undefined
  /** The number of uploads that are sent at once, if the server allows it; 5 by default. */
  readonly uploadsAtOnce?: number | undefined
  /** The number of downloads that write to a target at once; 5 by default. */
  readonly downloadsAtOnce?: number | undefined
  /** Bytes a second for all uploads together, and for all downloads together; unlimited by default. */
  readonly limitRate?: number | undefined
  /** By default, the first error of a handler, and the first of a listener, is emitted as a process warning. */
  readonly log?: Log | undefined
  /** Clock, randomness and digests; Node's by default. */
  readonly platform?: Platform | undefined
  /** Closes the client when it aborts. */
  readonly signal?: AbortSignal | undefined
}

/** The options of a client after the defaults of a platform. */
export type BoundClientOptions = Omit<ConnectOptions, 'platform'> & {
  readonly to: Transport
  readonly platform: Platform
  readonly software: string
  readonly localFiles?: LocalFiles
}

export interface ClientEvents {
  /** `error`: why it waits or is refused. `retryMs`: milliseconds until the next try, while it waits. */
  status: [status: ClientStatus, error: OspError | undefined, retryMs: number | undefined]
  /**
   * The server has refused a message of the outbox, or its outcome is unknown. If `isQueued` is set, the message stays in the
   * outbox and is sent again later; otherwise it was removed from the outbox. Another program with the same state may have added
   * it. Also emitted when another program has removed a message of this client from the outbox.
   */
  messageRefused: [message: RefusedMessage, error: OspError]
}

/** A message of an outbox that the server has not stored. */
export interface RefusedMessage {
  /** Its id, 32 hexadecimal digits. */
  readonly id: string
  readonly recipients: readonly string[]
  readonly isQueued: boolean
}

/** The present counts of a client. Each has a bound. Values per link are the highest of its links. */
export interface ClientGauges {
  readonly unsentBytesPerLink: number
  readonly unsentRepliesPerLink: number
  /** Requests of the server on one link that are not answered yet. */
  readonly runningRequestsPerLink: number
  /** Replies on one link that are kept to answer repeated requests. */
  readonly rememberedRepliesPerLink: number
  /** Messages to send that are not acknowledged yet. */
  readonly unsentMessages: number
  readonly unsentMessageBytes: number
  /** Delivered messages that are not handed over yet. */
  readonly unhandledMessages: number
  /** Requests of the server that arrived before an earlier one. */
  readonly outOfOrderRequests: number
  readonly receipts: number
  /** Messages that the application has rejected, or whose handler has thrown too often. */
  readonly rejectedMessages: number
  readonly chunkBuffers: number
  /** Chunks that wait for a buffer. */
  readonly waitingChunks: number
}

/**
 * A user's connection to a server: one link for files, and one for messages and presence. Each begins when it is first
 * needed. The owner of the client ends it by `close()` or by the signal in its options.
 */
export interface Client extends Listenable<ClientEvents>, AsyncDisposable {
  /** The status of the links that have begun. The status of a link that waits or connects has priority. */
  readonly status: ClientStatus
  /** The present counts of the client. */
  readonly gauges: ClientGauges
  readonly uploads: Uploads
  /** The stored files of the user, to list, download, rename and remove. */
  readonly files: Files
  /** The waiting messages of the user, and those that were set aside. */
  readonly inbox: WaitingMessages
  /** The devices of the user, to list and remove. */
  readonly devices: Devices
  /** The users who are online, after the first list has arrived. */
  readonly presence: Presence
  /** Resolves when the client is closed. */
  readonly closed: Promise<void>
  /**
   * Resolves when the server has accepted the client on every link that has begun; rejects when the server refuses it, or is not
   * reached in time. Rejects with OspError `closed` when `signal` aborts; the client continues.
   */
  online(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>
  /**
   * Adds an upload. It begins when fewer uploads than the limit are in progress. If the client has a state, and the source can be
   * opened again (a path, a URL, a spooled stream, or `FileSource.ref`), resolves when the state has stored the task; the upload
   * then continues after this program was killed. If the source belongs to an unfinished task, returns and continues that task.
   *
   * A stream is first copied completely to the state directory or, without one, to a temporary file. The copy is removed when the
   * upload is done or cancelled. A source that is not a path, a URL, a `File` or a `FileSource` needs a `name`.
   *
   * Rejects with OspError `bad-name`; `usage` if another unfinished upload has that name, or for invalid options; `closed`; with
   * the error of a stream, or `too-large` if it is longer than can be stored; or with the error of writing the state.
   */
  upload(source: UploadSource, options?: UploadOptions): Promise<Upload>
  /**
   * Adds several uploads, as `upload` does for one; the state stores their tasks together. Small files among them share requests.
   * Resolves with an upload for each source in its order, or with the error for which `upload` would reject. Rejects with OspError
   * `usage` for invalid options, and `closed`.
   */
  uploadAll(
    sources: readonly UploadSource[],
    options?: Omit<UploadOptions, 'name'>,
  ): Promise<readonly (Upload | OspError)[]>
  /**
   * Sends a message to 1 to 16 users. Resolves, with one state for each recipient in the order of `to`, when the server has
   * stored it durably for all of them. Messages are sent in the order of the calls, and sent again after a lost link. Rejects
   * with OspError `usage`, `bad-name`, `too-large` (over 64 KiB), `too-many-recipients`, `rate-limited` (too many messages
   * wait already), or with the server's refusal, which can name `recipients`; nothing was stored for any recipient then. If
   * the outcome is unknown (`timed-out`, or `closed` after the message was abandoned), the text of the error says so. Rejects
   * with `cancelled` if another program has removed the message from the outbox before it was sent.
   *
   * With a `state` that has an outbox, the message is first flushed to the outbox (`queued` of the result). It stays there until
   * the server has stored it, has permanently refused it, or may have forgotten its id after it was sent (`timed-out`), or until
   * `signal` aborts. If the client ends before that, the result rejects, and the next client with this state sends the message. A
   * refusal whose `retry` is `later` does not reject: the event `messageRefused` reports it, and the message is sent again,
   * before later messages to the same recipients. Rejects with `outbox-full` in place of `rate-limited`.
   */
  send(to: readonly string[], content: string | Uint8Array, options?: SendOptions): SentMessage
  /**
   * Iterates over the receipts of the user that belong to messages of other programs or of earlier runs of this program. The
   * receipts of a message that this client has sent are returned by `receipts()` of that message. When the caller requests the
   * next receipt, the former one is removed from the server. If the program ends before that, the next program gets the
   * receipt again: each receipt is returned at least once, and `messageId` and `recipient` identify it. The iterator waits for
   * further receipts, and rejects with OspError `closed` when `signal` aborts or the client ends. A client has one such iterator at
   * a time; a second one rejects with `usage`.
   */
  receipts(options?: SignalOptions): AsyncIterableIterator<MessageReceipt>
  /**
   * Resolves when the present messages of the outbox are stored or refused, at once if another program is sending them. Rejects
   * with the final error of a client that has ended.
   */
  flush(): Promise<void>
  /**
   * Calls `handler` for each message in the order of the mailbox, one at a time or up to `concurrency` at once, and acknowledges
   * the message when the handler has returned, unless the handler has answered it by `ack`, `nak` or `reject`. If the handler
   * throws, it is called for the same message again, by default before any later one, up to 16 times; then the server sets the
   * message aside. Each message is handled once for each `state`, unless the program ends while the handler runs. Throws OspError
   * `usage` for invalid options or while there is another receiver, and the final error of a client that has ended.
   */
  receive(handler: MessageHandler, options?: ReceiveOptions): Receiver
  /**
   * Iterates over the messages. `next()` acknowledges the previous message, unless `ack` is `manual`. Leaving the loop
   * acknowledges nothing: unanswered messages stay in the mailbox. The iterator ends when the client is closed, and rejects as
   * `Receiver.done` does. Throws as `receive`.
   */
  messages(options?: MessagesOptions): AsyncIterableIterator<Message>
  /**
   * Ends the links. Another client of the user can continue unfinished uploads. Waits a short time for a running
   * handler. Messages that wait to be sent are rejected with `closed`. Idempotent.
   */
  close(): Promise<void>
}
