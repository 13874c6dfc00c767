import assert from 'node:assert/strict'
import type { TestCases } from '../testCases.ts'
import { storageCases, type Try } from './fixture.ts'
import { claimed, contentOf, fill, hello } from './steps.ts'

/** The promises of a full storage. */
export function roomCases(kind: string, trying: Try, skipped?: string): TestCases {
  return storageCases(
    `a full ${kind} storage`,
    trying,
    (it) => {
      it('refuses bytes that do not fit, keeps the others, and continues when there is space again', async ({
        storage,
      }) => {
        const other = await claimed(storage, { name: 'b' })
        await fill(storage, other.claim, new Uint8Array(1_500_000))
        const { claim } = await claimed(storage)
        await using file = await storage.files.open(claim)
        await file.write(0, [hello])
        const { free } = await storage.files.space()
        await assert.rejects(file.write(5, [new Uint8Array(4_000_000)]), { code: 'disk-full' })
        assert.deepEqual([file.length, (await storage.files.space()).free], [5, free])
        await storage.transfers.remove('alice', 'b')
        await storage.files.remove('alice', 'b')
        await file.write(5, [new Uint8Array(1_000_000).fill(33)])
        await file.flush()
        assert.equal(file.length, 1_000_005)
        assert.equal((await contentOf(storage, claim)).slice(0, 7), 'hello!!')
      }, 4_000_000)

      it('has less free space with each message', async ({ storage }) => {
        const before = await storage.files.space()
        assert.ok(before.free <= before.total && before.total <= 4_100_000)
        await fill(storage, (await claimed(storage)).claim, new Uint8Array(1_000_000))
        assert.ok((await storage.files.space()).free <= before.free - 1_000_000)
        const held = await storage.files.heldBytes('alice', 'a')
        assert.ok(held >= 1_000_000 && held < 1_000_000 + 2 * before.blockBytes, `${held}`)
        assert.equal(await storage.files.heldBytes('alice', 'none'), 0)
      }, 4_000_000)
    },
    skipped,
  )
}
