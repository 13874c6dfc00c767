import type { CatalogueEntry } from '../../ports/catalogue.ts'

/** The digest, the metadata and the source's modification time of a version of a stored file. */
export interface FileRecord
  extends Pick<CatalogueEntry, 'name' | 'version' | 'size' | 'metadata'>,
    Required<Pick<CatalogueEntry, 'algorithm' | 'digest'>> {
  readonly user: string
  /** Missing if the file counts as the result of no upload. */
  readonly modifiedAt?: CatalogueEntry['modifiedAt'] | undefined
}

/** Names a version of a stored file. */
export type FileKey = Pick<FileRecord, 'user' | 'name' | 'version'>

/** Names a stored file, and the version whose record is kept, if any. */
export type KeptVersion = Omit<FileKey, 'version'> & { readonly version?: string | undefined }

/**
 * The records of stored files, without a limit. A record applies while its file has that version. The records of recent uploads
 * are their completion markers: a record is written here before its marker is dropped.
 */
export interface FileRecords {
  /** Returns the record of each of these versions, if there is one. */
  get(keys: readonly FileKey[]): Promise<readonly (FileRecord | undefined)[]>
  /** Writes records: durable. */
  put(records: readonly FileRecord[]): Promise<void>
  /** Removes the records of each name, except that of its `version`. */
  prune(files: readonly KeptVersion[]): Promise<void>
  /** Returns all records, in batches. A record that is changed meanwhile can be missing. */
  all(): AsyncIterable<FileRecord>
}

/** Separates user, name and version in a key. None of them contains it. */
const separator = '\0'

export const keyOfFile = ({ user, name, version }: FileKey): string => [user, name, version].join(separator)

/** Returns the prefix of the keys of a name. */
export const keyPrefixOf = ({ user, name }: KeptVersion): string => keyOfFile({ user, name, version: '' })

/** The records of stored files in the memory of this process. */
export class MemoryFileRecords implements FileRecords {
  /** The records of each name by their versions. */
  readonly #names = new Map<string, Map<string, FileRecord>>()

  /** Copies the records of another one. */
  constructor(left?: MemoryFileRecords) {
    if (left) for (const [prefix, versions] of left.#names) this.#names.set(prefix, new Map(versions))
  }

  async get(keys: readonly FileKey[]): Promise<readonly (FileRecord | undefined)[]> {
    return keys.map((key) => this.#names.get(keyPrefixOf(key))?.get(key.version))
  }

  async put(records: readonly FileRecord[]): Promise<void> {
    for (const record of records) {
      const prefix = keyPrefixOf(record)
      const versions = this.#names.get(prefix) ?? new Map<string, FileRecord>()
      this.#names.set(prefix, versions.set(record.version, record))
    }
  }

  async prune(files: readonly KeptVersion[]): Promise<void> {
    for (const file of files) {
      const prefix = keyPrefixOf(file)
      const kept = file.version === undefined ? undefined : this.#names.get(prefix)?.get(file.version)
      if (kept) this.#names.set(prefix, new Map([[kept.version, kept]]))
      else this.#names.delete(prefix)
    }
  }

  async *all(): AsyncIterable<FileRecord> {
    yield* Array.from(this.#names.values(), (versions) => [...versions.values()]).flat()
  }
}
