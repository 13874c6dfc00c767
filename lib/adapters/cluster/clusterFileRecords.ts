import type { FileKey, FileRecord, FileRecords } from '../../storage/catalogue/fileRecords.ts'
import type { ClusterMember } from './clusterMember.ts'

/** The maximum number of records that are read in one step. */
const pageRecords = 500

/** The records of stored files in the shared store. */
export class ClusterFileRecords implements FileRecords {
  readonly #member: ClusterMember

  constructor(member: ClusterMember) {
    this.#member = member
  }

  async get(keys: readonly FileKey[]): Promise<readonly (FileRecord | undefined)[]> {
    return keys.length === 0 ? [] : this.#member.run(({ files }) => files.get(keys))
  }

  put(records: readonly FileRecord[]): Promise<void> {
    return this.#member.run(({ files }) => files.put(records))
  }

  prune(user: string, name: string, version?: string): Promise<void> {
    return this.#member.run(({ files }) => files.prune(user, name, version))
  }

  async *all(): AsyncIterable<FileRecord> {
    for (let after: FileKey | undefined; ; ) {
      const key = after
      const page = await this.#member.run(({ files }) => files.page(key, pageRecords))
      yield* page
      after = page.at(-1)
      if (page.length < pageRecords) return
    }
  }
}
