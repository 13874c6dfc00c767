import assert from 'node:assert/strict'
import type { Checks } from '../testCases.ts'
import type { TestedStorage } from './fixture.ts'
import { claimed, contentOf, fileOf, fill, hello, opened, start, textBytes, upload } from './steps.ts'

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
  const { claim } = await claimed(storage, {}, start)
  await fill(storage, claim)
  await storage.transfers.verified(claim, fileOf())
  await storage.files.remove('alice', 'a')
  await storage.restart()
  const file = await storage.files.open(claim)
  await assert.rejects(file.publish('a', true), { code: 'digest-mismatch' })
  assert.deepEqual(await storage.place.read('alice', 'a'), older && textBytes(older))
}

const loss = 'rejects with a digest mismatch if the partial file is missing and'

/** The promises of `PartialFile.publish`. */
export const publishingChecks: Checks<TestedStorage> = {
  'moves the file into place, in the folders of its name, and keeps it over restarts': async (storage) => {
    await upload(storage, { name: 'x/y/z' })
    assert.equal(await storage.files.stored('alice', 'x/y/z'), true)
    assert.equal(await storage.files.stored('alice', 'x/y'), false)
    assert.equal(await storage.files.stored('bob', 'x/y/z'), false)
    await storage.restart()
    assert.deepEqual(await storage.place.read('alice', 'x/y/z'), hello)
  },
  'takes an empty file': async (storage) => {
    await upload(storage, { size: 0 }, textBytes(''))
    assert.deepEqual(await storage.place.read('alice', 'a'), textBytes(''))
  },
  'replaces a file of that name if `replace` is set': async (storage) => {
    await upload(storage)
    await upload(storage, { size: 3 }, textBytes('new'))
    assert.deepEqual(await storage.place.read('alice', 'a'), textBytes('new'))
  },
  'changes nothing if the name is taken, and can then use another one': async (storage) => {
    const { place } = storage
    await upload(storage)
    const { claim, file } = await opened(storage, { size: 3 }, textBytes('new'))
    assert.equal(await file.publish('a', false), false)
    assert.deepEqual(await place.read('alice', 'a'), hello)
    assert.equal(await contentOf(storage, claim), 'new')
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
    assert.equal(await contentOf(storage, claim), 'hello')
  },
  'ends the partial file, so that the published one cannot be written': async (storage) => {
    const { file } = await opened(storage, {}, hello)
    await file.publish('a', true)
    await assert.rejects(file.write(0, [textBytes('XXXXX')]), { code: 'closed' })
    await storage.files.remove('alice', 'a')
    assert.deepEqual(await storage.place.read('alice', 'a'), hello)
  },
}
