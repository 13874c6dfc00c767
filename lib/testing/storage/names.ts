import assert from 'node:assert/strict'
import type { TestCases } from '../testCases.ts'
import { storageCases, type Try } from './fixture.ts'
import { claimed, fill, recordsOf, resume, upload } from './steps.ts'

/** The promises of `TransferStore.claim` about names that are taken. */
export function namesCases(kind: string, trying: Try): TestCases {
  return storageCases(`an upload whose name is taken in a ${kind} storage`, trying, (it) => {
    const reject = { ...resume, onConflict: 'reject' } as const

    it('is refused if existing names are rejected', async ({ storage }) => {
      await upload(storage)
      await assert.rejects(claimed(storage, { size: 9 }, reject), { code: 'file-exists' })
      await assert.rejects(claimed(storage, { size: 9 }, { ...reject, fresh: true }), { code: 'file-exists' })
      assert.deepEqual(await recordsOf(storage), [])
    })

    it('continues if it began before the name was taken', async ({ storage }) => {
      const first = await claimed(storage, {}, reject)
      const other = await claimed(storage, { name: 'b' })
      await fill(storage, other.claim)
      await using file = await storage.files.open(other.claim)
      await file.publish('a', false)
      assert.ok((await claimed(storage, {}, reject)).claim.token > first.claim.token)
    })

    it('is granted if existing names are replaced or kept', async ({ storage }) => {
      await upload(storage)
      await claimed(storage, { size: 9 })
      await claimed(storage, { size: 9 }, { ...resume, onConflict: 'rename' })
    })

    for (const [first, second] of [
      ['a', 'a/b'],
      ['a/b', 'a'],
      ['a/b', 'a/b/c/d'],
      ['a/b/c/d', 'a/b'],
    ] as const) {
      it(`is refused as ${second} next to the record of ${first}, by its name`, async ({ storage }) => {
        await claimed(storage, { name: first })
        await assert.rejects(claimed(storage, { name: second }), {
          code: 'name-conflict',
          message: new RegExp(first),
        })
      })

      it(`is refused as ${second} next to the file ${first}`, async ({ storage }) => {
        await upload(storage, { name: first })
        await assert.rejects(claimed(storage, { name: second }), { code: 'name-conflict' })
      })
    }

    it('is granted next to names with the same beginning, and next to those of other users', async ({ storage }) => {
      await upload(storage, { name: 'a/b' })
      await claimed(storage, { name: 'a.b' })
      await claimed(storage, { name: 'a/bc' })
      await claimed(storage, { name: 'a0' })
      await claimed(storage, { user: 'bob' })
    })

    it('is granted once to concurrent claims of both names', async ({ storage }) => {
      const answers = await Promise.allSettled([claimed(storage), claimed(storage, { name: 'a/b' })])
      assert.deepEqual(
        answers.map(({ status }) => status),
        ['fulfilled', 'rejected'],
      )
    })

    it('is refused if its name could escape its folder', async ({ storage }) => {
      await assert.rejects(claimed(storage, { name: '../a' }), { code: 'bad-name' })
      await assert.rejects(claimed(storage, { user: '..' }), { code: 'bad-name' })
    })
  })
}
