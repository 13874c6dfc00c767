import { GroupCommit } from '../../runtime/groupCommit.ts'
import type { FileKey, FileRecord, FileRecords, KeptVersion } from '../../storage/catalogue/fileRecords.ts'
import type { ClusterMember } from './clusterMember.ts'

/** The maximum number of records that are read in one step. */
const pageRecords = 500

/** Versions of files whose records are read in one step with those of others. */
interface RecordQuery {
  readonly keys: readonly FileKey[]
  found: readonly (FileRecord | undefined)[]
}

/** The records of stored files in the shared store. */
export class ClusterFileRecords implements FileRecords {
  readonly #member: ClusterMember
  readonly #queries: GroupCommit<RecordQuery>

  constructor(member: ClusterMember) {
    this.#member = member
    this.#queries = new GroupCommit({ commit: (group) => this.#answer(group.map(({ item }) => item)) })
  }

  async get(keys: readonly FileKey[]): Promise<readonly (FileRecord | undefined)[]> {
    const query: RecordQuery = { keys, found: [] }
    if (keys.length > 0) await this.#queries.add(query)
    return query.found
  }

  put(records: readonly FileRecord[]): Promise<void> {
    return this.#member.run(({ files }) => files.put(records))
  }

  async prune(kept: readonly KeptVersion[]): Promise<void> {
    for (const { user, name, version } of kept) await this.#member.run(({ files }) => files.prune(user, name, version))
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

  async #answer(queries: readonly RecordQuery[]): Promise<void> {
    const keys = queries.flatMap((query) => query.keys)
    const found: (FileRecord | undefined)[] = []
    for (let from = 0; from < keys.length; from += pageRecords) {
      const part = keys.slice(from, from + pageRecords)
      found.push(...(await this.#member.run(({ files }) => files.get(part))))
    }
    for (const query of queries) query.found = found.splice(0, query.keys.length)
  }
}
