import type { Platform } from '../ports/platform.ts'
import type { Chance } from './chance.ts'
import { stateClaimRandom } from './storage/claimRandom.ts'
import { stateClaims } from './storage/claims.ts'
import { type BrittlePlace, type StorageKind, tryingOf } from './storage/fixture.ts'
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
import { stateUsage } from './storage/usage.ts'
import type { TestCase } from './testCases.ts'

/** Returns the promises of `lib/ports/storage.ts` and `mailboxes.ts` as test cases of one kind of storage. */
export function storageContract(kind: StorageKind, platform: Platform, chance: Chance): readonly TestCase[] {
  const { name, place, smallPlace, brittlePlace } = kind
  const trying = tryingOf(platform, () => place())
  const filling = tryingOf(platform, (bytes) => (bytes === undefined || !smallPlace ? place() : smallPlace(bytes)))
  const failing = tryingOf(platform, async (): Promise<BrittlePlace> => {
    if (!brittlePlace) throw new RangeError(`${name} has no brittle place`)
    return brittlePlace()
  })
  const unfilled = smallPlace ? undefined : 'this kind of storage has no small place'
  const unbroken = brittlePlace ? undefined : 'this kind of storage has no brittle place'
  return [
    ...stateLife(name, trying),
    ...stateClaims(name, trying),
    ...stateClaimRandom(name, trying, chance),
    ...stateNames(name, trying),
    ...stateRecords(name, trying),
    ...stateNotes(name, trying),
    ...statePartialFiles(name, trying),
    ...stateRoom(name, filling, unfilled),
    ...stateUsage(name, trying),
    ...stateFlushing(name, failing, unbroken),
    ...statePublishing(name, trying),
    ...stateMailPosting(name, trying),
    ...stateMailBounds(name, filling, unfilled),
    ...stateMailLife(name, trying),
    ...stateMailFlushing(name, failing, unbroken),
    ...stateMailRandom(name, trying, chance),
  ]
}
