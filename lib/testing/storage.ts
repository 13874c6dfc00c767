import type { Platform } from '../ports/platform.ts'
import type { Chance } from './chance.ts'
import { claimRandomCases } from './storage/claimRandom.ts'
import { claimsCases } from './storage/claims.ts'
import { type FailingStorageLocation, type StorageKind, tryingOf } from './storage/fixture.ts'
import { flushingCases } from './storage/flushing.ts'
import { lifeCases } from './storage/life.ts'
import { mailBoundsCases } from './storage/mailBounds.ts'
import { mailFlushingCases } from './storage/mailFlushing.ts'
import { mailLifeCases } from './storage/mailLife.ts'
import { mailPostingCases } from './storage/mailPosting.ts'
import { mailRandomCases } from './storage/mailRandom.ts'
import { namesCases } from './storage/names.ts'
import { notesCases } from './storage/notes.ts'
import { partialFilesCases } from './storage/partialFiles.ts'
import { publishingCases } from './storage/publishing.ts'
import { recordsCases } from './storage/records.ts'
import { roomCases } from './storage/room.ts'
import { usageCases } from './storage/usage.ts'
import type { TestCase } from './testCases.ts'

/** Returns the promises of `lib/ports/storage.ts` and `mailboxes.ts` as test cases of one kind of storage. */
export function storageTestCases(kind: StorageKind, platform: Platform, chance: Chance): readonly TestCase[] {
  const { name, location, smallLocation, failingLocation } = kind
  const trying = tryingOf(platform, () => location())
  const filling = tryingOf(platform, (bytes) =>
    bytes === undefined || !smallLocation ? location() : smallLocation(bytes),
  )
  const failing = tryingOf(platform, async (): Promise<FailingStorageLocation> => {
    if (!failingLocation) throw new RangeError(`${name} has no location whose flushes can fail`)
    return failingLocation()
  })
  const unfilled = smallLocation ? undefined : 'this kind of storage has no small place'
  const unbroken = failingLocation ? undefined : 'this kind of storage has no location whose flushes can fail'
  return [
    ...lifeCases(name, trying),
    ...claimsCases(name, trying),
    ...claimRandomCases(name, trying, chance),
    ...namesCases(name, trying),
    ...recordsCases(name, trying),
    ...notesCases(name, trying),
    ...partialFilesCases(name, trying),
    ...roomCases(name, filling, unfilled),
    ...usageCases(name, trying),
    ...flushingCases(name, failing, unbroken),
    ...publishingCases(name, trying),
    ...mailPostingCases(name, trying),
    ...mailBoundsCases(name, filling, unfilled),
    ...mailLifeCases(name, trying),
    ...mailFlushingCases(name, failing, unbroken),
    ...mailRandomCases(name, trying, chance),
  ]
}
