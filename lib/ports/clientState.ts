import type { ErrorCode } from '../errors.ts'
import type { Metadata } from './catalogue.ts'
import type { Control } from './control.ts'
import type { DigestName } from './platform.ts'
import type { FileSource, Spooled } from './source.ts'
import type { FileNotice } from './storage.ts'

/** The record of a delivered message, kept so that the message is not delivered again. */
export interface Receipt {
  /** The number of the message in the mailbox. */
  readonly seq: number
  readonly sender: string
  /** Its id, 32 hexadecimal digits. */
  readonly id: string
  /** The result for the sender of the message, up to 4 KiB, if it gets a receipt. */
  readonly result?: string
}

/** The latest receipts of one user at one server. */
export interface ReceiptStore {
  /** Returns the stored receipts, the latest last. */
  load(): Promise<readonly Receipt[]>
  /**
   * Adds a receipt: durable when it returns, or when the promise that it returns resolves. At least the latest `most` are kept.
   * Calls are made one after another.
   */
  put(receipt: Receipt, most: number): Promise<void> | undefined
}

/** The state of a stored task. `open`: waiting or being sent; `cancelling`: the server must still remove its part. */
export type TaskState = 'open' | 'paused' | 'cancelling' | 'failed' | 'done'

/** A stored upload of a client. */
export interface StoredTask {
  /** From 1; unique in the store. */
  readonly id: number
  /** Identifies the source: `FileSource.ref`. */
  readonly ref: string
  /** The name on the server. */
  readonly name: string
  readonly algorithm: DigestName
  /** Missing if there is none. */
  readonly metadata?: Metadata
  /** The message about the file, if other users are notified of it. */
  readonly notice?: FileNotice
  readonly state: TaskState
  /** The known bytes of the source, and those that are durable on the server. */
  readonly size: number
  readonly durable: number
  /** The reason for its failure; of an open task, the reason why the server has refused its user. */
  readonly reason?: { readonly code: ErrorCode; readonly text: string }
  /** The wall time in ms at which it completed or failed. */
  readonly endedAt?: number
}

/** The tasks of one user at one server. */
export interface TaskStore {
  /** Returns the stored tasks by rising id. */
  load(): Promise<readonly StoredTask[]>
  /** Adds a task or replaces the one with its id: durable, in the order of calls. A rejected one may be stored. */
  put(task: StoredTask): Promise<void>
  /** Removes a task, if it exists: durable. */
  remove(id: number): Promise<void>
}

/** A message that waits in an outbox. */
export interface QueuedMessage {
  /** Starts at 1, and increases in the order of the outbox. */
  readonly number: number
  /** Its id, 32 hexadecimal digits. */
  readonly id: string
  readonly recipients: readonly string[]
  /** Its headers and its content, as on the wire. */
  readonly body: Uint8Array
  /** The wall time in ms at which it was added. */
  readonly queuedAt: number
  /** The wall time in ms until which the server remembers its id. Missing if it was certainly not sent. */
  readonly knownUntil?: number
}

/** The messages of one user for one server that are not known to be stored. Changes are durable in the order of calls. */
export interface OutboxStore {
  /** Resolves with whether any program has used the outbox; otherwise it holds no messages. Without this method, one may have. */
  isUsed?(): Promise<boolean>
  /** Returns the messages in ascending order of their numbers. A later call also returns the changes of other programs. */
  load(): Promise<readonly QueuedMessage[]>
  /** Adds a message: durable when it resolves. A rejected one may be stored. */
  add(message: QueuedMessage): Promise<void>
  /** Records that messages may have been sent from now on: durable when it resolves. */
  mark(numbers: readonly number[], knownUntil: number): Promise<void>
  /** Removes messages, if they exist: durable when it resolves. */
  remove(numbers: readonly number[]): Promise<void>
  /** Connects the programs that share the outbox. Only the program that serves uses the other methods. */
  readonly control?: Control
}

/** The digests of sources. They let a server recognize a file that it has stored before the client reads the file. */
export interface DigestStore {
  /** Returns the digest of the source with this `OpenSource.identity`, if it is known. */
  find(identity: string, algorithm: DigestName): Promise<Uint8Array | undefined>
  /** Remembers a digest. Keeps at least the latest `most` digests. */
  put(identity: string, algorithm: DigestName, digest: Uint8Array, most: number): Promise<void>
}

/** The state that a client keeps over restarts of its program. One process at a time uses its receipts and its tasks. */
export interface ClientState {
  readonly receipts: ReceiptStore
  /** Without a task store, the list of tasks ends with the client. */
  readonly tasks?: TaskStore
  /** Without this store, the client reads each file before the server can recognize it. */
  readonly digests?: DigestStore
  /** Without an outbox, unsent messages are lost when the client ends. */
  readonly outbox?: OutboxStore
  /** Returns the source of a stored task. */
  reopen?(ref: string): FileSource
  /**
   * Durably stores the content of a stream. Rejects with OspError `too-large` above a limit of the state, and if the stream
   * fails; no content is kept then.
   */
  spool?(stream: AsyncIterable<Uint8Array>, name: string): Promise<Spooled>
  /** Removes the source of a finished or cancelled task, if the state itself holds it. */
  discard?(ref: string): Promise<void> | undefined
}
