import type { ErrorCode } from '../errors.ts'
import type { DigestName } from './platform.ts'
import type { FileSource } from './source.ts'

/** That a message was handed over, kept so that it is not handed over again. */
export interface Receipt {
  /** The message's place in the mailbox. */
  readonly seq: number
  readonly sender: string
  /** Its id, 32 hexadecimal digits. */
  readonly id: string
}

/** The latest receipts of one user at one server. */
export interface ReceiptStore {
  /** What was kept, the latest last. */
  load(): Promise<readonly Receipt[]>
  /** Adds one: durable. At least the latest `most` are kept. Calls are made one after another. */
  put(receipt: Receipt, most: number): Promise<void>
}

/** Where a kept task stands. `open`: it is to be sent; `cancelling`: the server has still to remove what it has of it. */
export type TaskState = 'open' | 'paused' | 'cancelling' | 'failed' | 'done'

/** An upload that a client has accepted, as it is kept. */
export interface StoredTask {
  /** From 1 on; no two tasks of a store have the same. */
  readonly id: number
  /** How the source is found again: `FileSource.ref`. */
  readonly ref: string
  /** On the server. */
  readonly name: string
  readonly algorithm: DigestName
  readonly state: TaskState
  /** Bytes, as far as they are known: of the source, and those that the server has made durable. */
  readonly size: number
  readonly durable: number
  /** Why it has failed; of an open one, why the server has not let its user in. */
  readonly why?: { readonly code: ErrorCode; readonly text: string }
  /** Wall time in ms when it was done or had failed. */
  readonly endedAt?: number
}

/** The tasks of one user at one server. */
export interface TaskStore {
  /** What was kept, by rising id. */
  load(): Promise<readonly StoredTask[]>
  /**
   * Adds a task, or puts it in the place of the one with its id: durable. Calls take effect in their order. After a
   * rejection it is perhaps there all the same.
   */
  put(task: StoredTask): Promise<void>
  /** Removes a task, if it is there: durable. */
  remove(id: number): Promise<void>
}

/** What a client keeps over restarts of its program. One process at a time uses it. */
export interface ClientState {
  readonly receipts: ReceiptStore
  /** Without it the list of tasks lasts as long as the client. */
  readonly tasks?: TaskStore
  /** The source of a kept task. */
  reopen?(ref: string): FileSource
  /** A task with this source is done or was cancelled: where the state itself holds the source, it removes it. */
  discard?(ref: string): Promise<void>
}
