import assert from 'node:assert/strict'
import type { Announcement, Checkpoint, StoredFile, UnnamedFile } from '../../ports/storage.ts'
import type { Checks } from '../testCases.ts'
import type { StorageSuite, TestedStorage } from './fixture.ts'
import {
  claimed,
  fileOf,
  hello,
  isEarlierUpload,
  isUnreported,
  opened,
  owner,
  recordsOf,
  resume,
  textBytes,
  textOf,
  unreportedUpload,
  upload,
  wanted,
} from './steps.ts'

/** Returns the announcement of a file without an upload. */
const announcementOf = ({ version, source }: UnnamedFile, file: StoredFile): Announcement => ({
  ...{ file, version, modifiedAt: wanted.modifiedAt },
  ...(source !== undefined && { source }),
})

const at = (offset: number): Checkpoint => ({ offset, digest: Uint8Array.of(1, 2, offset) })

const recordsChecks: Checks<TestedStorage> = {
  'has the checkpoints that were set last, and their time, also after a restart': async (storage) => {
    const { claim } = await opened(storage, {}, hello)
    await storage.transfers.checkpoint(claim, [at(1), at(2)], 2_000_000)
    await storage.transfers.checkpoint(claim, [at(2), at(4)], 2_000_001)
    await storage.restart()
    const [record] = await recordsOf(storage)
    assert.deepEqual([record?.checkpoints, record?.token, record?.updatedAt], [[at(2), at(4)], claim.token, 2_000_001])
  },
  'can be written with its token after a restart, and then gets a higher one': async (storage) => {
    const { claim } = await claimed(storage)
    await storage.restart()
    await storage.transfers.checkpoint(claim, [at(1)], 2_000_000)
    assert.deepEqual((await recordsOf(storage))[0]?.checkpoints, [at(1)])
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
    assert.deepEqual(await recordsOf(storage), [record])
  },
  'is gone after it was removed, and only the first removal returns true': async (storage) => {
    const { claim } = await claimed(storage)
    assert.equal(await storage.transfers.remove('alice', 'a'), true)
    assert.equal(await storage.transfers.remove('alice', 'a'), false)
    await assert.rejects(storage.transfers.checkpoint(claim, [], 2_000_000), { code: 'superseded' })
    await storage.restart()
    assert.deepEqual(await recordsOf(storage), [])
  },
  'is not removed by a former claim': async (storage) => {
    const { claim } = await claimed(storage)
    const { claim: later } = await claimed(storage, {}, resume, owner(2))
    assert.equal(await storage.transfers.remove('alice', 'a', undefined, claim.token), false)
    assert.equal((await recordsOf(storage)).length, 1)
    assert.equal(await storage.transfers.remove('alice', 'a', undefined, later.token), true)
    assert.deepEqual(await recordsOf(storage), [])
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
    const names = (await recordsOf(storage)).map(({ user, name }) => `${user}/${name}`)
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
    const names = (await recordsOf(storage)).map(({ name }) => name)
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
    await assert.rejects(transfers.forget(wanted, fileOf().digest), closed)
    await assert.rejects(recordsOf(storage), closed)
  },
}

const completionMarkersChecks: Checks<TestedStorage> = {
  'answers the same upload, also after a restart, and replaces the record': async (storage) => {
    const stored = await upload(storage)
    await storage.restart()
    assert.deepEqual(await storage.transfers.claim(wanted, owner(2), resume), { completed: stored })
    const rejecting = await storage.transfers.claim(wanted, owner(2), { ...resume, onConflict: 'reject' })
    assert.deepEqual(rejecting, { completed: stored })
    assert.deepEqual(await recordsOf(storage), [])
  },
  'has the name of the stored file, and whether it replaced another one': async (storage) => {
    const first = await opened(storage, {}, hello)
    const stored = { ...fileOf({}, 'b'), replaced: true }
    await storage.transfers.verified(first.claim, stored)
    await storage.restart()
    assert.deepEqual((await recordsOf(storage))[0]?.verified, stored)
    const { claim, file } = await opened(storage)
    await file.publish('b', true)
    await storage.transfers.complete(claim, 60_000)
    assert.deepEqual(await storage.transfers.completed(wanted), stored)
  },
  'does not answer another upload, nor the same one after the file was replaced': async (storage) => {
    await upload(storage)
    await claimed(storage, { modifiedAt: 2_000 })
    const { file } = await opened(storage, { name: 'b' }, textBytes('HELLO'))
    await file.publish('a', true)
    await claimed(storage)
  },
  'answers a fresh claim too, until it is forgotten, and the file stays': async (storage) => {
    const completed = await upload(storage)
    const fresh = { ...resume, fresh: true }
    assert.deepEqual(await storage.transfers.claim(wanted, owner(2), fresh), { completed })
    for (const _ of ['once', 'again']) await storage.transfers.forget(wanted, completed.digest)
    await claimed(storage, {}, fresh)
    assert.deepEqual(await storage.place.read('alice', 'a'), hello)
  },
  'stays when an earlier upload of the name, or a file with another digest, is forgotten': async (storage) => {
    const { transfers } = storage
    await upload(storage)
    const later = { ...wanted, modifiedAt: 2_000 }
    const stored = await upload(storage, later, textBytes('HELLO'))
    await transfers.forget(wanted, stored.digest)
    await transfers.forget(later, '00')
    assert.deepEqual(await transfers.completed(later), stored)
    assert.deepEqual(await transfers.claim(later, owner(2), resume), { completed: stored })
  },
  'does not count after the file has changed, and may count again when the bytes are as before': async (storage) => {
    const stored = await upload(storage)
    const changed = await opened(storage, { name: 'b' }, textBytes('HELLO'))
    await changed.file.publish('a', true)
    assert.equal(await storage.transfers.completed(wanted), undefined)
    const same = await opened(storage, { name: 'c' }, hello)
    await same.file.publish('a', true)
    // A storage without a digest of the stored file cannot recognize it, and the file is sent again.
    const completed = await storage.transfers.completed(wanted)
    if (completed !== undefined) assert.deepEqual(completed, stored)
  },
  'counts as not reported until the caller says so, also after a restart': async (storage) => {
    const stored = await unreportedUpload(storage)
    const [{ version = '', ...file } = {}, ...others] = await storage.transfers.unreported()
    assert.deepEqual([file, others], [stored, []])
    await storage.restart()
    assert.deepEqual(await storage.transfers.unreported(), [{ ...stored, version }])
    await storage.transfers.reported([{ ...stored, version }])
    await storage.transfers.reported([{ user: 'bob', name: 'none' }])
    assert.deepEqual(await storage.transfers.unreported(), [])
    await storage.restart()
    assert.deepEqual(await storage.transfers.unreported(), [])
    await unreportedUpload(storage, { size: 3 }, textBytes('new'))
    assert.equal((await storage.transfers.unreported()).length, 1)
  },
  'stays until its time is over, and with a catalogue while its file is stored': async (storage) => {
    await upload(storage, {}, hello, 60_000)
    storage.wallTime += 60_000
    assert.ok('completed' in (await storage.transfers.claim(wanted, owner(1), resume)))
    storage.wallTime += 1
    // Another upload moves the expired marker.
    await upload(storage, { name: 'b' }, hello, 60_000)
    // A storage without a catalogue may keep its markers as well.
    if (!storage.catalogue) return
    const { completed } = (await storage.transfers.claim(wanted, owner(1), resume)) as { completed?: StoredFile }
    assert.deepEqual(completed, fileOf())
    await storage.restart()
    storage.wallTime += 100_000
    assert.ok('completed' in (await storage.transfers.claim(wanted, owner(1), resume)))
    await claimed(storage, { modifiedAt: wanted.modifiedAt + 1 })
    await storage.transfers.remove('alice', 'a')
    await storage.transfers.forget(wanted, fileOf().digest)
    await claimed(storage)
  },
  'outlives others that expire': async (storage) => {
    for (const name of ['b', 'c', 'd', 'e', 'f', 'g']) await upload(storage, { name }, hello, 1_000)
    storage.wallTime += 2_000
    await upload(storage)
    assert.ok('completed' in (await storage.transfers.claim(wanted, owner(1), resume)))
  },
  'stays when a later record of the name is removed': async (storage) => {
    await upload(storage)
    await claimed(storage, { size: 9 })
    await storage.transfers.remove('alice', 'a')
    assert.ok('completed' in (await storage.transfers.claim(wanted, owner(1), resume)))
  },
  'is neither replaced nor removed before the file is reported, even if the file is removed': async (storage) => {
    const { transfers, files, catalogue } = storage
    const stored = await unreportedUpload(storage)
    await catalogue?.remove('alice', 'a')
    const { claim } = await opened(storage, { modifiedAt: 2_000 }, hello)
    const created = await files.create('alice', [hello])
    const changes = [
      () => transfers.verified(claim, fileOf()),
      () => transfers.announce(announcementOf(created, fileOf()), 60_000),
      () => transfers.forget(wanted, stored.digest),
    ]
    for (const change of changes) await assert.rejects(change, isUnreported)
    assert.deepEqual((await recordsOf(storage))[0]?.verified, undefined)
    await transfers.reported([stored])
    await transfers.verified(claim, fileOf())
    await assert.rejects(transfers.announce(announcementOf(created, fileOf()), 60_000), isEarlierUpload)
    assert.deepEqual((await recordsOf(storage))[0]?.verified, fileOf())
  },
  'is not made for an upload that is not verified': async (storage) => {
    const { claim } = await opened(storage, {}, hello)
    await assert.rejects(storage.transfers.complete(claim, 1_000), { code: 'internal' })
    assert.equal(await textOf(storage, claim), 'hello')
  },
  'ends its claim': async (storage) => {
    const { claim, file } = await opened(storage, {}, hello)
    await storage.transfers.verified(claim, fileOf())
    await file.publish('a', true)
    await storage.transfers.complete(claim, 1_000)
    await assert.rejects(storage.transfers.complete(claim, 1_000), { code: 'superseded' })
    await assert.rejects(storage.files.open(claim), { code: 'superseded' })
  },
}

const completedChecks: Checks<TestedStorage> = {
  'is found while its completion marker exists, and with a catalogue while it is stored, and no other is': async (
    storage,
  ) => {
    const { transfers } = storage
    assert.equal(await transfers.completed(wanted), undefined)
    const stored = await upload(storage)
    assert.deepEqual(await transfers.completed(wanted), stored)
    assert.equal(await transfers.completed({ ...wanted, modifiedAt: 7 }), undefined)
    assert.equal(await transfers.completed({ ...wanted, name: 'b' }), undefined)
    storage.wallTime += 60_001
    if (storage.catalogue) assert.deepEqual(await transfers.completed(wanted), stored)
  },
}

const announcedChecks: Checks<TestedStorage> = {
  'is completed once it is stored under its name': async (storage) => {
    const { transfers, files } = storage
    const file = fileOf({}, 'b')
    await using unpublished = await files.create('alice', [hello])
    await using own = await files.create('alice', [hello])
    await using other = await files.create('alice', [textBytes('jello')])
    await transfers.announce(announcementOf(unpublished, file), 60_000)
    assert.deepEqual([await transfers.completed(wanted), await transfers.unreported()], [undefined, []])
    await transfers.announce(announcementOf(own, file), 60_000)
    await other.publish('b', true)
    assert.equal(await transfers.completed(wanted), undefined)
    await own.publish('b', true)
    assert.deepEqual(await transfers.completed(wanted), file)
    assert.equal(await transfers.completed({ ...wanted, modifiedAt: 7 }), undefined)
  },
  'is not reported until the caller says so, also after a restart': async (storage) => {
    await using lost = await storage.files.create('alice', [hello])
    await storage.transfers.announce(announcementOf(lost, fileOf({ name: 'lost' })), 60_000)
    const file = await storage.files.create('alice', [hello])
    await storage.transfers.announce(announcementOf(file, fileOf()), 60_000)
    await file.publish('a', true)
    await storage.restart()
    assert.deepEqual(await storage.transfers.unreported(), [{ ...fileOf(), version: file.version }])
    assert.deepEqual(await storage.transfers.completed(wanted), fileOf())
    await storage.transfers.reported([fileOf()])
    await storage.restart()
    assert.deepEqual(await storage.transfers.unreported(), [])
    assert.deepEqual(await storage.transfers.completed(wanted), fileOf())
  },
  'is reported although it was removed, if its publication was recorded': async (storage) => {
    const { transfers, files, catalogue } = storage
    if (!transfers.published || !catalogue) return
    for (const name of ['a', 'b']) {
      await using file = await files.create('alice', [hello])
      await transfers.announce(announcementOf(file, fileOf({ name })), 60_000)
      await file.publish(name, true)
    }
    await transfers.published(['a', 'none'].map((name) => ({ user: 'alice', name })))
    for (const name of ['a', 'b']) await catalogue.remove('alice', name)
    await storage.restart()
    const names = (await storage.transfers.unreported()).map(({ name }) => name)
    assert.deepEqual(names, ['a'])
  },
  'replaces the record and the partial file of its name, and ends its claim': async (storage) => {
    const { claim, file } = await opened(storage, {}, hello)
    await storage.transfers.announce({ file: fileOf(), version: 'none', modifiedAt: wanted.modifiedAt }, 60_000)
    assert.deepEqual([await recordsOf(storage), await storage.files.heldBytes('alice', 'a')], [[], 0])
    const superseded = { code: 'superseded' }
    await assert.rejects(file.write(0, [hello]), superseded)
    await assert.rejects(storage.transfers.checkpoint(claim, [at(1)], 2_000_000), superseded)
    await storage.restart()
    assert.deepEqual(await recordsOf(storage), [])
  },
  'is announced together with others, each with its own result': async (storage) => {
    const { transfers, files } = storage
    if (!transfers.announceAll) return
    await claimed(storage, { name: 'x/y' })
    await claimed(storage, { name: 'b' })
    const created = await Promise.all(['a', 'x', 'b'].map(() => files.create('alice', [hello])))
    const announcements = ['a', 'x', 'b'].map((name, at) => {
      return { file: fileOf({ name }), version: created[at]?.version ?? '', modifiedAt: wanted.modifiedAt }
    })
    const [first, second, third] = await transfers.announceAll(announcements, 60_000)
    assert.deepEqual([first, (second as { code?: string }).code, third], [undefined, 'name-conflict', undefined])
    for (const [at, name] of ['a', 'x', 'b'].entries()) if (name !== 'x') await created[at]?.publish(name, true)
    await storage.restart()
    assert.deepEqual(
      (await recordsOf(storage)).map(({ name }) => name),
      ['x/y'],
    )
    for (const name of ['a', 'b'])
      assert.deepEqual(await storage.transfers.completed({ ...wanted, name }), fileOf({ name }))
    await storage.transfers.reported(['a', 'b', 'none'].map((name) => ({ user: 'alice', name })))
    assert.deepEqual(await storage.transfers.unreported(), [])
  },
  'is refused below and above an unfinished upload': async (storage) => {
    await claimed(storage, { name: 'x/y' })
    for (const name of ['x', 'x/y/z']) {
      const announcing = storage.transfers.announce(
        { file: fileOf({ name }), version: 'none', modifiedAt: wanted.modifiedAt },
        60_000,
      )
      await assert.rejects(announcing, { code: 'name-conflict' })
    }
    assert.equal((await recordsOf(storage)).length, 1)
    await storage.close()
    const late = storage.transfers.announce({ file: fileOf(), version: 'none', modifiedAt: wanted.modifiedAt }, 60_000)
    await assert.rejects(late, { code: 'closed' })
  },
}

/** The promises of `TransferStore`, except `claim`. */
export const transferSuites: readonly StorageSuite[] = [
  ['the record of an upload in a storage', recordsChecks],
  ['the completion marker of an upload in a storage', completionMarkersChecks],
  ['a completed upload in a storage', completedChecks],
  ['an announced file in a storage', announcedChecks],
]
