import assert from 'node:assert/strict'
import { MemoryJournal } from '../../../lib/adapters/memory/memoryJournal.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { conflictingRecord } from '../../../lib/storage/transfers/storedNames.ts'
import { UploadLog } from '../../../lib/storage/transfers/uploadLog.ts'
import { spec } from '../../support/spec.ts'
import { recordOf } from './rowsOf.ts'

async function conflict(there: string, name: string, foldsCase: boolean): Promise<string | undefined> {
  const journal = new MemoryJournal(1_000_000)
  const log = await UploadLog.open(journal, nodePlatform(), 10)
  await log.put(recordOf({ user: 'alice', name: there }))
  await log.put(recordOf({ user: 'alicE', name: 'A' }))
  return conflictingRecord(log, 'alice', name, foldsCase)
}

spec('a record that conflicts with a name', (it) => {
  for (const foldsCase of [true, false]) {
    const where = foldsCase ? 'if case is folded' : 'if case is not folded'

    for (const [there, name, other] of [
      ['a/b', 'a', 'a/b'],
      ['a', 'a/b/c', 'a'],
      ['a', 'a', undefined],
      ['a/b', 'a/c', undefined],
      ['a', 'a.b', undefined],
      ['a0', 'a', undefined],
    ] as const) {
      it(`is ${other ?? 'none'} for ${name} next to ${there}, ${where}`, async () => {
        assert.equal(await conflict(there, name, foldsCase), other)
      })
    }

    for (const [there, name] of [
      ['Movie.mp4', 'movie.MP4'],
      ['A', 'a/b'],
      ['A/b', 'a'],
      ['straße', 'STRASSE'],
      ['ΟΔΟΣ', 'οδος'],
    ] as const) {
      const other = foldsCase ? there : undefined
      it(`is ${other ?? 'none'} for ${name} next to ${there}, ${where}`, async () => {
        assert.equal(await conflict(there, name, foldsCase), other)
      })
    }
  }
})
