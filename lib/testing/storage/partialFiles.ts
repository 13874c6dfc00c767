import assert from 'node:assert/strict'
import type { TestCases } from '../testCases.ts'
import { storageCases, type Try } from './fixture.ts'
import { claimed, contentOf, fill, hello, owner, resume } from './steps.ts'

const bytes = (text: string) => new TextEncoder().encode(text)

/** The promises of the file store about partial files. */
export function partialFilesCases(kind: string, trying: Try): TestCases {
  return storageCases(`a partial file in a ${kind} storage`, trying, (it) => {
    it('is empty at first, and keeps the written bytes over a restart', async (fixture) => {
      const { claim } = await claimed(fixture.storage)
      assert.equal(await contentOf(fixture.storage, claim), '')
      await fill(fixture.storage, claim)
      await fixture.restart()
      assert.equal(await contentOf(fixture.storage, claim), 'hello')
    })

    it('takes parts one after another, including empty ones', async ({ storage }) => {
      const { claim } = await claimed(storage)
      await using file = await storage.files.open(claim)
      await file.write(0, [bytes('ab'), bytes(''), bytes('c')])
      await file.write(3, [])
      await file.write(3, [bytes('de')])
      assert.equal(file.length, 5)
      assert.equal(await contentOf(storage, claim), 'abcde')
    })

    it('takes more parts at once than one system call', async ({ storage }) => {
      const { claim } = await claimed(storage)
      await using file = await storage.files.open(claim)
      const parts = Array.from({ length: 3_000 }, (_, index) => bytes(String(index % 10)))
      await file.write(0, parts)
      assert.equal(await contentOf(storage, claim), '0123456789'.repeat(300))
    })

    it('grows to megabytes and can be read at any offset', async ({ storage }) => {
      const { claim } = await claimed(storage)
      await using file = await storage.files.open(claim)
      const content = Uint8Array.from({ length: 3_000_001 }, (_, index) => (index * 7) % 251)
      for (let offset = 0; offset < content.length; offset += 70_001) {
        await file.write(offset, [content.subarray(offset, offset + 70_001)])
      }
      const into = new Uint8Array(1_100_000)
      assert.equal(await file.read(into, 1_000_000), into.length)
      assert.deepEqual(into, content.slice(1_000_000, 2_100_000))
    })

    it('keeps its bytes when the caller reuses the buffer', async ({ storage }) => {
      const { claim } = await claimed(storage)
      await using file = await storage.files.open(claim)
      const buffer = bytes('abc')
      await file.write(0, [buffer])
      buffer.fill(0)
      assert.equal(await contentOf(storage, claim), 'abc')
    })

    it('can be overwritten', async ({ storage }) => {
      const { claim } = await claimed(storage)
      await using file = await storage.files.open(claim)
      await file.write(0, [bytes('abcdef')])
      await file.write(2, [bytes('XY')])
      assert.equal(file.length, 6)
      assert.equal(await contentOf(storage, claim), 'abXYef')
    })

    it('refuses to leave a gap', async ({ storage }) => {
      const { claim } = await claimed(storage)
      await using file = await storage.files.open(claim)
      await assert.rejects(file.write(1, [bytes('a')]), { code: 'internal' })
      assert.equal(file.length, 0)
    })

    it('reads fewer bytes only at the end', async ({ storage }) => {
      const { claim } = await claimed(storage)
      await using file = await storage.files.open(claim)
      await file.write(0, [hello])
      const into = new Uint8Array(4)
      assert.equal(await file.read(into, 3), 2)
      assert.deepEqual(into, Uint8Array.of(108, 111, 0, 0))
      assert.equal(await file.read(into, 5), 0)
      assert.equal(await file.read(into, 9), 0)
    })

    it('continues at the length that it was truncated to', async ({ storage }) => {
      const { claim } = await claimed(storage)
      await using file = await storage.files.open(claim)
      await file.write(0, [bytes('abcdef')])
      await file.truncate(2)
      assert.equal(file.length, 2)
      await file.write(2, [bytes('X')])
      await file.flush()
      assert.equal(await contentOf(storage, claim), 'abX')
    })

    it('shows no old bytes after a truncation', async ({ storage }) => {
      const { claim } = await claimed(storage)
      await using file = await storage.files.open(claim)
      await file.write(0, [bytes('abcdef')])
      await file.truncate(2)
      await file.truncate(4)
      assert.equal(file.length, 2)
      assert.equal(await contentOf(storage, claim), 'ab')
    })

    it('refuses every change under an older claim', async ({ storage, place }) => {
      const { claim } = await claimed(storage)
      await using file = await storage.files.open(claim)
      await file.write(0, [hello])
      const second = await claimed(storage, {}, resume, owner(2))
      const superseded = { code: 'superseded' }
      await assert.rejects(file.write(5, [hello]), superseded)
      await assert.rejects(file.flush(), superseded)
      await assert.rejects(file.truncate(0), superseded)
      await assert.rejects(file.publish('a', true), superseded)
      await assert.rejects(storage.files.open(claim), superseded)
      assert.equal(await contentOf(storage, second.claim), 'hello')
      assert.equal(await place.read('alice', 'a'), undefined)
    })

    it('is not written any more after a later claim is granted', async ({ storage }) => {
      const { claim } = await claimed(storage)
      await using file = await storage.files.open(claim)
      const content = new Uint8Array(4_000_000)
      let ended = false
      const writing = file.write(0, [content]).finally(() => {
        ended = true
      })
      await claimed(storage, {}, resume, owner(2))
      assert.ok(ended)
      await writing
    })

    it('is gone after it was removed', async ({ storage }) => {
      const { claim } = await claimed(storage)
      await fill(storage, claim)
      await storage.files.remove('alice', 'a')
      await storage.files.remove('alice', 'a')
      assert.equal(await contentOf(storage, claim), '')
    })

    it('is removed by a sweep after a restart if its record was removed', async (fixture) => {
      const { claim } = await claimed(fixture.storage)
      await fill(fixture.storage, claim)
      await fixture.storage.transfers.remove('alice', 'a')
      await fixture.restart()
      await fixture.storage.files.sweep(Number.POSITIVE_INFINITY)
      assert.equal(await contentOf(fixture.storage, (await claimed(fixture.storage)).claim), '')
    })

    it('refuses every call after it or its storage is closed', async ({ storage }) => {
      const { claim } = await claimed(storage)
      const one = await storage.files.open(claim)
      await one[Symbol.asyncDispose]()
      await one[Symbol.asyncDispose]()
      await assert.rejects(one.write(0, [hello]), { code: 'closed' })
      const other = await storage.files.open(claim)
      await storage[Symbol.asyncDispose]()
      await assert.rejects(other.read(new Uint8Array(1), 0), { code: 'closed' })
      await assert.rejects(other.write(0, [hello]), { code: 'closed' })
      await assert.rejects(other.publish('a', true), { code: 'closed' })
      await assert.rejects(storage.files.open(claim), { code: 'closed' })
      await assert.rejects(storage.files.stored('alice', 'a'), { code: 'closed' })
      await assert.rejects(storage.files.remove('alice', 'a'), { code: 'closed' })
      await assert.rejects(storage.files.space(), { code: 'closed' })
    })
  })
}
