import assert from 'node:assert/strict'
import type { Claim } from '../../../../lib/ports/storage.ts'
import type { Checks } from '../../../../lib/testing/testCases.ts'
import { declaredDead, type SharedStoreFixture, type TestedServer } from './fixture.ts'
import {
  announcedFiles,
  checkpointed,
  checkpointOf,
  claimed,
  completed,
  farAway,
  fileOf,
  foundBy,
  grantTo,
  marked,
  superseded,
  twoServers,
  upload,
  uploadOf,
} from './uploads.ts'

/** The promises of completion markers. */
export const markerChecks: Checks<SharedStoreFixture> = {
  'are announced for files that are about to be stored, and replace the records of these names': async (store) => {
    const { first, second, one } = await twoServers(store)
    const { claim } = await claimed(first, one, upload)
    const kept = await claimed(first, one, uploadOf('alice', 'kept'))
    const announced = [upload, uploadOf('alice', 'small')].map((each, at) => ({
      ...{ file: fileOf(each), version: `v${at}`, modifiedAt: at },
    }))
    const { transfers } = second.steps
    for (const _ of ['once', 'again']) await transfers.announce(second.server, announced, farAway)
    assert.deepEqual(await transfers.marker('alice', 'a/b.txt'), announced[0])
    assert.deepEqual(await transfers.marker('alice', 'small'), announced[1])
    assert.deepEqual(await transfers.records('alice', undefined, 9), [kept.record])
    assert.deepEqual(await first.steps.transfers.ended([claim.token]), [{ token: claim.token, ...superseded }])
    assert.deepEqual(await checkpointed(first, claim, 1), [false])
    assert.equal(await first.steps.transfers.complete(claim, farAway), false)
  },
  'of files that may not be published yet are replaced only by files that replace their sources': async (store) => {
    const { first, second, two } = await twoServers(store)
    const { transfers } = second.steps
    const [file, kept] = [fileOf(upload), fileOf(uploadOf('alice', 'kept'))]
    const announced = (version: string) => ({
      ...{ file, version, modifiedAt: 1, source: `source of ${version}` },
    })
    const settled = (version: string, isStored: boolean) =>
      transfers.settle([{ user: 'alice', name: 'a/b.txt', source: `source of ${version}`, isStored }])
    for (const _ of ['once', 'again'])
      assert.deepEqual(await first.steps.transfers.announce(first.server, [announced('v1')], farAway), announcedFiles)
    const others = [{ file: kept, version: 'k', modifiedAt: 1, source: 'source of k' }]
    for (const _ of ['not reported', 'reported']) {
      const refused = await transfers.announce(second.server, [...others, announced('v2')], farAway)
      assert.deepEqual(refused, { ...announcedFiles, waiting: [{ ...announced('v1'), server: first.server }] })
      await transfers.reported([{ ...upload, version: 'v1' }])
    }
    assert.equal(await transfers.marker('alice', 'kept'), undefined)
    assert.equal((await foundBy(second, two, upload)).unpublished, 'source of v1')
    await settled('v1', true)
    assert.deepEqual(await transfers.announce(second.server, [announced('v2')], farAway), announcedFiles)
    assert.deepEqual(await transfers.marker('alice', 'a/b.txt'), { file, version: 'v2', modifiedAt: 1 })
    for (const isStored of [true, false]) await settled('v1', isStored)
    assert.equal((await foundBy(second, two, upload)).unpublished, 'source of v2')
    const [unreported] = await transfers.unreported(second.server)
    assert.deepEqual(unreported, { file, version: 'v2', modifiedAt: 1, source: 'source of v2' })
    for (const _ of ['once', 'again']) await settled('v2', true)
    assert.equal((await foundBy(second, two, upload)).unpublished, undefined)
    await transfers.reported([upload])
    assert.deepEqual(await transfers.announce(second.server, [announced('v3')], farAway), announcedFiles)
    for (const _ of ['once', 'again']) await settled('v3', false)
    assert.equal(await transfers.marker('alice', 'a/b.txt'), undefined)
  },
  'of files that were not reported are neither replaced nor removed': async (store) => {
    const { first, second, one, two } = await twoServers(store)
    const { transfers } = second.steps
    const file = fileOf(upload)
    const announced = [{ file, version: 'v2', modifiedAt: 1 }]
    await completed(first, one, upload)
    const { claim } = await claimed(second, two, upload)
    const marker = { file, version: 'v1', modifiedAt: upload.modifiedAt }
    const waiting = [{ ...marker, server: first.server }]
    assert.deepEqual(await transfers.announce(second.server, announced, farAway), { ...announcedFiles, waiting })
    assert.deepEqual(await transfers.verified(claim, file, 'v2'), { ...marked, waiting })
    assert.deepEqual(await transfers.forget(upload, file.digest), waiting[0])
    const record = await transfers.record('alice', 'a/b.txt')
    assert.deepEqual([record?.token, record?.verified], [claim.token, undefined])
    assert.deepEqual(await transfers.marker('alice', 'a/b.txt'), marker)
    await transfers.reported([{ ...upload, version: 'v1' }])
    assert.deepEqual(await transfers.verified(claim, file, 'v2'), marked)
  },
  'are not announced for names whose uploads are verified': async (store) => {
    const { first, second, one } = await twoServers(store)
    const announced = [{ file: fileOf(upload), version: 'v2', modifiedAt: 1 }]
    const { claim } = await claimed(first, one, upload)
    await first.steps.transfers.verified(claim, fileOf(upload), 'v1')
    const record = await first.steps.transfers.record('alice', 'a/b.txt')
    const refused = await second.steps.transfers.announce(second.server, announced, farAway)
    assert.deepEqual(refused, { ...announcedFiles, unfinished: [record] })
    assert.equal(await first.steps.transfers.complete(claim, farAway), true)
  },
  'are not stored for files that exceed the quota beside the other files of the user at all servers': async (store) => {
    const { first, second, one, two } = await twoServers(store)
    const announced = (at: TestedServer, name: string, room?: number, entries = 9) => {
      const adds = { growth: 10, entries: 1 }
      const file = { file: fileOf(uploadOf('alice', name)), version: name, modifiedAt: 1, source: name, adds }
      const how = room === undefined ? undefined : { growth: room, entries, entryBytes: 1 }
      return at.steps.transfers.announce(at.server, [file], farAway, undefined, how)
    }
    const refused = { ...announcedFiles, isOverQuota: true }
    const stored = announcedFiles
    assert.deepEqual(await announced(first, 'a', 9), refused)
    assert.deepEqual(await announced(first, 'a', 10), stored)
    // Repeated, it does not count itself.
    assert.deepEqual(await announced(first, 'a', 10), stored)
    assert.deepEqual(await announced(second, 'b', 19), refused)
    assert.deepEqual(await announced(second, 'b', 20, 1), refused)
    await claimed(first, one, upload, grantTo(one, upload, 1, 5))
    assert.deepEqual(await announced(second, 'b', 24), refused)
    assert.deepEqual(await announced(second, 'b', 25, 3), stored)
    const part = (growth: number, entries: number) => ({ growth, entries })
    const { others } = await foundBy(second, two, uploadOf('alice', 'other'))
    assert.deepEqual([others.reserved, others.announced, others.added], [part(5, 1), part(20, 2), part(0, 0)])
    const totals = await second.steps.transfers.totals('alice', [], second.server)
    assert.deepEqual([totals.announced, totals.added], [part(10, 1), part(0, 0)])
    const settled = (name: string, isStored: boolean) =>
      second.steps.transfers.settle([{ user: 'alice', name, source: name, isStored }])
    for (const _ of ['once', 'again']) await settled('a', true)
    await settled('b', false)
    await completed(second, two, uploadOf('alice', 'completed'))
    const later = (await foundBy(second, two, uploadOf('alice', 'other'))).others
    assert.deepEqual([later.announced, later.added], [part(0, 0), part(20, 2)])
    assert.deepEqual(await announced(second, 'c', 34), refused)
    assert.deepEqual(await announced(second, 'c', 35), stored)
  },
  'return the claims that announced files have ended': async (store) => {
    const { first, second, one } = await twoServers(store)
    const { claim } = await claimed(first, one, upload)
    const announced = [{ file: fileOf(upload), version: 'v', modifiedAt: 1 }]
    const { ended } = await second.steps.transfers.announce(second.server, announced, farAway)
    assert.deepEqual(ended, [{ ...claim, server: first.server, link: one.link }])
  },
  'can have any valid file name': async (store) => {
    const { first, one } = await twoServers(store)
    const { transfers } = first.steps
    const strange = ['NULL', '"', '{}', 'a,b', "O'Brien", '$1', '%s', '\u{1f600}'].map((name) =>
      uploadOf('alice', name),
    )
    const announced = strange.map((each) => ({ file: fileOf(each), version: `"${each.name}"`, modifiedAt: 1 }))
    await transfers.announce(first.server, announced, farAway)
    for (const each of announced) assert.deepEqual(await transfers.marker('alice', each.file.name), each)
    const claims: Claim[] = []
    for (const each of strange) claims.push((await claimed(first, one, each)).claim)
    const batch = claims.map((claim) => ({ claim, checkpoints: [checkpointOf(9)], at: 9 }))
    assert.ok((await transfers.checkpoint(batch)).every((holds) => holds))
    await transfers.release(claims)
    const records = await transfers.records('alice', undefined, 99)
    assert.deepEqual(new Set(records.map(({ name }) => name)), new Set(strange.map(({ name }) => name)))
    assert.ok(records.every(({ checkpoints }) => checkpoints.length === 1))
    assert.equal((await foundBy(first, one, upload)).otherNames.length, strange.length)
    await transfers.reported(strange)
    assert.deepEqual(await transfers.unreported(first.server), [])
  },
  'are unreported at first: their own server finds them, and so do other servers after its death': async (store) => {
    const { first, second, one } = await twoServers(store, 1)
    await first.steps.renew(first.server, 600_000, 0, {})
    await completed(first, one, upload)
    const small = { file: fileOf(uploadOf('alice', 'small')), version: 'v2', modifiedAt: 5 }
    const reported = { file: fileOf(uploadOf('alice', 'reported')), version: 'v3', modifiedAt: 6 }
    await first.steps.transfers.announce(first.server, [small, reported], farAway)
    await first.steps.transfers.reported([{ user: 'alice', name: 'reported' }])
    const expected = [{ file: fileOf(upload), version: 'v1', modifiedAt: upload.modifiedAt }, small]
    assert.deepEqual(new Set(await first.steps.transfers.unreported(first.server)), new Set(expected))
    assert.deepEqual(await second.steps.transfers.unreported(second.server), [])
    await first.steps.renew(first.server, 1, 0, {})
    await declaredDead(second, first.server)
    assert.deepEqual(new Set(await second.steps.transfers.unreported(second.server)), new Set(expected))
    for (const _ of ['once', 'again']) await second.steps.transfers.reported(expected.map(({ file }) => file))
    assert.deepEqual(await second.steps.transfers.unreported(second.server), [])
  },
  'of a name that is completed again must be reported again': async (store) => {
    const { first, one } = await twoServers(store)
    await completed(first, one, upload)
    await first.steps.transfers.reported([upload])
    await completed(first, one, upload)
    assert.equal((await first.steps.transfers.unreported(first.server)).length, 1)
    await first.steps.transfers.reported([{ ...upload, version: 'v0' }])
    assert.equal((await first.steps.transfers.unreported(first.server)).length, 1)
    await first.steps.transfers.reported([{ ...upload, version: 'v1' }])
    assert.deepEqual(await first.steps.transfers.unreported(first.server), [])
  },
  'are forgotten on request': async (store) => {
    const { first, one } = await twoServers(store)
    await completed(first, one, upload)
    await first.steps.transfers.reported([upload])
    for (const _ of ['once', 'again']) await first.steps.transfers.forget(upload, fileOf(upload).digest)
    assert.equal(await first.steps.transfers.marker('alice', 'a/b.txt'), undefined)
  },
  'stay when other uploads of their names, or files with other digests, are forgotten': async (store) => {
    const { first, one } = await twoServers(store)
    const { transfers } = first.steps
    const { digest } = fileOf(upload)
    await completed(first, one, upload)
    for (const _ of ['not reported', 'reported']) {
      for (const other of [{ modifiedAt: 1 }, { size: 1 }, { algorithm: 'md5' as const }])
        assert.equal(await transfers.forget({ ...upload, ...other }, digest), undefined)
      assert.equal(await transfers.forget(upload, 'ab02'), undefined)
      assert.notEqual(await transfers.marker('alice', 'a/b.txt'), undefined)
      await transfers.reported([upload])
    }
  },
  'are no longer valid after they expire, but must still be reported': async (store) => {
    const { first, second, one, two } = await twoServers(store)
    await completed(first, one, upload, 1)
    assert.equal(await second.steps.transfers.marker('alice', 'a/b.txt'), undefined)
    assert.equal((await foundBy(second, two, upload)).marker, undefined)
    assert.equal((await first.steps.transfers.unreported(first.server)).length, 1)
  },
}
