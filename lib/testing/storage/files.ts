import assert from 'node:assert/strict'
import type { Checks } from '../testCases.ts'
import type { StorageSuite, TestedStorage } from './fixture.ts'
import { claimed, fileOf, fill, hello, opened, owner, recordsOf, resume, textBytes, textOf, upload } from './steps.ts'

const partialFilesChecks: Checks<TestedStorage> = {
  'is empty at first, and keeps the written bytes over a restart': async (storage) => {
    const { claim } = await claimed(storage)
    assert.equal(await textOf(storage, claim), '')
    await fill(storage, claim)
    await storage.restart()
    assert.equal(await textOf(storage, claim), 'hello')
  },
  'takes parts one after another, including empty ones, and more than one system call takes': async (storage) => {
    const { claim, file } = await opened(storage)
    await file.write(0, [textBytes('ab'), textBytes(''), textBytes('c')])
    await file.write(3, [])
    const parts = Array.from({ length: 3_000 }, (_, index) => textBytes(String(index % 10)))
    await file.write(3, parts)
    assert.equal(file.length, 3_003)
    assert.equal(await textOf(storage, claim), `abc${'0123456789'.repeat(300)}`)
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
    assert.equal(await textOf(storage, claim), 'abc')
  },
  'can be overwritten, and refuses to leave a gap': async (storage) => {
    const { claim, file } = await opened(storage, {}, textBytes('abcdef'))
    await file.write(2, [textBytes('XY')])
    await assert.rejects(file.write(7, [textBytes('a')]), { code: 'internal' })
    assert.equal(file.length, 6)
    assert.equal(await textOf(storage, claim), 'abXYef')
  },
  'reads fewer bytes only at the end': async (storage) => {
    const { file } = await opened(storage, {}, hello)
    const into = new Uint8Array(4)
    assert.equal(await file.read(into, 3), 2)
    assert.deepEqual(into, Uint8Array.of(108, 111, 0, 0))
    assert.equal(await file.read(into, 5), 0)
    assert.equal(await file.read(into, 9), 0)
  },
  'continues at the length that it was truncated to, without old bytes': async (storage) => {
    const { claim, file } = await opened(storage)
    await file.write(0, [textBytes('abcdef')])
    await file.truncate(2)
    await file.truncate(4)
    assert.equal(file.length, 2)
    assert.equal(await textOf(storage, claim), 'ab')
    await file.write(2, [textBytes('X')])
    await file.flush()
    assert.equal(await textOf(storage, claim), 'abX')
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
    assert.equal(await textOf(storage, second.claim), 'hello')
    assert.equal(await storage.place.read('alice', 'a'), undefined)
  },
  'is not written any more after a later claim is granted': async (storage) => {
    const { file } = await opened(storage)
    const order: string[] = []
    const writing = file.write(0, [new Uint8Array(4_000_000)]).then(() => order.push('written'))
    await claimed(storage, {}, resume, owner(2)).then(() => order.push('claimed'))
    await writing
    assert.deepEqual(order, ['written', 'claimed'])
  },
  'is gone after it was removed': async (storage) => {
    const { claim } = await opened(storage, {}, hello)
    await storage.files.remove('alice', 'a')
    await storage.files.remove('alice', 'a')
    assert.equal(await textOf(storage, claim), '')
  },
  'is removed by a sweep after a restart if its record was removed': async (storage) => {
    await opened(storage, {}, hello)
    await storage.transfers.remove('alice', 'a')
    await storage.restart()
    await storage.files.sweep(Number.POSITIVE_INFINITY)
    assert.equal(await textOf(storage, (await claimed(storage)).claim), '')
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

async function repeatsAfterCrash(storage: TestedStorage, replace: boolean): Promise<void> {
  const { claim, file } = await opened(storage, {}, hello)
  await storage.transfers.verified(claim, fileOf())
  await file.publish('a', replace)
  await storage.restart()
  const again = await storage.files.open(claim)
  assert.equal(await again.publish('a', replace), true)
  await storage.transfers.complete(claim, 1_000)
  assert.deepEqual(await storage.place.read('alice', 'a'), hello)
}

/** Rejects unless a lost partial file is noticed. `older` is the content of the stored file, if there is one. */
async function noticesLoss(storage: TestedStorage, older?: string): Promise<void> {
  if (older !== undefined) await upload(storage, { size: older.length, modifiedAt: 1 }, textBytes(older))
  const { claim } = await opened(storage, {}, hello)
  await storage.transfers.verified(claim, fileOf())
  await storage.files.remove('alice', 'a')
  await storage.restart()
  const file = await storage.files.open(claim)
  await assert.rejects(file.publish('a', true), { code: 'digest-mismatch' })
  assert.deepEqual(await storage.place.read('alice', 'a'), older && textBytes(older))
}

const loss = 'rejects with a digest mismatch if the partial file is missing and'

const publishingChecks: Checks<TestedStorage> = {
  'moves the file into place, in the folders of its name, and keeps it over restarts': async (storage) => {
    await upload(storage, { name: 'x/y/z' })
    assert.equal(await storage.files.stored('alice', 'x/y/z'), true)
    assert.equal(await storage.files.stored('alice', 'x/y'), false)
    assert.equal(await storage.files.stored('bob', 'x/y/z'), false)
    await storage.restart()
    assert.deepEqual(await storage.place.read('alice', 'x/y/z'), hello)
  },
  'replaces a file of that name if `replace` is set, and can be empty': async (storage) => {
    for (const content of ['hello', 'new', '']) {
      await upload(storage, { size: content.length }, textBytes(content))
      assert.deepEqual(await storage.place.read('alice', 'a'), textBytes(content))
    }
  },
  'changes nothing if the name is taken, and can then use another one': async (storage) => {
    const { place } = storage
    await upload(storage)
    const { claim, file } = await opened(storage, { size: 3 }, textBytes('new'))
    assert.equal(await file.publish('a', false), false)
    assert.deepEqual(await place.read('alice', 'a'), hello)
    assert.equal(await textOf(storage, claim), 'new')
    assert.equal(await file.publish('a (1)', false), true)
    assert.deepEqual(await place.read('alice', 'a (1)'), textBytes('new'))
    assert.deepEqual(await place.read('alice', 'a'), hello)
  },
  'is finished after a crash between publishing and completing, replacing': (storage) =>
    repeatsAfterCrash(storage, true),
  'is finished after a crash between publishing and completing, not replacing': (storage) =>
    repeatsAfterCrash(storage, false),
  'can be repeated at once, as after a failed completion': async (storage) => {
    const { claim, file } = await opened(storage, {}, hello)
    await storage.transfers.verified(claim, fileOf())
    assert.equal(await file.publish('a', true), true)
    await file.flush()
    assert.equal(await file.publish('a', true), true)
    await storage.transfers.complete(claim, 1_000)
    assert.deepEqual(await storage.place.read('alice', 'a'), hello)
  },
  [`${loss} no file is under the name`]: (storage) => noticesLoss(storage),
  [`${loss} an older file of another size is under the name`]: (storage) => noticesLoss(storage, 'old'),
  [`${loss} an older file of the same size is under the name`]: (storage) => noticesLoss(storage, 'jello'),
  'refuses names that conflict with stored ones, or that could escape their folder': async (storage) => {
    await upload(storage, { name: 'x/y' })
    const { claim, file } = await opened(storage, {}, hello)
    await assert.rejects(file.publish('x', true), { code: 'name-conflict' })
    await assert.rejects(file.publish('x/y/z', true), { code: 'name-conflict' })
    await assert.rejects(file.publish('../bob/a', true), { code: 'bad-name' })
    assert.equal(await textOf(storage, claim), 'hello')
  },
  'ends the partial file, so that the published one cannot be written': async (storage) => {
    const { file } = await opened(storage, {}, hello)
    await file.publish('a', true)
    await assert.rejects(file.write(0, [textBytes('XXXXX')]), { code: 'closed' })
    await storage.files.remove('alice', 'a')
    assert.deepEqual(await storage.place.read('alice', 'a'), hello)
  },
}

/** Creates a file without an upload, and publishes it. */
async function created(storage: TestedStorage, storedName = 'a', content = hello, replace = true): Promise<boolean> {
  await using file = await storage.files.create('alice', [content])
  return await file.publish(storedName, replace)
}

const createdChecks: Checks<TestedStorage> = {
  'is published with all its parts, which the caller may reuse, and survives a restart': async (storage) => {
    const parts = Array.from({ length: 3_000 }, (_, index) => textBytes(String(index % 10)))
    {
      await using file = await storage.files.create('alice', [...parts, textBytes('')])
      for (const part of parts) part.fill(0)
      assert.equal(await file.publish('x/y', false), true)
    }
    assert.equal(await created(storage, 'empty', textBytes('')), true)
    await storage.restart()
    assert.deepEqual(await storage.place.read('alice', 'x/y'), textBytes('0123456789'.repeat(300)))
    assert.deepEqual(await storage.place.read('alice', 'empty'), textBytes(''))
    await checkUsage(storage, 2, 3_000, 1)
  },
  'replaces another one only if `replace` is set, and can otherwise use another name': async (storage) => {
    await created(storage)
    await using file = await storage.files.create('alice', [textBytes('new')])
    assert.equal(await file.publish('a', false), false)
    assert.deepEqual(await storage.place.read('alice', 'a'), hello)
    assert.equal(await file.publish('b', false), true)
    assert.equal(await created(storage, 'a', textBytes('newer')), true)
    assert.deepEqual(await storage.place.read('alice', 'a'), textBytes('newer'))
    assert.deepEqual(await storage.place.read('alice', 'b'), textBytes('new'))
  },
  'refuses names that conflict with stored ones, or that could escape their folder': async (storage) => {
    await created(storage, 'x/y')
    await using file = await storage.files.create('alice', [hello])
    await assert.rejects(file.publish('x', true), { code: 'name-conflict' })
    await assert.rejects(file.publish('x/y/z', true), { code: 'name-conflict' })
    await assert.rejects(async () => file.publish('../bob/a', true), { code: 'bad-name' })
    assert.equal(await file.publish('x/z', true), true)
  },
  'leaves nothing if it is disposed of or interrupted before it is published, and survives a sweep': async (
    storage,
  ) => {
    const content = new Uint8Array(1_000_000)
    const { free, blockBytes } = await storage.files.space()
    await (await storage.files.create('alice', [content]))[Symbol.asyncDispose]()
    const kept = await storage.files.create('alice', [hello])
    assert.deepEqual(await storage.files.sweep(Number.POSITIVE_INFINITY), [])
    assert.equal(await kept.publish('a', false), true)
    await storage.files.create('alice', [content])
    await storage.restart()
    assert.deepEqual(await storage.files.sweep(0), [])
    assert.deepEqual([await storage.files.used('alice'), await storage.files.heldBytes('alice', 'a')], [5, 0])
    // Other programs can use a disk too.
    if (blockBytes === 1) assert.equal((await storage.files.space()).free, free - 5)
  },
  'is stored together with others, each with its own result': async (storage) => {
    const { files } = storage
    await using first = await files.createAll?.('alice', [[hello], [], [textBytes('new')], [hello]])
    // The method is optional.
    if (!first) return
    assert.equal(new Set(first.versions).size, 4)
    const places = ['a', 'x/empty', 'a/below'].map((storedName, index) => ({ index, storedName }))
    const results = await first.publish(places, true)
    assert.deepEqual(results.slice(0, 2), [true, true])
    assert.equal((results[2] as { code?: string }).code, 'name-conflict')
    assert.deepEqual(await first.publish([{ index: 3, storedName: 'a' }], false), [false])
    assert.equal(await files.used('alice'), hello.length)
    await first[Symbol.asyncDispose]()
    assert.deepEqual(await files.sweep(0), [])
  },
  'is refused after the storage is closed': async (storage) => {
    const file = await storage.files.create('alice', [hello])
    await storage.close()
    await assert.rejects(async () => file.publish('a', true), { code: 'closed' })
    await assert.rejects(storage.files.create('alice', [hello]), { code: 'closed' })
  },
}

async function checkUsage(storage: TestedStorage, files: number, bytes: number, folders: number): Promise<void> {
  for (const recount of [false, true]) {
    const usage = await storage.files.usage?.('alice', recount)
    if (!usage) return
    // A store without folders counts none.
    assert.ok([0, folders].includes(usage.folders), `${usage.folders} folders, and not ${folders}`)
    assert.deepEqual(usage, { bytes, files, folders: usage.folders })
  }
}

async function checkUnfinished(storage: TestedStorage, uploads: number, bytes: number): Promise<void> {
  const totalsOf = async (except?: readonly string[]) => {
    const totals = await storage.transfers.unfinished?.('alice', except)
    return totals && { uploads: totals.uploads, bytes: totals.bytes }
  }
  const totals = await totalsOf()
  if (!totals) return
  assert.deepEqual(totals, { uploads, bytes })
  const names = (await recordsOf(storage, 'alice')).map(({ name }) => name)
  assert.deepEqual(await totalsOf([...names, 'none']), { uploads: 0, bytes: 0 })
}

const usageChecks: Checks<TestedStorage> = {
  'are those of all published files, including folders, or of one, and of no other user': async (storage) => {
    assert.equal(await storage.files.used('alice'), 0)
    await upload(storage, { name: 'x' })
    await upload(storage, { name: 'y/z/x', size: 3 }, textBytes('new'))
    await upload(storage, { name: 'empty', size: 0 }, textBytes(''))
    await upload(storage, { user: 'bob', name: 'x' })
    await storage.restart()
    assert.equal(await storage.files.used('alice'), hello.length + 3)
    assert.equal(await storage.files.used('bob'), hello.length)
    assert.equal(await storage.files.used('carol'), 0)
    assert.equal(await storage.files.used('alice', 'y/z/x'), 3)
    assert.equal(await storage.files.used('alice', 'y'), 0)
    assert.equal(await storage.files.used('alice', 'none'), 0)
  },
  'include a replacing file but not the replaced one, and no unfinished upload': async (storage) => {
    await upload(storage)
    await upload(storage, { size: 3 }, textBytes('new'))
    await opened(storage, { size: 9 }, new Uint8Array(9))
    assert.equal(await storage.files.used('alice'), 3)
  },
  'include more files than one step reads': async (storage) => {
    for (let at = 0; at < 70; at++) await upload(storage, { name: `${at}` })
    assert.equal(await storage.files.used('alice'), 70 * hello.length)
  },
  'are part of the totals of files and folders, if there are any, and follow each publication': async (storage) => {
    await checkUsage(storage, 0, 0, 0)
    await upload(storage, { name: 'x' })
    await upload(storage, { name: 'y/z/x', size: 3 }, textBytes('new'))
    await upload(storage, { user: 'bob', name: 'x' })
    await checkUsage(storage, 2, hello.length + 3, 2)
    await upload(storage, { name: 'x', size: 3 }, textBytes('new'))
    await upload(storage, { name: 'y/x', size: 0 }, textBytes(''))
    await checkUsage(storage, 3, 6, 2)
    await opened(storage, { name: 'u', size: 9 }, new Uint8Array(9))
    await checkUsage(storage, 3, 6, 2)
    await storage.restart()
    await checkUsage(storage, 3, 6, 2)
  },
  'are separate from the totals of unfinished uploads, if there are any, which follow each change': async (storage) => {
    await checkUnfinished(storage, 0, 0)
    const { claim } = await opened(storage, { size: 9 }, new Uint8Array(9))
    await claimed(storage, { user: 'bob' })
    await storage.transfers.checkpoint(claim, [{ offset: 4, digest: new Uint8Array() }], 1)
    await storage.transfers.checkpoint(claim, [{ offset: 9, digest: new Uint8Array() }], 1)
    await checkUnfinished(storage, 1, 9)
    await claimed(storage, { name: 'b' })
    await checkUnfinished(storage, 2, 9)
    await storage.restart()
    await checkUnfinished(storage, 2, 9)
    await storage.transfers.remove('alice', 'a')
    await checkUnfinished(storage, 1, 0)
    const verified = await opened(storage, { name: 'b' }, hello)
    await storage.transfers.verified(verified.claim, fileOf({ name: 'b' }))
    await checkUnfinished(storage, 1, hello.length)
    await verified.file.publish('b', true)
    await storage.transfers.complete(verified.claim, 60_000)
    await checkUnfinished(storage, 0, 0)
  },
  'are separate from records, which can be listed for one user, and found by their names if possible': async (
    storage,
  ) => {
    const { record } = await claimed(storage)
    await claimed(storage, { user: 'alice2' })
    await claimed(storage, { user: 'bob', name: 'b' })
    assert.deepEqual(await recordsOf(storage, 'alice'), [record])
    assert.equal((await recordsOf(storage)).length, 3)
    if (!storage.transfers.record) return
    assert.deepEqual(await storage.transfers.record('alice', 'a'), record)
    assert.equal(await storage.transfers.record('alice', 'b'), undefined)
    assert.equal(await storage.transfers.record('bob', 'a'), undefined)
  },
}

const fullChecks: Checks<TestedStorage> = {
  'refuses bytes that do not fit, keeps the others, and continues when there is space again': async (storage) => {
    const other = await claimed(storage, { name: 'b' })
    await fill(storage, other.claim, new Uint8Array(1_500_000))
    const { claim, file } = await opened(storage, {}, hello)
    const { free } = await storage.files.space()
    await assert.rejects(file.write(5, [new Uint8Array(4_000_000)]), { code: 'disk-full' })
    assert.deepEqual([file.length, (await storage.files.space()).free], [5, free])
    await storage.transfers.remove('alice', 'b')
    await storage.files.remove('alice', 'b')
    await file.write(5, [new Uint8Array(1_000_000).fill(33)])
    await file.flush()
    assert.equal(file.length, 1_000_005)
    assert.equal((await textOf(storage, claim)).slice(0, 7), 'hello!!')
  },
  'has less free space with each message': async (storage) => {
    const before = await storage.files.space()
    assert.ok(before.free <= before.total && before.total <= 4_100_000)
    await opened(storage, {}, new Uint8Array(1_000_000))
    assert.ok((await storage.files.space()).free <= before.free - 1_000_000)
    const held = await storage.files.heldBytes('alice', 'a')
    assert.ok(held >= 1_000_000 && held < 1_000_000 + 2 * before.blockBytes, `${held}`)
    assert.equal(await storage.files.heldBytes('alice', 'none'), 0)
  },
  'refuses a file without an upload that does not fit, and keeps its free space': async (storage) => {
    await created(storage)
    const { free } = await storage.files.space()
    await assert.rejects(storage.files.create('alice', [hello, new Uint8Array(5_000_000)]), { code: 'disk-full' })
    assert.equal((await storage.files.space()).free, free)
    assert.equal(await created(storage, 'b', new Uint8Array(1_000_000)), true)
  },
}

const failedFlushChecks: Checks<TestedStorage> = {
  'rejects, and keeps the bytes of earlier flushes': async (storage) => {
    const size = 'hello and more'.length
    const { claim, file } = await opened(storage, { size }, hello)
    const digest = Uint8Array.of(1)
    await storage.transfers.checkpoint(claim, [{ offset: hello.length, digest }], 2_000_000)
    await file.write(hello.length, [textBytes(' and more')])
    {
      using _ = await storage.place.failFlushes?.()
      await assert.rejects(file.flush(), { code: 'internal' })
    }
    await file[Symbol.asyncDispose]()
    await storage.restart()
    const { claim: again, record } = await claimed(storage, { size })
    assert.deepEqual(record.checkpoints, [{ offset: hello.length, digest }])
    assert.equal((await textOf(storage, again)).slice(0, hello.length), 'hello')
  },
  'rejects a file without an upload, and leaves nothing of it': async (storage) => {
    {
      using _ = await storage.place.failFlushes?.()
      await assert.rejects(created(storage), { code: 'internal' })
    }
    assert.equal(await storage.files.stored('alice', 'a'), false)
    assert.equal(await created(storage), true)
  },
}

const lifeChecks: Checks<TestedStorage> = {
  'can be closed more than once': async (storage) => {
    await storage.close()
    await storage.close()
  },
  'can be opened by one owner at a time': async (storage) => {
    const second = storage.place.storage()
    await assert.rejects(second.open(storage.platform), { code: 'data-locked' })
    assert.equal(await storage.files.stored('alice', 'a'), false)
  },
}

/** The promises of `Storage`, `FileStore` and `PartialFile`, and of the other sums for a quota. */
export const fileSuites: readonly StorageSuite[] = [
  ['the life of a storage', lifeChecks],
  ['a partial file in a storage', partialFilesChecks],
  ['a full storage', fullChecks, 'smallLocation'],
  ['the bytes of a user in a storage', usageChecks],
  ['a failed flush in a storage', failedFlushChecks, 'failingLocation'],
  ['publishing in a storage', publishingChecks],
  ['a file without an upload in a storage', createdChecks],
]
