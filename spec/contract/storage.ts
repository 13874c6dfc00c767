import { stateClaimModel } from './storage/claimModel.ts'
import { stateClaims } from './storage/claims.ts'
import { stateFlushing } from './storage/flushing.ts'
import { stateLife } from './storage/life.ts'
import { stateMailBounds } from './storage/mailBounds.ts'
import { stateMailFlushing } from './storage/mailFlushing.ts'
import { stateMailLife } from './storage/mailLife.ts'
import { stateMailPosting } from './storage/mailPosting.ts'
import { stateMailRandom } from './storage/mailRandom.ts'
import { stateNames } from './storage/names.ts'
import { stateNotes } from './storage/notes.ts'
import { statePartialFiles } from './storage/partialFiles.ts'
import { statePublishing } from './storage/publishing.ts'
import { stateRecords } from './storage/records.ts'
import { stateRoom } from './storage/room.ts'
import { type Kind, tryingOf } from './storage/trial.ts'
import { stateUsage } from './storage/usage.ts'

/** States every promise of the storage port about one kind of storage. */
export function storageContract(kind: Kind): void {
  const trying = tryingOf(kind)
  stateLife(kind.name, trying)
  stateClaims(kind.name, trying)
  stateClaimModel(kind.name, trying)
  stateNames(kind.name, trying)
  stateRecords(kind.name, trying)
  stateNotes(kind.name, trying)
  statePartialFiles(kind.name, trying)
  stateRoom(kind.name, kind.smallPlace ? trying : undefined)
  stateUsage(kind.name, trying)
  stateFlushing(kind.name, trying)
  statePublishing(kind.name, trying)
  stateMailPosting(kind.name, trying)
  stateMailBounds(kind.name, trying)
  stateMailLife(kind.name, trying)
  stateMailFlushing(kind.name, trying)
  stateMailRandom(kind.name, trying)
}
