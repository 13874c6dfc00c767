import type { EventEmitter } from 'eventemitter3'
import type { DigestName } from '../ports/platform.ts'
import type { FileSource } from '../ports/source.ts'
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
   * Adds an upload; it begins when it is its turn. Rejects with OspError `bad-name`; `usage` if an unfinished upload of
   * this client has that name already, or for options that can't be; or `closed`.
   */
  add(source: FileSource, options?: AddOptions): Promise<Upload>
  /** Pauses uploads (all, if none is named): the server keeps what it has. Resolves when their instances are free. */
  pause(ids?: readonly number[]): Promise<void>
  /** Lets paused uploads (all, if none is named) go on where the server stands. */
  resume(ids?: readonly number[]): Promise<void>
  /**
   * Cancels uploads: what the server has of them is removed; never a published file. Resolves when the server has said
   * so; until then their phase is `cancelling`. Rejects where it refuses for good, or for longer than refusals are
   * waited for; the upload is `failed` then. What the server was verifying already becomes `done` if it was right; where
   * a file of that name had been stored before, `why` says that it stays.
   */
  cancel(ids: readonly number[]): Promise<void>
}
