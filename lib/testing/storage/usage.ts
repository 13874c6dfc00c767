import assert from 'node:assert/strict'
import type { TestCases } from '../testCases.ts'
import { storageCases, type Try } from './fixture.ts'
import { claimed, fill, hello, recordsOf, start, upload, wanted } from './steps.ts'

/** The promises of `FileStore.used`, and of the other sums for a quota. */
export function* usageCases(kind: string, trying: Try): TestCases {
  yield* storageCases(`the bytes of a user in a ${kind} storage`, trying, (it) => {
    it('are those of all published files, including folders, and of no other user', async (fixture) => {
      assert.equal(await fixture.storage.files.used('alice'), 0)
      await upload(fixture.storage, { name: 'x' })
      await upload(fixture.storage, { name: 'y/z/x', size: 3 }, new Uint8Array(3))
      await upload(fixture.storage, { name: 'empty', size: 0 }, new Uint8Array(0))
      await upload(fixture.storage, { user: 'bob', name: 'x' })
      await fixture.restart()
      assert.equal(await fixture.storage.files.used('alice'), hello.length + 3)
      assert.equal(await fixture.storage.files.used('bob'), hello.length)
      assert.equal(await fixture.storage.files.used('carol'), 0)
    })

    it('are counted for one name on request', async ({ storage }) => {
      await upload(storage, { name: 'y/z', size: 3 }, new Uint8Array(3))
      await upload(storage, { name: 'x' })
      assert.equal(await storage.files.used('alice', 'y/z'), 3)
      assert.equal(await storage.files.used('alice', 'y'), 0)
      assert.equal(await storage.files.used('alice', 'none'), 0)
    })

    it('include a replacing file but not the replaced one, and no unfinished upload', async ({ storage }) => {
      await upload(storage)
      await upload(storage, { size: 3 }, new Uint8Array(3))
      const { claim } = await claimed(storage, { size: 9 }, start)
      await fill(storage, claim, new Uint8Array(9))
      assert.equal(await storage.files.used('alice'), 3)
    })

    it('include more files than one step reads', async ({ storage }) => {
      for (let at = 0; at < 70; at++) await upload(storage, { name: `${at}` })
      assert.equal(await storage.files.used('alice'), 70 * hello.length)
    })

    it('are part of the totals of files and folders, if there are any, and follow each publication', async (fixture) => {
      const usage = async (recount?: boolean) => {
        const { folders, ...totals } = (await fixture.storage.files.usage?.('alice', recount)) ?? { folders: 0 }
        return [totals, folders] as const
      }
      const check = async (files: number, bytes: number, folders: number) => {
        if (!fixture.storage.files.usage) return
        for (const recount of [false, true]) {
          const [totals, found] = await usage(recount)
          assert.deepEqual(totals, { bytes, files })
          // A store without folders counts none.
          assert.ok(found === folders || found === 0, `${found} folders, and not ${folders}`)
        }
      }
      await check(0, 0, 0)
      await upload(fixture.storage, { name: 'x' })
      await upload(fixture.storage, { name: 'y/z/x', size: 3 }, new Uint8Array(3))
      await upload(fixture.storage, { user: 'bob', name: 'x' })
      await check(2, hello.length + 3, 2)
      await upload(fixture.storage, { name: 'x', size: 3 }, new Uint8Array(3))
      await upload(fixture.storage, { name: 'y/x', size: 0 }, new Uint8Array(0))
      await check(3, 6, 2)
      const { claim } = await claimed(fixture.storage, { name: 'u', size: 9 }, start)
      await fill(fixture.storage, claim, new Uint8Array(9))
      await check(3, 6, 2)
      await fixture.restart()
      await check(3, 6, 2)
    })

    it('are separate from the totals of unfinished uploads, if there are any, which follow each change', async (fixture) => {
      const check = async (uploads: number, bytes: number) => {
        const totals = await fixture.storage.transfers.unfinished?.('alice')
        if (totals) assert.deepEqual(totals, { uploads, bytes })
      }
      await check(0, 0)
      const { claim } = await claimed(fixture.storage, { size: 9 })
      await claimed(fixture.storage, { user: 'bob' })
      await fill(fixture.storage, claim, new Uint8Array(9))
      await fixture.storage.transfers.checkpoint(claim, [{ offset: 4, digest: new Uint8Array() }], 1)
      await fixture.storage.transfers.checkpoint(claim, [{ offset: 9, digest: new Uint8Array() }], 1)
      await check(1, 9)
      await claimed(fixture.storage, { name: 'b' })
      await check(2, 9)
      await fixture.restart()
      await check(2, 9)
      await fixture.storage.transfers.remove('alice', 'a')
      await check(1, 0)
      await upload(fixture.storage, { name: 'b' })
      await check(0, 0)
    })

    it('are separate from records, which are found by their names, if the store supports it', async ({ storage }) => {
      const { record } = await claimed(storage)
      if (!storage.transfers.record) return
      assert.deepEqual(await storage.transfers.record('alice', 'a'), record)
      assert.equal(await storage.transfers.record('alice', 'b'), undefined)
      assert.equal(await storage.transfers.record('bob', 'a'), undefined)
    })

    it('are separate from records, which can be listed for one user', async ({ storage }) => {
      const { record } = await claimed(storage)
      await claimed(storage, { user: 'alice2' })
      await claimed(storage, { user: 'bob' })
      const records: unknown[] = []
      for await (const one of storage.transfers.records('alice')) records.push(one)
      assert.deepEqual(records, [record])
      assert.equal((await recordsOf(storage)).length, 3)
    })
  })

  yield* storageCases(`a completed upload in a ${kind} storage`, trying, (it) => {
    it('is found while its completion marker exists, and no other is', async (fixture) => {
      const { transfers } = fixture.storage
      assert.equal(await transfers.completed(wanted), undefined)
      const stored = await upload(fixture.storage, {}, hello, 60_000)
      assert.deepEqual(await transfers.completed(wanted), stored)
      assert.equal(await transfers.completed({ ...wanted, modifiedAt: 7 }), undefined)
      assert.equal(await transfers.completed({ ...wanted, name: 'b' }), undefined)
      fixture.wallTime += 60_001
      assert.equal(await transfers.completed(wanted), undefined)
    })
  })
}
