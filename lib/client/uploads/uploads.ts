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
  /** The name on the server; by default the source's. It is brought into NFC. */
  readonly name?: string | undefined
  /** The digest that the file is verified by; by default SHA-256. */
  readonly digest?: DigestName | undefined
}

/** The uploads of a client: some are sent at once, the rest wait their turn in the order in which they were added. */
export interface Uploads extends EventEmitter<UploadsEvents>, Iterable<Upload> {
  /**
   * Adds an upload; it begins when it is its turn. Resolves when the client's state keeps it, if its source can be found
   * again (`FileSource.ref`): it is not forgotten any more then, also where this program is killed. A source that is an
   * unfinished task already is that task, which goes on. Rejects with OspError `bad-name`; `usage` if another unfinished
   * upload has that name, or for options that can't be; `closed`; or with what the state can't be written with.
   */
  add(source: FileSource, options?: AddOptions): Promise<Upload>
  /**
   * Takes up the unfinished tasks (those of these ids, if any are named) that a former program has left in the client's
   * state: what is paused stays so, and what was being cancelled is cancelled.
   */
  restore(ids?: readonly number[]): Promise<readonly Upload[]>
  /**
   * All tasks by ascending id: those of this program, and others that its state keeps. Failed tasks are kept for a day.
   * Of the other ended tasks, the latest 1,000 are kept.
   */
  tasks(): Promise<readonly TaskStatus[]>
  /** Pauses uploads (all, if none is named): the server keeps what it has. Resolves when their instances are free. */
  pause(ids?: readonly number[]): Promise<void>
  /**
   * Lets paused uploads (all, if none is named) go on where the server stands, and takes up tasks that are only kept; one
   * that has failed is tried again if it is named.
   */
  resume(ids?: readonly number[]): Promise<void>
  /**
   * Cancels uploads: what the server has of them is removed; never a published file. Resolves when the server has said
   * so; until then their phase is `cancelling`. Rejects where it refuses for good, or for longer than refusals are
   * waited for; the upload is `failed` then. What the server was verifying already becomes `done` if it was right; where
   * a file of that name had been stored before, `why` says that it stays.
   */
  cancel(ids: readonly number[]): Promise<void>
}
