import { OspError } from '../../errors.ts'
import type { Announcement, TransferRecord } from '../../ports/storage.ts'
import type { FileKey, FileRecord } from '../../storage/catalogue/fileRecords.ts'
import type { ClusterSessionLink } from './steps.ts'

/** A stored file that a server removes or renames. */
export interface FileChange extends FileKey {
  /** The name of the fence of the change (fences.ts), which is unique. */
  readonly fence: string
  /** The new name; missing if the file is removed. */
  readonly newName?: string | undefined
}

/** What other servers have begun with a name, and may finish at any later time. */
export interface PendingFiles {
  readonly changes: readonly FileChange[]
  /** Announced files that may not be published yet, with their sources. */
  readonly unpublished: readonly Announcement[]
  /** Verified uploads that no link holds. If there are any, the other lists can be incomplete. */
  readonly unfinished: readonly TransferRecord[]
}

/** Other servers are removing or renaming the stored file of a name. Nothing can be decided before these changes have ended. */
export class PendingChanges extends OspError {
  readonly changes: readonly FileChange[]

  constructor(changes: readonly FileChange[]) {
    super('file-busy')
    this.changes = changes
  }
}

/** The records of stored files in the shared store of a cluster (steps.ts), and the changes of these files. */
export interface FileSteps {
  /** Returns the record of each of these versions, if there is one. The completion marker of a version is a record as well. */
  get(keys: readonly FileKey[]): Promise<readonly (FileRecord | undefined)[]>
  /** Adds the records of versions that have none. Replaces the metadata of the others, if there is any. */
  put(records: readonly FileRecord[]): Promise<void>
  /**
   * Removes the records of a name, except that of `version` and those of the last hour: another server may have stored a file
   * meanwhile.
   */
  prune(user: string, name: string, version?: string): Promise<void>
  /** Records in the order of their keys, after this one, at most `most`. */
  page(after: FileKey | undefined, most: number): Promise<readonly FileRecord[]>
  /**
   * Records a change that a server begins, under the lock of the user. `ended` are the fences of earlier changes, which were
   * removed. Resolves with what other servers have begun with its names; if there is anything, the change was not recorded.
   * Rejects with `file-busy` if a link holds an upload of one of its names. With `by`, the session is checked as in
   * `TransferSteps.claim`.
   */
  begin(
    server: number,
    change: FileChange,
    ended: readonly string[],
    by: ClusterSessionLink | undefined,
  ): Promise<PendingFiles>
  /** Resolves with those of these fences whose changes are recorded. */
  recorded(fences: readonly string[]): Promise<readonly string[]>
  /** Removes changes whose fences were removed. */
  end(fences: readonly string[]): Promise<void>
}
