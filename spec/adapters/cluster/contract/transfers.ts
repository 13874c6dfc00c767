import assert from 'node:assert/strict'
import type { ClusterSessionLink, FoundUpload } from '../../../../lib/adapters/cluster/steps.ts'
import { OspError } from '../../../../lib/errors.ts'
import type { NewTransfer, TransferRecord } from '../../../../lib/ports/storage.ts'
import type { Checks } from '../../../../lib/testing/testCases.ts'
import { fileChecks } from './files.ts'
import { declaredDead, entered, type SharedStoreFixture } from './fixture.ts'
import { markerChecks } from './markers.ts'
import {
  cancelled,
  checkpointed,
  checkpointOf,
  claimed,
  completed,
  farAway,
  fileOf,
  foundBy,
  grantTo,
  marked,
  namesOf,
  openLink,
  superseded,
  twoServers,
  upload,
  uploadOf,
} from './uploads.ts'

const none = { growth: 0, entries: 0 }
const part = (growth: number) => ({ growth, entries: growth > 0 ? 1 : 0 })

const claimChecks: Checks<SharedStoreFixture> = {
  'finds nothing for a new name, and stores the decision': async (store) => {
    const at = await entered(store)
    const by = await openLink(at, 'alice', 1)
    assert.deepEqual(await foundBy(at, by, upload), {
      ...{
        record: undefined,
        isHeld: false,
        reserved: none,
        marker: undefined,
        files: [],
        changes: [],
        unpublished: undefined,
        otherNames: [],
      },
      others: { uploads: 0, held: 0, bytes: 0, reserved: none, announced: none, added: none, allUploads: 0 },
    })
    const decided = {
      ...{ ...upload, owner: { node: 1, instance: 9, session: by.session }, superseded: [at.link('alice', 7).session] },
      ...{ checkpoints: [checkpointOf(5), checkpointOf(2 ** 40, 0, 255)], updatedAt: 0.25 },
    }
    const decide = async () => ({ record: decided, reserved: { growth: 3, entries: 1 } })
    const { claim, record, former } = await claimed(at, by, upload, decide)
    assert.deepEqual(record, { ...decided, token: claim.token })
    assert.deepEqual([claim.user, claim.name, former], ['alice', 'a/b.txt', undefined])
    assert.deepEqual(await at.steps.transfers.record('alice', 'a/b.txt'), record)
  },
  'finds the record of the former claim at another server, and ends that claim with a higher token': async (store) => {
    const { first, second, one, two } = await twoServers(store)
    const former = await claimed(first, one, upload)
    await checkpointed(first, former.claim, 100)
    const found = await foundBy(second, two, upload)
    const present = await second.steps.transfers.record('alice', 'a/b.txt')
    assert.deepEqual([found.record, found.isHeld], [present, true])
    const later = await claimed(second, two, upload)
    assert.ok(later.claim.token > former.claim.token)
    assert.deepEqual(later.former, { ...former.claim, server: first.server, link: 1 })
    assert.deepEqual(later.record.checkpoints, [checkpointOf(100, 7)])
    assert.deepEqual(await first.steps.transfers.ended([former.claim.token, later.claim.token]), [
      { token: former.claim.token, ...superseded },
    ])
  },
  'that is repeated finds its own record': async (store) => {
    const at = await entered(store)
    const by = await openLink(at, 'alice', 1)
    const { record } = await claimed(at, by, upload, grantTo(by, upload, 4))
    const found = await foundBy(at, by, upload)
    assert.deepEqual([found.record, found.isHeld], [record, true])
  },
  'of a link that is not the link of its session is refused before its decision': async (store) => {
    const { first, second, one } = await twoServers(store)
    const decide = () => assert.fail('it has decided')
    await assert.rejects(first.steps.transfers.claim(first.link('alice', 5), upload, decide), { code: 'link-lost' })
    await openLink(second, 'alice', 3, one.session)
    await assert.rejects(first.steps.transfers.claim(one, upload, decide), { code: 'link-lost' })
    assert.equal(await first.steps.transfers.record('alice', 'a/b.txt'), undefined)
  },
  'whose decision rejects changes nothing, and rejects with that error': async (store) => {
    const { first, second, one, two } = await twoServers(store)
    const { claim, record } = await claimed(first, one, upload)
    const error = new Error('the disk cannot be read')
    const rejected = second.steps.transfers.claim(two, upload, () => Promise.reject(error))
    await assert.rejects(rejected, (thrown) => thrown === error)
    assert.deepEqual(await first.steps.transfers.record('alice', 'a/b.txt'), record)
    assert.deepEqual(await checkpointed(first, claim, 1), [true])
  },
  'waits for another claim of the same user, so that only one of two conflicting names is granted': async (store) => {
    const { first, second, one, two } = await twoServers(store)
    const grantUnlessNested = (by: ClusterSessionLink, want: NewTransfer) => async (found: FoundUpload) => {
      await new Promise((resolve) => setImmediate(resolve))
      const conflicts = (other: string) => other.startsWith(`${want.name}/`) || want.name.startsWith(`${other}/`)
      if (found.otherNames.some(conflicts)) throw new OspError('name-conflict')
      return grantTo(by, want)(found)
    }
    for (const name of ['c', 'd', 'e']) {
      const [outer, inner] = [uploadOf('alice', name), uploadOf('alice', `${name}/f`)]
      const results = await Promise.allSettled([
        first.steps.transfers.claim(one, outer, grantUnlessNested(one, outer)),
        second.steps.transfers.claim(two, inner, grantUnlessNested(two, inner)),
      ])
      assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
    }
  },
  'does not wait for the claim of another user': async (store) => {
    const { first, second, one } = await twoServers(store)
    const bob = await openLink(second, 'bob', 3)
    const { claim } = await claimed(first, one, upload, async (found) => {
      await claimed(second, bob, uploadOf('bob', 'a/b.txt'))
      return grantTo(one, upload)(found)
    })
    assert.equal((await first.steps.transfers.record('alice', 'a/b.txt'))?.token, claim.token)
    assert.equal((await second.steps.transfers.records('bob', undefined, 9)).length, 1)
  },
  'sees the reservations at all servers, so that only one of two claims that exceed a quota is granted': async (
    store,
  ) => {
    const { first, second, one, two } = await twoServers(store)
    const grantWithin = (by: ClusterSessionLink, want: NewTransfer) => async (found: FoundUpload) => {
      await new Promise((resolve) => setImmediate(resolve))
      const { bytes, reserved } = found.others
      if (bytes + reserved.growth + want.size > 1_500) throw new OspError('quota-exceeded')
      return grantTo(by, want, 1, want.size)(found)
    }
    const [a, b] = [uploadOf('alice', 'a'), uploadOf('alice', 'b')]
    const claims = [
      first.steps.transfers.claim(one, a, grantWithin(one, a)),
      second.steps.transfers.claim(two, b, grantWithin(two, b)),
    ]
    const results = await Promise.allSettled(claims)
    const reasons = results.flatMap((result) => (result.status === 'rejected' ? [result.reason.code] : []))
    assert.deepEqual(reasons, ['quota-exceeded'])
  },
  'finds the sums of the other uploads': async (store) => {
    const { first, second, one, two } = await twoServers(store)
    const bob = await openLink(first, 'bob', 3)
    const { claim } = await claimed(first, one, uploadOf('alice', 'received'))
    await checkpointed(first, claim, 300)
    await first.steps.transfers.release([claim])
    const receiving = uploadOf('alice', 'receiving')
    const held = await claimed(first, one, receiving, grantTo(one, receiving, 1, 40))
    await checkpointed(first, held.claim, 900)
    const verified = await claimed(second, two, uploadOf('alice', 'verified'))
    await second.steps.transfers.release([verified.claim])
    await second.steps.transfers.verified(verified.claim, fileOf(uploadOf('alice', 'verified')), 'v')
    await claimed(first, bob, uploadOf('bob', 'received'), grantTo(bob, uploadOf('bob', 'received'), 1, 5))
    await claimed(first, one, upload, grantTo(one, upload, 1, 7))
    const { others, otherNames, reserved } = await foundBy(second, two, upload)
    assert.deepEqual(new Set(otherNames), new Set(['received', 'receiving', 'verified']))
    assert.deepEqual(others, {
      uploads: 3,
      held: 1,
      bytes: 1_300,
      reserved: part(40),
      announced: none,
      added: none,
      allUploads: 4,
    })
    assert.deepEqual(reserved, part(7))
  },
  'of a complete upload finds its marker, and removes the record if the upload is complete': async (store) => {
    const { first, second, one, two } = await twoServers(store)
    await completed(first, one, upload)
    const { marker, record } = await foundBy(second, two, upload)
    assert.deepEqual(marker, { file: fileOf(upload), version: 'v1', modifiedAt: upload.modifiedAt })
    assert.equal(record, undefined)
    const { claim } = await claimed(first, one, upload)
    const file = fileOf(upload)
    const result = await second.steps.transfers.claim(two, upload, async () => ({ completed: file }))
    assert.deepEqual(result, { completed: file })
    assert.deepEqual(await checkpointed(first, claim, 1), [false])
    assert.equal(await first.steps.transfers.record('alice', 'a/b.txt'), undefined)
    assert.notEqual(await first.steps.transfers.marker('alice', 'a/b.txt'), undefined)
  },
}

const recordChecks: Checks<SharedStoreFixture> = {
  'have only the checkpoints of their present claims': async (store) => {
    const { first, second, one, two } = await twoServers(store)
    const other = uploadOf('alice', 'other')
    const [lost, kept] = [await claimed(first, one, upload), await claimed(first, one, other)]
    await checkpointed(first, lost.claim, 10)
    const taken = await claimed(second, two, upload)
    const holds = await first.steps.transfers.checkpoint([
      { claim: lost.claim, checkpoints: [checkpointOf(90)], at: 30 },
      { claim: kept.claim, checkpoints: [checkpointOf(20, 1), checkpointOf(30, 1, 2)], at: 31.5 },
      { claim: { ...kept.claim, name: 'missing' }, checkpoints: [], at: 32 },
    ])
    assert.deepEqual(holds, [false, true, false])
    const { transfers } = second.steps
    assert.deepEqual(await transfers.record('alice', 'a/b.txt'), taken.record)
    const checkpoints = [checkpointOf(20, 1), checkpointOf(30, 1, 2)]
    assert.deepEqual(await transfers.record('alice', 'other'), { ...kept.record, checkpoints, updatedAt: 31.5 })
  },
  'have the latest of several checkpoints in one step, even if the step is repeated': async (store) => {
    const { first, one } = await twoServers(store)
    const { claim, record } = await claimed(first, one, upload)
    const batch = [10, 20, 5].map((offset) => ({ claim, checkpoints: [checkpointOf(offset)], at: offset }))
    for (const _ of ['once', 'again']) {
      assert.deepEqual(await first.steps.transfers.checkpoint(batch), [true, true, true])
      const latest = { ...record, checkpoints: [checkpointOf(5)], updatedAt: 5 }
      assert.deepEqual(await first.steps.transfers.record('alice', 'a/b.txt'), latest)
    }
    assert.deepEqual(await first.steps.transfers.checkpoint([]), [])
  },
  'are not changed by any step with a former claim': async (store) => {
    const { first, second, one, two } = await twoServers(store)
    const { claim } = await claimed(first, one, upload)
    const { record } = await claimed(second, two, upload)
    const { transfers } = first.steps
    assert.deepEqual(await checkpointed(first, claim, 5), [false])
    assert.deepEqual(await transfers.verified(claim, fileOf(upload), 'v'), { ...marked, holds: false })
    assert.equal(await transfers.complete(claim, farAway), false)
    await transfers.release([claim])
    const found = await foundBy(second, two, upload)
    assert.deepEqual([found.record, found.isHeld], [record, true])
  },
  'become completion markers once they are verified, and a repetition has the same result': async (store) => {
    const { first, second, one, two } = await twoServers(store)
    const { transfers } = first.steps
    const { claim, record } = await claimed(first, one, upload)
    await assert.rejects(transfers.complete(claim, farAway), { code: 'internal' })
    for (const _ of ['once', 'again'])
      assert.deepEqual(await transfers.verified(claim, fileOf(upload, true), 'v2'), marked)
    const verified = { ...record, verified: fileOf(upload, true), verifiedStamp: 'v2' }
    assert.deepEqual(await transfers.record('alice', 'a/b.txt'), verified)
    for (const _ of ['once', 'again']) assert.equal(await transfers.complete(claim, farAway), true)
    assert.equal(await transfers.record('alice', 'a/b.txt'), undefined)
    const marker = { file: fileOf(upload, true), version: 'v2', modifiedAt: upload.modifiedAt }
    assert.deepEqual(await second.steps.transfers.marker('alice', 'a/b.txt'), marker)
    await transfers.reported([upload])
    await completed(second, two, upload)
    assert.equal(await transfers.complete(claim, farAway), false)
  },
  'return the latest claim that was released to later claims': async (store) => {
    const { first, second, one, two } = await twoServers(store)
    const { claim } = await claimed(first, one, upload)
    const next = await claimed(second, two, upload)
    assert.equal(next.released, 0)
    await first.steps.transfers.release([claim])
    assert.equal((await claimed(first, one, upload)).released, 0)
    const last = await claimed(second, two, upload)
    await second.steps.transfers.release([last.claim])
    for (const _ of ['once', 'again']) assert.equal((await claimed(first, one, upload)).released, last.claim.token)
  },
  'are held until they are released, and expire only after that': async (store) => {
    const { first, second, one, two } = await twoServers(store)
    const { transfers } = first.steps
    const { claim } = await claimed(first, one, upload)
    await checkpointed(first, claim, 1, 100)
    assert.equal(await second.steps.transfers.expire('alice', 'a/b.txt', 101), undefined)
    await transfers.release([claim, { ...claim, name: 'missing' }])
    assert.equal((await foundBy(second, two, upload)).isHeld, false)
    assert.deepEqual(await checkpointed(first, claim, 2, 100), [true])
    assert.equal(await second.steps.transfers.expire('alice', 'a/b.txt', 100), undefined)
    const record = await transfers.record('alice', 'a/b.txt')
    assert.deepEqual(await second.steps.transfers.expire('alice', 'a/b.txt', 101), record)
    assert.equal(await second.steps.transfers.expire('alice', 'a/b.txt', 101), undefined)
    assert.deepEqual(await checkpointed(first, claim, 3), [false])
  },
  'do not expire after they are verified': async (store) => {
    const { first, one } = await twoServers(store)
    const { claim } = await claimed(first, one, upload)
    await first.steps.transfers.verified(claim, fileOf(upload), 'v')
    await first.steps.transfers.release([claim])
    assert.equal(await first.steps.transfers.expire('alice', 'a/b.txt', farAway), undefined)
    assert.deepEqual(namesOf((await first.steps.transfers.abandoned()).records), ['alice:a/b.txt'])
  },
  'are removed once, by a link that is the link of its session': async (store) => {
    const { first, second, one, two } = await twoServers(store)
    const { claim } = await claimed(first, one, upload)
    const late = second.steps.transfers.remove('alice', 'a/b.txt', second.link('alice', 2))
    await assert.rejects(late, { code: 'link-lost' })
    const owned = { ...claim, server: first.server, link: 1 }
    assert.deepEqual(await second.steps.transfers.remove('alice', 'a/b.txt', two), owned)
    assert.equal(await second.steps.transfers.remove('alice', 'a/b.txt', two), undefined)
    assert.deepEqual(await first.steps.transfers.ended([claim.token]), [{ token: claim.token, ...cancelled }])
    assert.deepEqual(await checkpointed(first, claim, 1), [false])
    const again = await claimed(first, one, upload)
    assert.equal(again.former, undefined)
    assert.equal(await second.steps.transfers.remove('alice', 'a/b.txt', undefined, claim.token), undefined)
    const removed = { ...again.claim, server: first.server, link: 1 }
    assert.deepEqual(await second.steps.transfers.remove('alice', 'a/b.txt', undefined, again.claim.token), removed)
  },
  'are listed in pages by users and names, in the order of their bytes': async (store) => {
    const { first, one } = await twoServers(store)
    const bob = await openLink(first, 'bob', 3)
    for (const name of ['\u{1f600}', 'a', '\ufb01', 'a/b', 'Z', 'ä']) await claimed(first, one, uploadOf('alice', name))
    for (const name of ['b', 'a']) await claimed(first, bob, uploadOf('bob', name))
    const all = ['alice:Z', 'alice:a', 'alice:a/b', 'alice:ä', 'alice:\ufb01', 'alice:\u{1f600}', 'bob:a', 'bob:b']
    const { transfers } = first.steps
    for (const [of, expected] of [[undefined, all] as const, ['alice', all.slice(0, 6)] as const]) {
      const listed: TransferRecord[] = []
      for (;;) {
        const page = await transfers.records(of, listed.at(-1), 3)
        if (page.length === 0) break
        assert.ok(page.length <= 3)
        listed.push(...page)
      }
      assert.deepEqual(namesOf(listed), expected)
      for (const record of listed) assert.deepEqual(await transfers.record(record.user, record.name), record)
    }
  },
  'of a dead server are free, its verified ones are abandoned, and its late claims are refused': async (store) => {
    const { first, second, one, two } = await twoServers(store, 1)
    const other = uploadOf('alice', 'verified')
    const [taken, verified] = [await claimed(first, one, upload), await claimed(first, one, other)]
    await first.steps.transfers.verified(verified.claim, fileOf(other), 'v')
    await first.steps.renew(first.server, 600_000, 0, {})
    assert.deepEqual((await second.steps.transfers.abandoned()).records, [])
    assert.equal((await foundBy(second, two, upload)).isHeld, true)
    await first.steps.renew(first.server, 1, 0, {})
    await declaredDead(second, first.server)
    const { isHeld, others } = await foundBy(second, two, upload)
    assert.deepEqual([isHeld, others.held, others.bytes], [false, 0, 1_000])
    const { records: abandoned } = await second.steps.transfers.abandoned()
    assert.deepEqual(abandoned, [{ ...verified.record, verified: fileOf(other), verifiedStamp: 'v' }])
    await assert.rejects(claimed(first, one, upload), { code: 'link-lost' })
    const recovery = first.steps.transfers.claim(one, other, grantTo(one, other), true)
    await assert.rejects(recovery, { code: 'link-lost' })
    await assert.rejects(first.steps.transfers.remove('alice', 'a/b.txt', one), { code: 'link-lost' })
    await claimed(second, two, upload)
    assert.deepEqual(await checkpointed(first, taken.claim, 1), [false])
    await claimed(second, two, other)
    assert.deepEqual((await second.steps.transfers.abandoned()).records, [])
  },
}

/** The promises of `TransferSteps`. */
export const transferSuites: readonly (readonly [subject: string, Checks<SharedStoreFixture>])[] = [
  ['a claim in a shared store', claimChecks],
  ['the records of uploads in a shared store', recordChecks],
  ['the completion markers in a shared store', markerChecks],
  ['stored files in a shared store', fileChecks],
]
