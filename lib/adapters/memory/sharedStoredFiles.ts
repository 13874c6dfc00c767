import { OspError } from '../../errors.ts'
import type { Announcement, NewTransfer, TransferRecord } from '../../ports/storage.ts'
import { type FileKey, type FileRecord, keyOfFile, keyPrefixOf } from '../../storage/catalogue/fileRecords.ts'
import { isResultOf, storeAsOf } from '../../storage/transfers/claimRules.ts'
import type { FileChange, FileSteps, PendingFiles } from '../cluster/fileSteps.ts'
import type { ClusterSessionLink } from '../cluster/steps.ts'
import type { SharedServers } from './sharedServers.ts'
import type { SharedSessions } from './sharedSessions.ts'

interface Row {
  readonly record: FileRecord
  readonly atMs: number
}

/** The uploads of the same store. */
export interface UploadedFiles {
  /** Returns the record of a version that has a completion marker. */
  marked(key: FileKey): FileRecord | undefined
  /** Returns the announced files of a user that may not be published yet. */
  unpublished(user: string): readonly Announcement[]
  /** Returns the uploads of a user that are verified, or that a link holds. */
  pending(user: string): readonly { readonly record: TransferRecord; readonly isHeld: boolean }[]
}

/** The time for which `prune` and `add` keep the records of other versions. */
const keptMs = 3_600_000

/** The records of stored files in a shared store in memory, and the changes of these files. */
export class SharedStoredFiles implements FileSteps {
  readonly #servers: SharedServers
  readonly #sessions: SharedSessions
  readonly #uploads: UploadedFiles
  readonly #wallTime: () => number
  readonly #rows = new Map<string, Row>()
  readonly #changes = new Map<string, { readonly change: FileChange; readonly server: number }>()

  constructor(servers: SharedServers, sessions: SharedSessions, uploads: UploadedFiles, wallTime: () => number) {
    this.#servers = servers
    this.#sessions = sessions
    this.#uploads = uploads
    this.#wallTime = wallTime
  }

  async get(keys: readonly FileKey[]): Promise<readonly (FileRecord | undefined)[]> {
    return keys.map((key) => this.#rows.get(keyOfFile(key))?.record ?? this.#uploads.marked(key))
  }

  async put(records: readonly FileRecord[]): Promise<void> {
    for (const record of records) {
      const { metadata } = record
      const row = this.#rows.get(keyOfFile(record))
      if (!row) this.add(record)
      else if (Object.keys(metadata).length > 0) {
        this.#rows.set(keyOfFile(record), { ...row, record: { ...row.record, metadata } })
      }
    }
  }

  async prune(user: string, name: string, version?: string): Promise<void> {
    this.pruned(user, name, version)
  }

  async page(after: FileKey | undefined, most: number): Promise<readonly FileRecord[]> {
    const records = Array.from(this.#rows.values(), ({ record }) => record)
    const later = records.filter((record) => !after || comparedBytes(record, after) > 0)
    return later.sort(comparedBytes).slice(0, most)
  }

  begin(
    server: number,
    change: FileChange,
    ended: readonly string[],
    by: ClusterSessionLink | undefined,
  ): Promise<PendingFiles> {
    const { user, name, newName } = change
    return this.#sessions.turns.run(user, async () => {
      if (by) this.#sessions.check(by)
      const names = newName === undefined ? [name] : [name, newName]
      const pending = this.#uploads.pending(user).filter(({ record, isHeld }) => {
        const { verified } = record
        return (verified && names.includes(verified.storedName)) || (isHeld && names.includes(storeAsOf(record)))
      })
      const unfinished = pending.flatMap(({ record, isHeld }) => (isHeld ? [] : record))
      if (unfinished.length > 0) return { changes: [], unpublished: [], unfinished }
      if (pending.length > 0) throw new OspError('file-busy')
      for (const fence of ended) this.#changes.delete(fence)
      const changes = names.flatMap((each) => this.changesOf(user, each)).filter(({ fence }) => fence !== change.fence)
      const unpublished = this.#uploads.unpublished(user).filter(({ file }) => names.includes(file.storedName))
      if (changes.length === 0 && unpublished.length === 0) this.#changes.set(change.fence, { change, server })
      return { changes: [...new Set(changes)], unpublished, unfinished }
    })
  }

  async recorded(fences: readonly string[]): Promise<readonly string[]> {
    return fences.filter((fence) => this.#changes.has(fence))
  }

  async end(fences: readonly string[]): Promise<void> {
    for (const fence of fences) this.#changes.delete(fence)
  }

  /** Returns the changes that dead servers have begun. */
  abandoned(): readonly FileChange[] {
    return Array.from(this.#changes.values()).flatMap(({ change, server }) =>
      this.#servers.isDead(server) ? [change] : [],
    )
  }

  /** Returns the changes that have a name. */
  changesOf(user: string, name: string): readonly FileChange[] {
    const changes = Array.from(this.#changes.values(), ({ change }) => change)
    return changes.filter((change) => change.user === user && (change.name === name || change.newName === name))
  }

  /** Returns a function that restores the current state. */
  saved(): () => void {
    const restored = [savedMap(this.#rows), savedMap(this.#changes)]
    return () => {
      for (const restore of restored) restore()
    }
  }

  /** Adds or replaces the record of a file that was stored. */
  add(record: FileRecord): void {
    this.pruned(record.user, record.name, record.version)
    this.#rows.set(keyOfFile(record), { record, atMs: this.#wallTime() })
  }

  pruned(user: string, name: string, version: string | undefined): void {
    const before = this.#wallTime() - keptMs
    for (const record of this.of(user, name)) {
      const key = keyOfFile(record)
      if (record.version !== version && (this.#rows.get(key)?.atMs ?? before) < before) this.#rows.delete(key)
    }
  }

  /** Returns the records of a name, by version. */
  of(user: string, name: string): readonly FileRecord[] {
    const prefix = keyPrefixOf({ user, name })
    const found = [...this.#rows].flatMap(([key, { record }]) => (key.startsWith(prefix) ? [record] : []))
    return found.sort(comparedBytes)
  }

  /** Makes the records of files with this digest that an upload has stored match no upload. */
  forget(want: NewTransfer, digest: string): void {
    const stored = this.of(want.user, storeAsOf(want)).filter((record) => isResultOf(record, want, digest))
    for (const { modifiedAt: _, ...record } of stored) this.add(record)
  }
}

/** Returns a function that restores the current entries of a map. */
export function savedMap<K, V>(map: Map<K, V>): () => void {
  const entries = Array.from(map, ([key, value]) => [key, value instanceof Object ? { ...value } : value] as const)
  return () => {
    map.clear()
    for (const [key, value] of entries) map.set(key, value)
  }
}

/** Compares users, then names, then versions, by their bytes in UTF-8. */
function comparedBytes(a: FileKey, b: FileKey): number {
  return comparedNames(a, b) || comparedText(a.version, b.version)
}

/** Compares users, then names, by their bytes in UTF-8. */
export function comparedNames(a: Omit<FileKey, 'version'>, b: Omit<FileKey, 'version'>): number {
  return comparedText(a.user, b.user) || comparedText(a.name, b.name)
}

const comparedText = (one: string, other: string) => Buffer.compare(Buffer.from(one), Buffer.from(other))
