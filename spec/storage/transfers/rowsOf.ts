import type { TransferRecord } from '../../../lib/ports/storage.ts'
import type { CompletionMarker } from '../../../lib/storage/transfers/rows.ts'
import { fileOf, owner, wanted } from '../../../lib/testing/storage/steps.ts'

/** Returns a record of the upload `a` of alice with the fields of `change`. */
export const recordOf = (change: Partial<TransferRecord> = {}): TransferRecord => ({
  ...wanted,
  token: 3,
  owner: owner(1),
  superseded: [],
  checkpoints: [],
  updatedAt: 1,
  ...change,
})

/** Returns the completion marker of the upload of alice of this name, valid until `until`. */
export const noteOf = (name: string, until = 1_000): CompletionMarker => ({
  file: fileOf({ name }),
  modifiedAt: wanted.modifiedAt,
  until,
  stamp: '5:1',
  reported: false,
})
