import { OspError } from '../../errors.ts'
import type { NewTransfer, StoredFile } from '../../ports/storage.ts'

/** The functions of a store of files that the transfer store needs. */
export interface StoredNames {
  /** Whether names that differ only in case lead to the same file. */
  readonly foldsCase: boolean
  stored(user: string, name: string): Promise<boolean>
  /** Resolves with the stored name that conflicts with a file of this name. The same name does not conflict. */
  conflict(user: string, name: string): Promise<string | undefined>
  /**
   * Resolves with a text that identifies a published file while nothing writes to it, or `undefined` if there is no file. In a
   * copy of the directory the text is different, so the digest is compared instead.
   */
  version(user: string, name: string): Promise<string | undefined>
  /** Resolves with the `version` that the partial file will have once published, or `undefined` if it is missing. */
  partialVersion?(user: string, name: string): Promise<string | undefined>
  /** Sets the modification time of the partial file of an upload to that of its source, in ms. Called before `partialVersion`. */
  setModifiedAt?(user: string, name: string, modifiedAt: number): Promise<void>
  /** Makes the name of a published file durable, in case a crash or fault prevented that. Not needed if names are always durable. */
  flushName?(user: string, name: string): Promise<void>
  /** Resolves with whether a published file has this size and digest. Reads the file unless the size differs. */
  isIntact(file: StoredFile): Promise<boolean>
  /** Removes the content of a file without a name (`UnnamedFile.source`), if it was not published. */
  discard?(source: string): Promise<void>
  /** Removes the partial file, if there is one. */
  dropPartial(user: string, name: string): Promise<void>
  /** Makes a partial file durable. Resolves with its length, or 0 if it is missing or longer than the upload. */
  partialBytes(want: NewTransfer): Promise<number>
}

/** Returns the error of a verified upload whose bytes are lost, so that the upload begins anew. */
export function lostFile(text: string): OspError {
  return new OspError('digest-mismatch', text, { progress: 0 })
}
