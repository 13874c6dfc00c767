import type { SessionLink } from './links.ts'
import type { DigestName } from './platform.ts'

/** The metadata that a client has sent with a file: texts by key. */
export type Metadata = Readonly<Record<string, string>>

/** A stored file. */
export interface CatalogueEntry {
  readonly name: string
  /** Bytes. */
  readonly size: number
  /** The modification time of the content in ms since 1970: that of the source, if the file was uploaded. */
  readonly modifiedAt: number
  /** The time at which the file was stored, in ms since 1970 by the clock of the server. */
  readonly storedAt: number
  /** Identifies the content. It changes when the file is replaced, and stays the same when the file is renamed. */
  readonly version: string
  /** The algorithm and the hexadecimal digest of the content; missing if the server does not know them. */
  readonly algorithm?: DigestName
  readonly digest?: string
  readonly metadata: Metadata
}

/** Which files of a user are listed. */
export interface CatalogueQuery {
  /** Only files whose names begin with this text. */
  readonly prefix: string
  /** Only files whose names follow this one. */
  readonly after: string
  /** The maximum number of files, at least 1. */
  readonly most: number
}

export interface CataloguePage {
  /** In the order of the UTF-8 bytes of their names. */
  readonly files: readonly CatalogueEntry[]
  /** Whether more files may follow. */
  readonly more: boolean
  /** The number of entries of folders that were read for this page, which shows how long it took. */
  readonly looked: number
}

/** A stored file that is open for reading. It keeps its content if the file is replaced or removed meanwhile. */
export interface OpenFile extends Pick<CatalogueEntry, 'size' | 'version'>, AsyncDisposable {
  /** Reads up to `into.length` bytes at `offset`; fewer only at the end. Resolves with the number of bytes. */
  read(into: Uint8Array, offset: number): Promise<number>
}

/**
 * The stored files of all users. The file system determines which files exist: a file that another program has added is listed
 * without a digest, and one that it has removed is not listed. The caller checks the names.
 */
export interface Catalogue {
  list(user: string, query: CatalogueQuery): Promise<CataloguePage>
  /**
   * Returns one file. With `needsDigest`, reads the file if its digest is not known, and remembers the digest. Resolves with
   * `undefined` if there is no such file.
   */
  find(user: string, name: string, needsDigest?: boolean): Promise<CatalogueEntry | undefined>
  /** Opens a file. Resolves with `undefined` if there is no such file. */
  open(user: string, name: string): Promise<OpenFile | undefined>
  /**
   * Removes a file, and the folders that this leaves empty: durable. Resolves with false if there is no such file. Rejects with
   * OspError `version-changed` if `version` is given and the file has another one. With `by`, the link whose request this is, a
   * store of several servers rejects with `link-lost` as in `TransferStore.claim`. Rejects with `file-busy` if the file can belong
   * to a verified upload that is not complete. The error is an EarlierFiles unless only another server can complete it.
   */
  remove(user: string, name: string, version?: string, by?: SessionLink): Promise<boolean>
  /**
   * Gives a file another name: atomic and durable. Resolves with whether it has replaced a file. If the file is missing and a
   * file of this `version` has the new name, an earlier call has renamed it. Rejects with OspError `no-such-file`;
   * `version-changed` and, for both names, `file-busy`, as `remove` does; `file-exists` if there is a file with the new name and
   * `replace` is not set; or `name-conflict` if the new name is an ancestor or a descendant of another file.
   */
  rename(user: string, name: string, newName: string, options: RenameOptions): Promise<boolean>
  /** Returns 32 secret random bytes, which stay the same as long as the storage exists. All servers of a storage have the same. */
  key(): Promise<Uint8Array>
  /** Removes the records of files that are not stored any more, until `isStopped` returns true. */
  sweep?(isStopped: () => boolean): Promise<void>
}

export interface RenameOptions {
  readonly version?: string | undefined
  readonly replace: boolean
  /** As in `Catalogue.remove`. */
  readonly by?: SessionLink | undefined
}
