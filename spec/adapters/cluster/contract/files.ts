import assert from 'node:assert/strict'
import type { FileRecord } from '../../../../lib/storage/catalogue/fileRecords.ts'
import type { Checks } from '../../../../lib/testing/testCases.ts'
import { declaredDead, type SharedStoreFixture } from './fixture.ts'
import { announcedFiles, claimed, farAway, fileOf, foundBy, grantTo, marked, twoServers, upload } from './uploads.ts'

const record: FileRecord = {
  ...{ user: 'alice', name: 'a/b.txt', version: 'v1', size: 1_000, modifiedAt: upload.modifiedAt, algorithm: 'sha256' },
  ...{ digest: 'abcd', metadata: { contentType: 'text/plain', käse: '1' } },
}

const change = { fence: 'f', user: 'alice', name: 'a/b.txt', version: 'v1' }
const renaming = { fence: 'g', user: 'alice', name: 'other', newName: 'a/b.txt', version: 'v2' }
const stored = { ...fileOf(upload), storedName: upload.name }
const nothing = { changes: [], unpublished: [], unfinished: [] }

/** The promises of `FileSteps`. */
export const fileChecks: Checks<SharedStoreFixture> = {
  'have a record for each version, which other servers read': async (store) => {
    const { first, second } = await twoServers(store)
    const later = { ...record, version: 'v2', metadata: {} }
    const { modifiedAt: _, ...unsent } = { ...record, name: 'ä', user: 'bob' }
    for (const _ of ['once', 'again']) await first.steps.files.put([record, later, unsent])
    const { files } = second.steps
    const missing = { ...record, version: 'v3' }
    assert.deepEqual(await files.get([later, missing, record, unsent]), [later, undefined, record, unsent])
    // A record of a version that has one is not replaced.
    await files.put([{ ...record, metadata: {} }])
    assert.deepEqual(await files.page(undefined, 2), [record, later])
    assert.deepEqual(await files.page(later, 2), [unsent])
    // Another server may have stored them just now.
    await files.prune('alice', 'a/b.txt', 'v2')
    assert.deepEqual(await files.get([record, later]), [record, later])
  },
  'keep the metadata of their uploads, also under the next claim': async (store) => {
    const { first, second, one, two } = await twoServers(store)
    const { metadata } = record
    await claimed(first, one, upload, grantTo(one, { ...upload, metadata }))
    assert.deepEqual((await second.steps.transfers.record('alice', 'a/b.txt'))?.metadata, metadata)
    const found = await foundBy(second, two, upload)
    assert.deepEqual([found.record?.metadata, found.files], [metadata, []])
    const { claim } = await claimed(second, two, upload, grantTo(two, { ...upload, metadata }))
    await second.steps.transfers.verified(claim, stored, 'v1')
    for (const _ of ['once', 'again']) assert.equal(await second.steps.transfers.complete(claim, 0), true)
    const { algorithm, digest } = stored
    const known = { ...record, algorithm, digest, size: upload.size }
    assert.deepEqual((await foundBy(first, one, upload)).files, [known])
    assert.deepEqual(await first.steps.files.get([known]), [known])
    await first.steps.transfers.reported([upload])
    const { modifiedAt: _, ...unsent } = known
    const others = [
      { ...upload, modifiedAt: 1 },
      { ...upload, size: 1 },
      { ...upload, storeAs: 'other' },
    ]
    for (const other of others) await first.steps.transfers.forget(other, digest)
    assert.deepEqual(await first.steps.files.get([known]), [known])
    await first.steps.transfers.forget(upload, digest)
    assert.deepEqual(await first.steps.files.get([known]), [unsent])
  },
  'have a record once an announced file is published; its marker counts before': async (store) => {
    const { first, second } = await twoServers(store)
    const { size, algorithm, digest } = stored
    const known = { ...record, size, algorithm, digest, metadata: {} }
    const announced = { file: stored, version: 'v1', modifiedAt: upload.modifiedAt, source: 's' }
    await first.steps.transfers.announce(first.server, [announced], farAway)
    assert.deepEqual(await second.steps.files.get([known]), [known])
    assert.deepEqual(await second.steps.files.page(undefined, 9), [])
    for (const _ of ['once', 'again'])
      await first.steps.transfers.settle([{ user: 'alice', name: 'a/b.txt', source: 's', isStored: true }])
    assert.deepEqual(await second.steps.files.page(undefined, 9), [known])
  },
  'are changed by one server at a time: another one must end the change first': async (store) => {
    const { first, second, two } = await twoServers(store)
    for (const _ of ['once', 'again'])
      assert.deepEqual(await first.steps.files.begin(first.server, change, [], undefined), nothing)
    const { files, transfers } = second.steps
    const found = await files.begin(second.server, renaming, [], undefined)
    assert.deepEqual(found, { ...nothing, changes: [change] })
    assert.deepEqual(await files.begin(second.server, { ...renaming, user: 'bob' }, [], undefined), nothing)
    await files.end(['g'])
    assert.deepEqual(await files.recorded(['f', 'g']), ['f'])
    assert.deepEqual(await files.begin(second.server, renaming, ['f'], undefined), nothing)
    const again = await first.steps.files.begin(first.server, { ...change, fence: 'h' }, [], undefined)
    assert.deepEqual(again, { ...nothing, changes: [renaming] })
    const announced = [{ file: stored, version: 'v', modifiedAt: 1, source: 's' }]
    assert.deepEqual((await foundBy(second, two, upload)).changes, [renaming])
    const { claim } = await claimed(second, two, upload)
    const refused = { ...announcedFiles, changes: [renaming] }
    assert.deepEqual(await first.steps.transfers.announce(first.server, announced, farAway), refused)
    const verified = { ...marked, changes: [renaming] }
    assert.deepEqual(await transfers.verified(claim, stored, 'v1'), verified)
    assert.equal((await transfers.record('alice', 'a/b.txt'))?.verified, undefined)
    for (const _ of ['once', 'again']) await files.end(['g'])
    assert.deepEqual(await transfers.verified(claim, stored, 'v1'), marked)
  },
  'are not changed while an upload of this name is about to be stored': async (store) => {
    const { first, second, one } = await twoServers(store)
    const announced = { file: stored, version: 'v1', modifiedAt: 1, source: 's' }
    await first.steps.transfers.announce(first.server, [announced], farAway)
    const { files } = second.steps
    const found = { ...nothing, unpublished: [announced] }
    assert.deepEqual(await files.begin(second.server, renaming, [], undefined), found)
    await first.steps.transfers.settle([{ user: 'alice', name: 'a/b.txt', source: 's', isStored: false }])
    const { claim } = await claimed(first, one, upload)
    await first.steps.transfers.verified(claim, stored, 'v1')
    await assert.rejects(files.begin(second.server, renaming, [], undefined), { code: 'file-busy' })
    // A fault has kept the upload from being completed.
    await first.steps.transfers.release([claim])
    const unfinished = [await first.steps.transfers.record('alice', upload.name)]
    assert.deepEqual(await files.begin(second.server, renaming, [], undefined), { ...nothing, unfinished })
    assert.deepEqual(await files.recorded(['g']), [])
    await first.steps.transfers.complete(claim, farAway)
    assert.deepEqual(await files.begin(second.server, renaming, [], undefined), nothing)
  },
  'are not changed while a link holds an upload of this name, which may replace them': async (store) => {
    const { first, second, one } = await twoServers(store)
    const { claim } = await claimed(first, one, upload)
    const { files } = second.steps
    for (const busy of [change, renaming, { ...renaming, name: 'a/b.txt', newName: 'other' }])
      await assert.rejects(files.begin(second.server, busy, [], undefined), { code: 'file-busy' })
    await first.steps.transfers.release([claim])
    assert.deepEqual(await files.begin(second.server, change, [], undefined), nothing)
  },
  'are changed only for the present link of a session': async (store) => {
    const { first, second, one } = await twoServers(store)
    await second.steps.openSession({ ...one, server: second.server, link: 9 }, 2)
    await assert.rejects(first.steps.files.begin(first.server, change, [], one), { code: 'link-lost' })
    assert.deepEqual(await second.steps.files.begin(second.server, { ...change, fence: 'h' }, [], undefined), nothing)
  },
  'whose change a dead server has begun are found by the others': async (store) => {
    const { first, second } = await twoServers(store, 1)
    await first.steps.renew(first.server, 600_000, 0, {})
    await first.steps.files.begin(first.server, change, [], undefined)
    assert.deepEqual((await second.steps.transfers.abandoned()).changes, [])
    await first.steps.renew(first.server, 1, 0, {})
    await declaredDead(second, first.server)
    assert.deepEqual((await second.steps.transfers.abandoned()).changes, [change])
  },
}
