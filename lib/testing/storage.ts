import assert from 'node:assert/strict'
import type { Platform } from '../ports/platform.ts'
import { claimModelChecks } from './storage/claimModel.ts'
import { claimingChecks, takenNamesChecks, takeoverChecks } from './storage/claims.ts'
import { failedFlushChecks, fullChecks, partialFilesChecks, publishingChecks, usageChecks } from './storage/files.ts'
import { type StorageKind, TestedStorage } from './storage/fixture.ts'
import { mailBoundsChecks, mailSharesChecks, mailSpaceChecks } from './storage/mailBounds.ts'
import {
  appendingChecks,
  failedMailFlushChecks,
  readingChecks,
  removingChecks,
  repetitionChecks,
  seqsChecks,
  settingAsideChecks,
  timeChecks,
} from './storage/mailboxes.ts'
import { mailModelChecks } from './storage/mailModel.ts'
import { completedChecks, completionMarkersChecks, recordsChecks } from './storage/transfers.ts'
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

type Place = Exclude<keyof StorageKind, 'name'>

/** The capacity of small places. */
const smallBytes = 3_000_000

/** Returns the promises of `lib/ports/storage.ts` and `mailboxes.ts` as test cases. The first random run has this seed. */
export function storageTestCases(kind: StorageKind, platform: Platform, seed: number): readonly TestCase[] {
  const { name } = kind
  const open = async (place: Place = 'location') => {
    const location = await kind[place]?.(smallBytes)
    assert.ok(location)
    return TestedStorage.open(location, platform)
  }
  const suite = (subject: string, checks: Checks<TestedStorage>, place: Place = 'location') =>
    testCasesOf(subject, checks, () => open(place), kind[place] ? undefined : `this kind of storage has no ${place}`)
  const random = (subject: string, checks: Checks<undefined>) => testCasesOf(subject, checks, async () => undefined)
  return [
    suite(`the life of a ${name} storage`, lifeChecks),
    suite(`claiming an upload in a ${name} storage`, claimingChecks),
    suite(`taking over an upload in a ${name} storage`, takeoverChecks),
    random(`the claims of a ${name} storage`, claimModelChecks(open, seed)),
    suite(`an upload whose name is taken in a ${name} storage`, takenNamesChecks),
    suite(`the record of an upload in a ${name} storage`, recordsChecks),
    suite(`the completion marker of an upload in a ${name} storage`, completionMarkersChecks),
    suite(`a completed upload in a ${name} storage`, completedChecks),
    suite(`a partial file in a ${name} storage`, partialFilesChecks),
    suite(`a full ${name} storage`, fullChecks, 'smallLocation'),
    suite(`the bytes of a user in a ${name} storage`, usageChecks),
    suite(`a failed flush in a ${name} storage`, failedFlushChecks, 'failingLocation'),
    suite(`publishing in a ${name} storage`, publishingChecks),
    suite(`a message that is appended to the mailboxes of a ${name} storage`, appendingChecks),
    suite(`the repetition of a message to a ${name} storage`, repetitionChecks),
    suite(`the limits of mailboxes in a ${name} storage`, mailBoundsChecks),
    suite(`the share of one sender in the mailboxes of a ${name} storage`, mailSharesChecks),
    suite(`mailboxes in a ${name} storage without free space`, mailSpaceChecks, 'smallLocation'),
    suite(`reading a mailbox of a ${name} storage`, readingChecks),
    suite(`a message that is removed from a mailbox of a ${name} storage`, removingChecks),
    suite(`a message that is set aside in a ${name} storage`, settingAsideChecks),
    suite(`time in a ${name} storage`, timeChecks),
    suite(`seqs in a ${name} storage`, seqsChecks),
    suite(`a failed flush of messages in a ${name} storage`, failedMailFlushChecks, 'failingLocation'),
    random(`the mailboxes of a ${name} storage`, mailModelChecks(open, seed)),
  ].flat()
}
