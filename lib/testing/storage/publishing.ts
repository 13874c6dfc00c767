import assert from 'node:assert/strict'
import type { TestCases } from '../testCases.ts'
import { storageCases, type Try } from './fixture.ts'
import { claimed, contentOf, fileOf, fill, hello, start, upload } from './steps.ts'

const bytes = (text: string) => new TextEncoder().encode(text)

/** The promises of `PartialFile.publish`. */
export function publishingCases(kind: string, trying: Try): TestCases {
  return storageCases(`publishing in a ${kind} storage`, trying, (it) => {
    it('moves the file into place, in the folders of its name, and keeps it over restarts', async (fixture) => {
      await upload(fixture.storage, { name: 'x/y/z' })
      assert.equal(await fixture.storage.files.stored('alice', 'x/y/z'), true)
      assert.equal(await fixture.storage.files.stored('alice', 'x/y'), false)
      assert.equal(await fixture.storage.files.stored('bob', 'x/y/z'), false)
      await fixture.restart()
      assert.deepEqual(await fixture.place.read('alice', 'x/y/z'), hello)
    })

    it('takes an empty file', async ({ storage, place }) => {
      await upload(storage, { size: 0 }, new Uint8Array(0))
      assert.deepEqual(await place.read('alice', 'a'), new Uint8Array(0))
    })

    it('replaces a file of that name if `replace` is set', async ({ storage, place }) => {
      await upload(storage)
      await upload(storage, { size: 3 }, bytes('new'))
      assert.deepEqual(await place.read('alice', 'a'), bytes('new'))
    })

    it('changes nothing if the name is taken, and can then use another one', async ({ storage, place }) => {
      await upload(storage)
      const { claim } = await claimed(storage, { size: 3 })
      await fill(storage, claim, bytes('new'))
      await using file = await storage.files.open(claim)
      assert.equal(await file.publish('a', false), false)
      assert.deepEqual(await place.read('alice', 'a'), hello)
      assert.equal(await contentOf(storage, claim), 'new')
      assert.equal(await file.publish('a (1)', false), true)
      assert.deepEqual(await place.read('alice', 'a (1)'), bytes('new'))
      assert.deepEqual(await place.read('alice', 'a'), hello)
    })

    for (const replace of [true, false]) {
      it(`is finished after a crash between publishing and completing, ${replace ? 'replacing' : 'not replacing'}`, async (fixture) => {
        const { claim } = await claimed(fixture.storage)
        await fill(fixture.storage, claim)
        await fixture.storage.transfers.verified(claim, fileOf())
        await (await fixture.storage.files.open(claim)).publish('a', replace)
        await fixture.restart()
        const file = await fixture.storage.files.open(claim)
        assert.equal(await file.publish('a', replace), true)
        await fixture.storage.transfers.complete(claim, 1_000)
        assert.deepEqual(await fixture.place.read('alice', 'a'), hello)
      })
    }

    it('can be repeated at once, as after a failed completion', async ({ storage, place }) => {
      const { claim } = await claimed(storage)
      await fill(storage, claim)
      await storage.transfers.verified(claim, fileOf())
      await using file = await storage.files.open(claim)
      assert.equal(await file.publish('a', true), true)
      await file.flush()
      assert.equal(await file.publish('a', true), true)
      await storage.transfers.complete(claim, 1_000)
      assert.deepEqual(await place.read('alice', 'a'), hello)
    })

    for (const [what, older] of [
      ['no file is', undefined],
      ['an older file of another size is', 'old'],
      ['an older file of the same size is', 'jello'],
    ] as const) {
      it(`rejects with a digest mismatch if the partial file is missing and ${what} under the name`, async (fixture) => {
        if (older !== undefined) await upload(fixture.storage, { size: older.length, modifiedAt: 1 }, bytes(older))
        const { claim } = await claimed(fixture.storage, {}, start)
        await fill(fixture.storage, claim)
        await fixture.storage.transfers.verified(claim, fileOf())
        await fixture.storage.files.remove('alice', 'a')
        await fixture.restart()
        await using file = await fixture.storage.files.open(claim)
        await assert.rejects(file.publish('a', true), { code: 'digest-mismatch' })
        assert.deepEqual(await fixture.place.read('alice', 'a'), older && bytes(older))
      })
    }

    it('refuses names that conflict with stored ones, or that could escape their folder', async ({ storage }) => {
      await upload(storage, { name: 'x/y' })
      const { claim } = await claimed(storage)
      await fill(storage, claim)
      await using file = await storage.files.open(claim)
      await assert.rejects(file.publish('x', true), { code: 'name-conflict' })
      await assert.rejects(file.publish('x/y/z', true), { code: 'name-conflict' })
      await assert.rejects(file.publish('../bob/a', true), { code: 'bad-name' })
      assert.equal(await contentOf(storage, claim), 'hello')
    })

    it('ends the partial file, so that the published one cannot be written', async ({ storage, place }) => {
      const { claim } = await claimed(storage)
      await fill(storage, claim)
      await using file = await storage.files.open(claim)
      await file.publish('a', true)
      await assert.rejects(file.write(0, [bytes('XXXXX')]), { code: 'closed' })
      await storage.files.remove('alice', 'a')
      assert.deepEqual(await place.read('alice', 'a'), hello)
    })
  })
}
