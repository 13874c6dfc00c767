import assert from 'node:assert/strict'
import type { Checks } from '../testCases.ts'
import type { TestedStorage } from './fixture.ts'
import { claimed, fill, hello, opened, textBytes, upload, uploadRecordsOf } from './steps.ts'

async function checkUsage(storage: TestedStorage, files: number, bytes: number, folders: number): Promise<void> {
  for (const recount of [false, true]) {
    const usage = await storage.files.usage?.('alice', recount)
    if (!usage) return
    // A store without folders counts none.
    assert.ok([0, folders].includes(usage.folders), `${usage.folders} folders, and not ${folders}`)
    assert.deepEqual(usage, { bytes, files, folders: usage.folders })
  }
}

async function checkUnfinished(storage: TestedStorage, uploads: number, bytes: number): Promise<void> {
  const totals = await storage.transfers.unfinished?.('alice')
  if (totals) assert.deepEqual(totals, { uploads, bytes })
}

/** The promises of `FileStore.used`, and of the other sums for a quota. */
export const usageChecks: Checks<TestedStorage> = {
  'are those of all published files, including folders, and of no other user': async (storage) => {
    assert.equal(await storage.files.used('alice'), 0)
    await upload(storage, { name: 'x' })
    await upload(storage, { name: 'y/z/x', size: 3 }, textBytes('new'))
    await upload(storage, { name: 'empty', size: 0 }, textBytes(''))
    await upload(storage, { user: 'bob', name: 'x' })
    await storage.restart()
    assert.equal(await storage.files.used('alice'), hello.length + 3)
    assert.equal(await storage.files.used('bob'), hello.length)
    assert.equal(await storage.files.used('carol'), 0)
  },
  'are counted for one name on request': async (storage) => {
    await upload(storage, { name: 'y/z', size: 3 }, textBytes('new'))
    await upload(storage, { name: 'x' })
    assert.equal(await storage.files.used('alice', 'y/z'), 3)
    assert.equal(await storage.files.used('alice', 'y'), 0)
    assert.equal(await storage.files.used('alice', 'none'), 0)
  },
  'include a replacing file but not the replaced one, and no unfinished upload': async (storage) => {
    await upload(storage)
    await upload(storage, { size: 3 }, textBytes('new'))
    await opened(storage, { size: 9 }, new Uint8Array(9))
    assert.equal(await storage.files.used('alice'), 3)
  },
  'include more files than one step reads': async (storage) => {
    for (let at = 0; at < 70; at++) await upload(storage, { name: `${at}` })
    assert.equal(await storage.files.used('alice'), 70 * hello.length)
  },
  'are part of the totals of files and folders, if there are any, and follow each publication': async (storage) => {
    await checkUsage(storage, 0, 0, 0)
    await upload(storage, { name: 'x' })
    await upload(storage, { name: 'y/z/x', size: 3 }, textBytes('new'))
    await upload(storage, { user: 'bob', name: 'x' })
    await checkUsage(storage, 2, hello.length + 3, 2)
    await upload(storage, { name: 'x', size: 3 }, textBytes('new'))
    await upload(storage, { name: 'y/x', size: 0 }, textBytes(''))
    await checkUsage(storage, 3, 6, 2)
    await opened(storage, { name: 'u', size: 9 }, new Uint8Array(9))
    await checkUsage(storage, 3, 6, 2)
    await storage.restart()
    await checkUsage(storage, 3, 6, 2)
  },
  'are separate from the totals of unfinished uploads, if there are any, which follow each change': async (storage) => {
    await checkUnfinished(storage, 0, 0)
    const { claim } = await claimed(storage, { size: 9 })
    await claimed(storage, { user: 'bob' })
    await fill(storage, claim, new Uint8Array(9))
    await storage.transfers.checkpoint(claim, [{ offset: 4, digest: new Uint8Array() }], 1)
    await storage.transfers.checkpoint(claim, [{ offset: 9, digest: new Uint8Array() }], 1)
    await checkUnfinished(storage, 1, 9)
    await claimed(storage, { name: 'b' })
    await checkUnfinished(storage, 2, 9)
    await storage.restart()
    await checkUnfinished(storage, 2, 9)
    await storage.transfers.remove('alice', 'a')
    await checkUnfinished(storage, 1, 0)
    await upload(storage, { name: 'b' })
    await checkUnfinished(storage, 0, 0)
  },
  'are separate from records, which are found by their names, if the store supports it': async (storage) => {
    const { transfers } = storage
    const { record } = await claimed(storage)
    if (!transfers.record) return
    assert.deepEqual(await transfers.record('alice', 'a'), record)
    assert.equal(await transfers.record('alice', 'b'), undefined)
    assert.equal(await transfers.record('bob', 'a'), undefined)
  },
  'are separate from records, which can be listed for one user': async (storage) => {
    const { record } = await claimed(storage)
    await claimed(storage, { user: 'alice2' })
    await claimed(storage, { user: 'bob' })
    assert.deepEqual(await uploadRecordsOf(storage, 'alice'), [record])
    assert.equal((await uploadRecordsOf(storage)).length, 3)
  },
}
