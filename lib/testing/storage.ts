import assert from 'node:assert/strict'
import type { Platform } from '../ports/platform.ts'
import { claimModelChecks } from './storage/claimModel.ts'
import { claimSuites } from './storage/claims.ts'
import { fileSuites } from './storage/files.ts'
import { openTested, type StorageKind, type StoragePlaceKind, type TestedStorage } from './storage/fixture.ts'
import { mailBoundSuites } from './storage/mailBounds.ts'
import { mailboxSuites } from './storage/mailboxes.ts'
import { mailModelChecks } from './storage/mailModel.ts'
import { transferSuites } from './storage/transfers.ts'
import { type Checks, type TestCase, testCasesOf } from './testCases.ts'

/** The promises of opening and closing. */
const lifeChecks: Checks<TestedStorage> = {
  'can be closed more than once': async (storage) => {
    await storage.close()
    await storage.close()
  },
  'can be opened by one owner at a time': async (storage) => {
    const second = storage.place.storage()
    await assert.rejects(second.open(storage.platform), { code: 'data-locked' })
    assert.equal(await storage.files.stored('alice', 'a'), false)
  },
}

/** The capacity of small places. */
const smallBytes = 3_000_000

/** Returns the promises of `lib/ports/storage.ts` and `mailboxes.ts` as test cases. The first random run has this seed. */
export function storageTestCases(kind: StorageKind, platform: Platform, seed: number): readonly TestCase[] {
  const { name } = kind
  const open = async (place: StoragePlaceKind = 'location') => {
    const location = await kind[place]?.(smallBytes)
    assert.ok(location)
    return openTested(location, platform)
  }
  const suite = (subject: string, checks: Checks<TestedStorage>, place: StoragePlaceKind = 'location') => {
    const skipped = kind[place] ? undefined : `this kind of storage has no ${place}`
    return testCasesOf(subject.replace('storage', `${name} storage`), checks, () => open(place), skipped)
  }
  const suites = [...claimSuites, ...transferSuites, ...fileSuites, ...mailBoundSuites, ...mailboxSuites]
  return [
    suite('the life of a storage', lifeChecks),
    ...suites.map((each) => suite(...each)),
    testCasesOf(`the claims of a ${name} storage`, claimModelChecks(open, seed), async () => undefined),
    testCasesOf(`the mailboxes of a ${name} storage`, mailModelChecks(open, seed), async () => undefined),
  ].flat()
}
