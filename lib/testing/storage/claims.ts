import assert from 'node:assert/strict'
import type { TestCases } from '../testCases.ts'
import { storageCases, type Try } from './fixture.ts'
import { claimed, contentOf, fill, owner, recordsOf, resume, start, takeOver, wanted } from './steps.ts'

/** The promises of `TransferStore.claim`. */
export function* claimsCases(kind: string, trying: Try): TestCases {
  const at = (offset: number) => ({ offset, digest: Uint8Array.of(offset) })

  yield* storageCases(`claiming an upload in a ${kind} storage`, trying, (it) => {
    it('makes a record without checkpoints if there is none', async ({ storage }) => {
      const { claim, record } = await claimed(storage)
      assert.deepEqual(record, {
        ...wanted,
        token: claim.token,
        owner: owner(1),
        superseded: [],
        checkpoints: [],
        updatedAt: resume.at,
      })
      assert.deepEqual(await recordsOf(storage), [record])
    })

    it('continues the record of the same upload with a higher token and the new owner', async ({ storage }) => {
      const first = await claimed(storage)
      await storage.transfers.checkpoint(first.claim, [at(3)], 2_000_000)
      const second = await claimed(storage, {}, resume, owner(2))
      assert.ok(second.claim.token > first.claim.token)
      assert.deepEqual(second.record.checkpoints, [at(3)])
      assert.deepEqual(second.record.owner, owner(2))
    })

    for (const other of [{ size: 6 }, { modifiedAt: 2_000 }, { algorithm: 'md5' }] as const) {
      it(`begins at zero if ${Object.keys(other)} differs`, async ({ storage }) => {
        const first = await claimed(storage)
        await fill(storage, first.claim)
        await storage.transfers.checkpoint(first.claim, [at(3)], 2_000_000)
        const second = await claimed(storage, other)
        assert.ok(second.claim.token > first.claim.token)
        assert.deepEqual(second.record.checkpoints, [])
        assert.equal(await contentOf(storage, second.claim), '')
      })
    }

    it('begins at zero if it is fresh', async ({ storage }) => {
      const first = await claimed(storage)
      await fill(storage, first.claim)
      await storage.transfers.checkpoint(first.claim, [at(3)], 2_000_000)
      const second = await claimed(storage, {}, start)
      assert.ok(second.claim.token > first.claim.token)
      assert.deepEqual(second.record.checkpoints, [])
      assert.equal(await contentOf(storage, second.claim), '')
    })

    it('keeps the bytes of the same upload', async ({ storage }) => {
      await fill(storage, (await claimed(storage)).claim)
      assert.equal(await contentOf(storage, (await claimed(storage)).claim), 'hello')
    })

    it('gives a higher token to an upload that was removed and starts again', async ({ storage }) => {
      const first = await claimed(storage)
      await storage.transfers.remove('alice', 'a')
      assert.ok((await claimed(storage)).claim.token > first.claim.token)
    })

    it('is granted one after another to concurrent callers', async ({ storage }) => {
      const all = await Promise.all([1, 2, 3, 4, 5].map((session) => claimed(storage, {}, resume, owner(session))))
      const tokens = all.map(({ claim }) => claim.token)
      assert.equal(new Set(tokens).size, tokens.length)
      assert.deepEqual(
        (await recordsOf(storage)).map(({ token }) => token),
        [Math.max(...tokens)],
      )
    })
  })

  yield* storageCases(`taking over an upload in a ${kind} storage`, trying, (it) => {
    it('refuses the session that lost the upload', async ({ storage }) => {
      await claimed(storage)
      const { record } = await claimed(storage, {}, takeOver, owner(2))
      assert.deepEqual(record.superseded, [owner(1).session])
      await assert.rejects(claimed(storage, {}, takeOver, owner(1)), { code: 'superseded' })
    })

    it('refuses that session also for another upload of the name, and after a restart', async (fixture) => {
      await claimed(fixture.storage)
      await claimed(fixture.storage, {}, takeOver, owner(2))
      await fixture.restart()
      await assert.rejects(claimed(fixture.storage, { size: 9 }), { code: 'superseded' })
    })

    it('lets that session start from the beginning', async ({ storage }) => {
      await claimed(storage)
      await claimed(storage, {}, takeOver, owner(2))
      const { record } = await claimed(storage, {}, start)
      assert.deepEqual(record.superseded, [])
    })

    it('lets a session reclaim its own upload', async ({ storage }) => {
      await claimed(storage)
      const { record } = await claimed(storage, {}, takeOver)
      assert.deepEqual(record.superseded, [])
    })

    it('supersedes no session whose link has ended', async ({ storage }) => {
      await claimed(storage)
      await claimed(storage, {}, resume, owner(2))
      assert.deepEqual((await claimed(storage)).record.superseded, [])
    })

    it('remembers the last eight sessions, also when the upload begins at zero', async ({ storage }) => {
      await claimed(storage)
      for (let session = 2; session <= 11; session++) await claimed(storage, {}, takeOver, owner(session))
      const { record } = await claimed(storage, {}, start, owner(11))
      assert.deepEqual(
        record.superseded,
        [3, 4, 5, 6, 7, 8, 9, 10].map((session) => owner(session).session),
      )
    })
  })
}
