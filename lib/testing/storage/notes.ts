import assert from 'node:assert/strict'
import type { TestCases } from '../testCases.ts'
import { storageCases, type Try } from './fixture.ts'
import { claimed, contentOf, fileOf, fill, hello, owner, recordsOf, resume, upload, wanted } from './steps.ts'

/** The promises of the transfer store about completion markers. */
export function notesCases(kind: string, trying: Try): TestCases {
  return storageCases(`the completion marker of an upload in a ${kind} storage`, trying, (it) => {
    it('answers the same upload, also after a restart, and replaces the record', async (fixture) => {
      const stored = await upload(fixture.storage)
      await fixture.restart()
      assert.deepEqual(await fixture.storage.transfers.claim(wanted, owner(2), resume), { completed: stored })
      assert.deepEqual(await recordsOf(fixture.storage), [])
    })

    it('has the name of the stored file, and whether it replaced another one', async (fixture) => {
      const { storage } = fixture
      const { claim } = await claimed(storage)
      await fill(storage, claim)
      const stored = { ...fileOf({}, 'b'), replaced: true }
      await storage.transfers.verified(claim, stored)
      await fixture.restart()
      assert.deepEqual((await recordsOf(fixture.storage))[0]?.verified, stored)
      const again = await claimed(fixture.storage)
      await using file = await fixture.storage.files.open(again.claim)
      await file.publish('b', true)
      await fixture.storage.transfers.complete(again.claim, 60_000)
      assert.deepEqual(await fixture.storage.transfers.completed(wanted), stored)
    })

    it('answers also if existing names are rejected', async ({ storage }) => {
      const stored = await upload(storage)
      const answer = await storage.transfers.claim(wanted, owner(2), { ...resume, onConflict: 'reject' })
      assert.deepEqual(answer, { completed: stored })
    })

    it('does not answer another upload', async ({ storage }) => {
      await upload(storage)
      await claimed(storage, { modifiedAt: 2_000 })
    })

    it('answers a fresh claim too, until it is forgotten', async ({ storage }) => {
      const stored = await upload(storage)
      const fresh = { ...resume, fresh: true }
      assert.deepEqual(await storage.transfers.claim(wanted, owner(2), fresh), { completed: stored })
      await storage.transfers.forget('alice', 'a')
      await claimed(storage, {}, fresh)
    })

    it('does not count after the file has changed; it may count again when the bytes are the same again', async ({
      storage,
    }) => {
      const stored = await upload(storage)
      for (const [name, text] of [
        ['b', 'HELLO'],
        ['c', 'hello'],
      ] as const) {
        const { claim } = await claimed(storage, { name })
        await fill(storage, claim, new TextEncoder().encode(text))
        await using file = await storage.files.open(claim)
        await file.publish('a', true)
        const completed = await storage.transfers.completed(wanted)
        // A storage without a digest of the stored file cannot recognize it, and the file is sent again.
        if (text !== 'hello' || completed !== undefined) {
          assert.deepEqual(completed, text === 'hello' ? stored : undefined)
        }
      }
    })

    it('counts as not reported until the caller says so, also after a restart', async (fixture) => {
      const stored = await upload(fixture.storage)
      assert.deepEqual(await fixture.storage.transfers.unreported(), [stored])
      await fixture.restart()
      assert.deepEqual(await fixture.storage.transfers.unreported(), [stored])
      await fixture.storage.transfers.reported(stored)
      await fixture.storage.transfers.reported({ user: 'bob', name: 'none' })
      assert.deepEqual(await fixture.storage.transfers.unreported(), [])
      await fixture.restart()
      assert.deepEqual(await fixture.storage.transfers.unreported(), [])
      await upload(fixture.storage, { size: 3 }, new TextEncoder().encode('new'))
      assert.equal((await fixture.storage.transfers.unreported()).length, 1)
    })

    it('stays until its time is over', async (fixture) => {
      await upload(fixture.storage, {}, hello, 60_000)
      fixture.wallTime += 60_000
      assert.ok('completed' in (await fixture.storage.transfers.claim(wanted, owner(1), resume)))
      fixture.wallTime += 1
      await claimed(fixture.storage)
    })

    it('outlives others that expire', async (fixture) => {
      for (const name of ['b', 'c', 'd', 'e', 'f', 'g']) await upload(fixture.storage, { name }, hello, 1_000)
      fixture.wallTime += 2_000
      await upload(fixture.storage)
      assert.ok('completed' in (await fixture.storage.transfers.claim(wanted, owner(1), resume)))
      await claimed(fixture.storage, { name: 'b' })
      await claimed(fixture.storage, { name: 'g' })
    })

    it('no longer counts after the file was replaced', async ({ storage }) => {
      await upload(storage, {}, hello)
      const { claim } = await claimed(storage, { name: 'b' })
      await fill(storage, claim, new TextEncoder().encode('HELLO'))
      await using file = await storage.files.open(claim)
      await file.publish('a', true)
      await claimed(storage)
    })

    it('can be removed, and the file stays', async ({ storage, place }) => {
      await upload(storage)
      await storage.transfers.forget('alice', 'a')
      await storage.transfers.forget('alice', 'a')
      await claimed(storage)
      assert.deepEqual(await place.read('alice', 'a'), hello)
    })

    it('stays when a later record of the name is removed', async ({ storage }) => {
      await upload(storage)
      await claimed(storage, { size: 9 })
      await storage.transfers.remove('alice', 'a')
      assert.ok('completed' in (await storage.transfers.claim(wanted, owner(1), resume)))
    })

    it('is not made for an upload that is not verified', async ({ storage }) => {
      const { claim } = await claimed(storage)
      await fill(storage, claim)
      await assert.rejects(storage.transfers.complete(claim, 1_000), { code: 'internal' })
      assert.equal(await contentOf(storage, claim), 'hello')
    })

    it('ends its claim', async ({ storage }) => {
      const { claim } = await claimed(storage)
      await fill(storage, claim)
      await storage.transfers.verified(claim, fileOf())
      await using file = await storage.files.open(claim)
      await file.publish('a', true)
      await storage.transfers.complete(claim, 1_000)
      await assert.rejects(storage.transfers.complete(claim, 1_000), { code: 'superseded' })
      await assert.rejects(storage.files.open(claim), { code: 'superseded' })
    })
  })
}
