import assert from 'node:assert/strict'
import type { Checkpoint } from '../../ports/storage.ts'
import type { Checks } from '../testCases.ts'
import type { TestedStorage } from './fixture.ts'
import { claimed, fileOf, fill, owner, resume, uploadRecordsOf } from './steps.ts'

const at = (offset: number): Checkpoint => ({ offset, digest: Uint8Array.of(1, 2, offset) })

/** The promises of the transfer store about records. */
export const recordsChecks: Checks<TestedStorage> = {
  'has the checkpoints that were set last, also after a restart': async (storage) => {
    const { claim } = await claimed(storage)
    await fill(storage, claim)
    await storage.transfers.checkpoint(claim, [at(1), at(2)], 2_000_000)
    await storage.transfers.checkpoint(claim, [at(2), at(4)], 2_000_000)
    await storage.restart()
    const [record] = await uploadRecordsOf(storage)
    assert.deepEqual([record?.checkpoints, record?.token], [[at(2), at(4)], claim.token])
  },
  'is verified after a restart if it was before': async (storage) => {
    const { claim } = await claimed(storage)
    await storage.transfers.verified(claim, fileOf({}, 'a (1)'))
    await storage.restart()
    assert.deepEqual((await uploadRecordsOf(storage))[0]?.verified, fileOf({}, 'a (1)'))
  },
  'has the time of its last change': async (storage) => {
    const { claim } = await claimed(storage)
    await storage.transfers.checkpoint(claim, [], 2_000_000)
    assert.equal((await uploadRecordsOf(storage))[0]?.updatedAt, 2_000_000)
  },
  'can be written with its token after a restart': async (storage) => {
    const { claim } = await claimed(storage)
    await storage.restart()
    await storage.transfers.checkpoint(claim, [at(1)], 2_000_000)
    assert.deepEqual((await uploadRecordsOf(storage))[0]?.checkpoints, [at(1)])
  },
  'gets a higher token after a restart': async (storage) => {
    const { claim } = await claimed(storage)
    await storage.restart()
    assert.ok((await claimed(storage)).claim.token > claim.token)
  },
  'refuses every change under an older claim': async (storage) => {
    const { transfers } = storage
    const { claim } = await claimed(storage)
    const { record } = await claimed(storage, {}, resume, owner(2))
    const superseded = { code: 'superseded' }
    await assert.rejects(transfers.checkpoint(claim, [at(1)], 2_000_000), superseded)
    await assert.rejects(transfers.verified(claim, fileOf()), superseded)
    await assert.rejects(transfers.complete(claim, 1_000), superseded)
    assert.deepEqual(await uploadRecordsOf(storage), [record])
  },
  'is gone after it was removed, and only the first removal returns true': async (storage) => {
    const { claim } = await claimed(storage)
    assert.equal(await storage.transfers.remove('alice', 'a'), true)
    assert.equal(await storage.transfers.remove('alice', 'a'), false)
    await assert.rejects(storage.transfers.checkpoint(claim, [], 2_000_000), { code: 'superseded' })
    await storage.restart()
    assert.deepEqual(await uploadRecordsOf(storage), [])
  },
  'keeps its changes if a claim comes while it is being changed': async (storage) => {
    const { claim } = await claimed(storage)
    const change = storage.transfers.checkpoint(claim, [at(1)], 2_000_000)
    const [, second] = await Promise.all([change, claimed(storage, {}, resume, owner(2))])
    assert.deepEqual(second.record.checkpoints, [at(1)])
  },
  'is listed with those of all users': async (storage) => {
    await claimed(storage, { name: 'c' })
    await claimed(storage, { name: 'b', user: 'bob' })
    const records = await uploadRecordsOf(storage)
    const names = records.map(({ user, name }) => `${user}/${name}`)
    assert.deepEqual(names, ['bob/b', 'alice/c'])
  },
  'is removed by `expire` if it is old and not verified, and returned': async (storage) => {
    const { transfers } = storage
    const { claim, record } = await claimed(storage)
    await claimed(storage, { name: 'b' })
    const kept = await claimed(storage, { name: 'c' })
    await transfers.verified(kept.claim, fileOf({ name: 'c' }))
    assert.equal(await transfers.expire('alice', 'a', resume.at), undefined)
    assert.deepEqual(await transfers.expire('alice', 'a', resume.at + 1), record)
    assert.equal(await transfers.expire('alice', 'a', resume.at + 1), undefined)
    assert.equal(await transfers.expire('alice', 'c', resume.at + 1), undefined)
    await assert.rejects(transfers.checkpoint(claim, [], resume.at), { code: 'superseded' })
    const records = await uploadRecordsOf(storage)
    const names = records.map(({ name }) => name)
    assert.deepEqual(names, ['b', 'c'])
  },
  'cannot be read or changed while the storage is closed': async (storage) => {
    const { transfers } = storage
    const { claim } = await claimed(storage)
    await storage.close()
    const closed = { code: 'closed' }
    await assert.rejects(claimed(storage), closed)
    await assert.rejects(transfers.checkpoint(claim, [], 2_000_000), closed)
    await assert.rejects(transfers.remove('alice', 'a'), closed)
    await assert.rejects(transfers.forget('alice', 'a'), closed)
    await assert.rejects(uploadRecordsOf(storage), closed)
  },
}
