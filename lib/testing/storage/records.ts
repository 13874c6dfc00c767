import assert from 'node:assert/strict'
import type { Checkpoint } from '../../ports/storage.ts'
import type { TestCases } from '../testCases.ts'
import { storageCases, type Try } from './fixture.ts'
import { claimed, fileOf, fill, owner, recordsOf, resume } from './steps.ts'

/** The promises of the transfer store about records. */
export function recordsCases(kind: string, trying: Try): TestCases {
  const at = (offset: number): Checkpoint => ({ offset, digest: Uint8Array.of(1, 2, offset) })

  return storageCases(`the record of an upload in a ${kind} storage`, trying, (it) => {
    it('has the checkpoints that were set last, also after a restart', async (fixture) => {
      const { claim } = await claimed(fixture.storage)
      await fill(fixture.storage, claim)
      await fixture.storage.transfers.checkpoint(claim, [at(1), at(2)], 2_000_000)
      await fixture.storage.transfers.checkpoint(claim, [at(2), at(4)], 2_000_000)
      await fixture.restart()
      const [record] = await recordsOf(fixture.storage)
      assert.deepEqual(record?.checkpoints, [at(2), at(4)])
      assert.equal(record?.token, claim.token)
    })

    it('is verified after a restart if it was before', async (fixture) => {
      const { claim } = await claimed(fixture.storage)
      await fixture.storage.transfers.verified(claim, fileOf({}, 'a (1)'))
      await fixture.restart()
      assert.deepEqual((await recordsOf(fixture.storage))[0]?.verified, fileOf({}, 'a (1)'))
    })

    it('has the time of its last change', async (fixture) => {
      const { claim } = await claimed(fixture.storage)
      await fixture.storage.transfers.checkpoint(claim, [], 2_000_000)
      assert.equal((await recordsOf(fixture.storage))[0]?.updatedAt, 2_000_000)
    })

    it('can be written with its token after a restart', async (fixture) => {
      const { claim } = await claimed(fixture.storage)
      await fixture.restart()
      await fixture.storage.transfers.checkpoint(claim, [at(1)], 2_000_000)
      assert.deepEqual((await recordsOf(fixture.storage))[0]?.checkpoints, [at(1)])
    })

    it('gets a higher token after a restart', async (fixture) => {
      const { claim } = await claimed(fixture.storage)
      await fixture.restart()
      assert.ok((await claimed(fixture.storage)).claim.token > claim.token)
    })

    it('refuses every change under an older claim', async ({ storage }) => {
      const { claim } = await claimed(storage)
      const { record } = await claimed(storage, {}, resume, owner(2))
      await assert.rejects(storage.transfers.checkpoint(claim, [at(1)], 2_000_000), { code: 'superseded' })
      await assert.rejects(storage.transfers.verified(claim, fileOf()), { code: 'superseded' })
      await assert.rejects(storage.transfers.complete(claim, 1_000), { code: 'superseded' })
      assert.deepEqual(await recordsOf(storage), [record])
    })

    it('is gone after it was removed, and only the first removal returns true', async (fixture) => {
      const { claim } = await claimed(fixture.storage)
      assert.equal(await fixture.storage.transfers.remove('alice', 'a'), true)
      assert.equal(await fixture.storage.transfers.remove('alice', 'a'), false)
      await assert.rejects(fixture.storage.transfers.checkpoint(claim, [], 2_000_000), { code: 'superseded' })
      await fixture.restart()
      assert.deepEqual(await recordsOf(fixture.storage), [])
    })

    it('keeps its changes if a claim comes while it is being changed', async ({ storage }) => {
      const { claim } = await claimed(storage)
      const [checkpoint, second] = await Promise.all([
        storage.transfers.checkpoint(claim, [at(1)], 2_000_000).then(() => 'stored'),
        claimed(storage, {}, resume, owner(2)),
      ])
      assert.equal(checkpoint, 'stored')
      assert.deepEqual(second.record.checkpoints, [at(1)])
    })

    it('is listed with those of all users', async ({ storage }) => {
      await claimed(storage, { name: 'c' })
      await claimed(storage, { name: 'b', user: 'bob' })
      assert.deepEqual(
        (await recordsOf(storage)).map(({ user, name }) => `${user}/${name}`),
        ['bob/b', 'alice/c'],
      )
    })

    it('is removed by `expire` if it is old and not verified, and returned', async ({ storage }) => {
      const { claim, record } = await claimed(storage)
      await claimed(storage, { name: 'b' })
      const kept = await claimed(storage, { name: 'c' })
      await storage.transfers.verified(kept.claim, fileOf({ name: 'c' }))
      const { transfers } = storage
      assert.equal(await transfers.expire('alice', 'a', resume.at), undefined)
      assert.deepEqual(await transfers.expire('alice', 'a', resume.at + 1), record)
      assert.equal(await transfers.expire('alice', 'a', resume.at + 1), undefined)
      assert.equal(await transfers.expire('alice', 'c', resume.at + 1), undefined)
      await assert.rejects(transfers.checkpoint(claim, [], resume.at), { code: 'superseded' })
      assert.deepEqual(
        (await recordsOf(storage)).map(({ name }) => name),
        ['b', 'c'],
      )
    })

    it('cannot be read or changed while the storage is closed', async ({ storage }) => {
      const { claim } = await claimed(storage)
      await storage[Symbol.asyncDispose]()
      const closed = { code: 'closed' }
      await assert.rejects(claimed(storage), closed)
      await assert.rejects(storage.transfers.checkpoint(claim, [], 2_000_000), closed)
      await assert.rejects(storage.transfers.remove('alice', 'a'), closed)
      await assert.rejects(storage.transfers.forget('alice', 'a'), closed)
      await assert.rejects(recordsOf(storage), closed)
    })
  })
}
