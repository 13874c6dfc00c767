import type { EventEmitter } from 'eventemitter3'
import type { DigestName } from '../../ports/platform.ts'
import type { FileSource } from '../../ports/source.ts'
import type { TaskStatus } from './taskStatus.ts'
import type { Upload } from './upload.ts'

export interface UploadsEvents {
  /** An upload was added, has made progress, or has changed its phase. */
  change: [upload: Upload]
}

export interface AddOptions {
  /** The name on the server, by default the source's. It is normalized to NFC. */
  readonly name?: string | undefined
  /** The digest that verifies the file; `sha256` by default. */
  readonly digest?: DigestName | undefined
}

/** The uploads of a client. A limited number is sent at once; the others wait in the order in which they were added. */
export interface Uploads extends EventEmitter<UploadsEvents>, Iterable<Upload> {
  /**
   * Adds an upload. It begins when fewer than the limit are sent. If its source can be opened again (`FileSource.ref`),
   * resolves when the client's state has stored it; the upload then survives a kill of this program. If the source belongs
   * to an unfinished task, returns and continues that task. Rejects with OspError `bad-name`; `usage` if another unfinished
   * upload has that name, or for invalid options; `closed`; or with the error of writing the state.
   */
  add(source: FileSource, options?: AddOptions): Promise<Upload>
  /**
   * Restores the unfinished tasks (those with these ids, if any are given) that a former program has left in the client's
   * state. Paused tasks stay paused; an interrupted cancellation is completed.
   */
  restore(ids?: readonly number[]): Promise<readonly Upload[]>
  /**
   * Returns all tasks by ascending id: those of this program, and others in its state. Failed tasks are kept for a day.
   * Of the other ended tasks, the latest 1,000 are kept.
   */
  tasks(): Promise<readonly TaskStatus[]>
  /** Pauses uploads (all, if no ids are given). The server keeps its bytes. Resolves when their instances are free. */
  pause(ids?: readonly number[]): Promise<void>
  /**
   * Continues paused uploads (all, if no ids are given) from the server's progress, and restores tasks that are only stored.
   * A failed task is tried again if its id is given.
   */
  resume(ids?: readonly number[]): Promise<void>
  /**
   * Cancels uploads. The server removes their bytes, but never a published file. Resolves when the server has
   * confirmed it; until then their phase is `cancelling`. Rejects if the server's refusal is final, or lasts longer than
   * `retryForMs`; the upload is `failed` then. An upload that the server is verifying already becomes `done` if its digest
   * is right. If a file of that name had been stored before, the text of `error` says that it stays.
   */
  cancel(ids: readonly number[]): Promise<void>
}
