import assert from 'node:assert/strict'
import type { Checks } from '../testCases.ts'
import type { TestedStorage } from './fixture.ts'
import { claimed, contentOf, fill, hello, opened, owner, resume, textBytes } from './steps.ts'

/** The promises of the file store about partial files. */
export const partialFilesChecks: Checks<TestedStorage> = {
  'is empty at first, and keeps the written bytes over a restart': async (storage) => {
    const { claim } = await claimed(storage)
    assert.equal(await contentOf(storage, claim), '')
    await fill(storage, claim)
    await storage.restart()
    assert.equal(await contentOf(storage, claim), 'hello')
  },
  'takes parts one after another, including empty ones': async (storage) => {
    const { claim, file } = await opened(storage)
    await file.write(0, [textBytes('ab'), textBytes(''), textBytes('c')])
    await file.write(3, [])
    await file.write(3, [textBytes('de')])
    assert.equal(file.length, 5)
    assert.equal(await contentOf(storage, claim), 'abcde')
  },
  'takes more parts at once than one system call': async (storage) => {
    const { claim, file } = await opened(storage)
    const parts = Array.from({ length: 3_000 }, (_, index) => textBytes(String(index % 10)))
    await file.write(0, parts)
    assert.equal(await contentOf(storage, claim), '0123456789'.repeat(300))
  },
  'grows to megabytes and can be read at any offset': async (storage) => {
    const { file } = await opened(storage)
    const content = Uint8Array.from({ length: 3_000_001 }, (_, index) => (index * 7) % 251)
    for (let offset = 0; offset < content.length; offset += 70_001) {
      await file.write(offset, [content.subarray(offset, offset + 70_001)])
    }
    const into = new Uint8Array(1_100_000)
    assert.equal(await file.read(into, 1_000_000), into.length)
    assert.deepEqual(into, content.slice(1_000_000, 2_100_000))
  },
  'keeps its bytes when the caller reuses the buffer': async (storage) => {
    const { claim, file } = await opened(storage)
    const buffer = textBytes('abc')
    await file.write(0, [buffer])
    buffer.fill(0)
    assert.equal(await contentOf(storage, claim), 'abc')
  },
  'can be overwritten': async (storage) => {
    const { claim, file } = await opened(storage, {}, textBytes('abcdef'))
    await file.write(2, [textBytes('XY')])
    assert.equal(file.length, 6)
    assert.equal(await contentOf(storage, claim), 'abXYef')
  },
  'refuses to leave a gap': async (storage) => {
    const { file } = await opened(storage)
    await assert.rejects(file.write(1, [textBytes('a')]), { code: 'internal' })
    assert.equal(file.length, 0)
  },
  'reads fewer bytes only at the end': async (storage) => {
    const { file } = await opened(storage, {}, hello)
    const into = new Uint8Array(4)
    assert.equal(await file.read(into, 3), 2)
    assert.deepEqual(into, Uint8Array.of(108, 111, 0, 0))
    assert.equal(await file.read(into, 5), 0)
    assert.equal(await file.read(into, 9), 0)
  },
  'continues at the length that it was truncated to': async (storage) => {
    const { claim, file } = await opened(storage)
    await file.write(0, [textBytes('abcdef')])
    await file.truncate(2)
    assert.equal(file.length, 2)
    await file.write(2, [textBytes('X')])
    await file.flush()
    assert.equal(await contentOf(storage, claim), 'abX')
  },
  'shows no old bytes after a truncation': async (storage) => {
    const { claim, file } = await opened(storage)
    await file.write(0, [textBytes('abcdef')])
    await file.truncate(2)
    await file.truncate(4)
    assert.equal(file.length, 2)
    assert.equal(await contentOf(storage, claim), 'ab')
  },
  'refuses every change under an older claim': async (storage) => {
    const { claim, file } = await opened(storage, {}, hello)
    const second = await claimed(storage, {}, resume, owner(2))
    const superseded = { code: 'superseded' }
    await assert.rejects(file.write(5, [hello]), superseded)
    await assert.rejects(file.flush(), superseded)
    await assert.rejects(file.truncate(0), superseded)
    await assert.rejects(file.publish('a', true), superseded)
    await assert.rejects(storage.files.open(claim), superseded)
    assert.equal(await contentOf(storage, second.claim), 'hello')
    assert.equal(await storage.place.read('alice', 'a'), undefined)
  },
  'is not written any more after a later claim is granted': async (storage) => {
    const { file } = await opened(storage)
    let isWritten = false
    const writing = file.write(0, [new Uint8Array(4_000_000)]).finally(() => {
      isWritten = true
    })
    await claimed(storage, {}, resume, owner(2))
    assert.ok(isWritten)
    await writing
  },
  'is gone after it was removed': async (storage) => {
    const { claim } = await claimed(storage)
    await fill(storage, claim)
    await storage.files.remove('alice', 'a')
    await storage.files.remove('alice', 'a')
    assert.equal(await contentOf(storage, claim), '')
  },
  'is removed by a sweep after a restart if its record was removed': async (storage) => {
    const { claim } = await claimed(storage)
    await fill(storage, claim)
    await storage.transfers.remove('alice', 'a')
    await storage.restart()
    await storage.files.sweep(Number.POSITIVE_INFINITY)
    assert.equal(await contentOf(storage, (await claimed(storage)).claim), '')
  },
  'refuses every call after it or its storage is closed': async (storage) => {
    const { files } = storage
    const { claim, file } = await opened(storage)
    const closed = { code: 'closed' }
    await file[Symbol.asyncDispose]()
    await file[Symbol.asyncDispose]()
    await assert.rejects(file.write(0, [hello]), closed)
    const other = await files.open(claim)
    await storage.close()
    await assert.rejects(other.read(new Uint8Array(1), 0), closed)
    await assert.rejects(other.write(0, [hello]), closed)
    await assert.rejects(other.publish('a', true), closed)
    await assert.rejects(files.open(claim), closed)
    await assert.rejects(files.stored('alice', 'a'), closed)
    await assert.rejects(files.remove('alice', 'a'), closed)
    await assert.rejects(files.space(), closed)
  },
}
