import { OspError } from '../errors.ts'
import type { TransferRecord, VersionedFile } from '../ports/storage.ts'

/**
 * A change of the storage would replace stored files that were not reported, or verified uploads that may have been published.
 * Nothing was changed. The server reports these files and completes these uploads, and then makes the change again.
 */
export class EarlierFiles extends OspError {
  /** Stored files of this server. */
  readonly own: readonly VersionedFile[]
  /** Stored files of other servers, which may not have logged them. */
  readonly others: readonly VersionedFile[]
  /** Verified uploads. */
  readonly unfinished: readonly TransferRecord[]

  constructor(found: Partial<Pick<EarlierFiles, 'own' | 'others' | 'unfinished'>>) {
    super('file-busy', 'an earlier file of the same name has not been reported yet')
    this.own = found.own ?? []
    this.others = found.others ?? []
    this.unfinished = found.unfinished ?? []
  }
}
