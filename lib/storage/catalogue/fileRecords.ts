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

/**
 * The records of stored files, without a limit. A record applies while its file has that version. The records of recent uploads
 * are their completion markers: a record is written here before its marker is dropped.
 */
export interface FileRecords {
  /** Returns the record of each of these versions, if there is one. */
  get(keys: readonly FileKey[]): Promise<readonly (FileRecord | undefined)[]>
  /** Writes records: durable. */
  put(records: readonly FileRecord[]): Promise<void>
  /** Removes the records of a name, except that of `version`. */
  prune(user: string, name: string, version?: string): Promise<void>
  /** Returns all records, in batches. A record that is changed meanwhile can be missing. */
  all(): AsyncIterable<FileRecord>
}

/** Separates user, name and version in a key. None of them contains it. */
const separator = '\0'

export const keyOfFile = ({ user, name, version }: FileKey): string => [user, name, version].join(separator)

/** Returns the range of the keys of a name. */
export function keysOfName(user: string, name: string): { readonly gte: string; readonly lt: string } {
  const from = [user, name, ''].join(separator)
  return { gte: from, lt: `${from.slice(0, -1)}\x01` }
}

/** The records of stored files in the memory of this process. */
export class MemoryFileRecords implements FileRecords {
  readonly #records: Map<string, FileRecord>

  /** Copies the records of another one. */
  constructor(left?: MemoryFileRecords) {
    this.#records = new Map(left === undefined ? [] : left.#records)
  }

  async get(keys: readonly FileKey[]): Promise<readonly (FileRecord | undefined)[]> {
    return keys.map((key) => this.#records.get(keyOfFile(key)))
  }

  async put(records: readonly FileRecord[]): Promise<void> {
    for (const record of records) this.#records.set(keyOfFile(record), record)
  }

  async prune(user: string, name: string, version?: string): Promise<void> {
    const { gte, lt } = keysOfName(user, name)
    for (const [key, record] of this.#records) {
      if (key >= gte && key < lt && record.version !== version) this.#records.delete(key)
    }
  }

  async *all(): AsyncIterable<FileRecord> {
    yield* [...this.#records.values()]
  }
}
