import assert from 'node:assert/strict'
import type { Catalogue, CatalogueEntry, Metadata, OpenFile } from '../../ports/catalogue.ts'
import type { Checks } from '../testCases.ts'
import type { StorageSuite, TestedStorage } from './fixture.ts'
import { claimed, fileOf, hello, opened, owner, resume, textBytes, upload, wanted } from './steps.ts'

type Check = (catalogue: Catalogue, storage: TestedStorage) => Promise<void>

/** Returns a check that is skipped if the storage has no catalogue. */
const withCatalogue = (check: Check) => async (storage: TestedStorage) => {
  const { catalogue } = storage
  if (catalogue) await check(catalogue, storage)
}

/** Returns the names of all files of a query, which is made in pages of `most` files. */
async function namesOf(catalogue: Catalogue, most: number, prefix = '', user = 'alice'): Promise<readonly string[]> {
  const names: string[] = []
  for (;;) {
    const page = await catalogue.list(user, { prefix, after: names.at(-1) ?? '', most })
    assert.ok(page.files.length <= most)
    names.push(...page.files.map(({ name }) => name))
    if (!page.more) return names
    assert.ok(page.files.length > 0, 'an empty page says that more files follow')
  }
}

async function found(catalogue: Catalogue, name = 'a', needsDigest?: boolean): Promise<CatalogueEntry> {
  return (await catalogue.find('alice', name, needsDigest)) ?? assert.fail(`there is no file ${name}`)
}

async function textOf(file: OpenFile): Promise<string> {
  const bytes = new Uint8Array(file.size + 1)
  assert.equal(await file.read(bytes, 0), file.size)
  return new TextDecoder().decode(bytes.subarray(0, file.size))
}

async function textAt(catalogue: Catalogue, name: string, user = 'alice'): Promise<string | undefined> {
  await using file = await catalogue.open(user, name)
  return file && (await textOf(file))
}

const listChecks: Checks<TestedStorage> = {
  'lists the files of a user in the order of their bytes, in pages of any size': withCatalogue(
    async (catalogue, storage) => {
      assert.deepEqual(await namesOf(catalogue, 3), [])
      const names = ['a/b/c', 'a/b.c', 'a-b', 'a0', 'ä', 'z', 'b/\u{1f600}', 'b/\u{fb01}', 'b/c/d/e', 'b/c-', 'empty/x']
      for (const name of names) await upload(storage, { name })
      await upload(storage, { user: 'bob', name: 'mine' })
      const sorted = names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      for (const most of [1, 2, 3, 1_000]) assert.deepEqual(await namesOf(catalogue, most), sorted)
      const below = sorted.filter((name) => name.startsWith('b/'))
      for (const most of [1, 2, 1_000]) assert.deepEqual(await namesOf(catalogue, most, 'b/'), below)
      assert.deepEqual(
        await namesOf(catalogue, 2, 'a'),
        sorted.filter((name) => name.startsWith('a')),
      )
      assert.deepEqual(await namesOf(catalogue, 2, 'b/c'), ['b/c-', 'b/c/d/e'])
      assert.deepEqual(await namesOf(catalogue, 2, 'none'), [])
      assert.deepEqual(await namesOf(catalogue, 2, '', 'bob'), ['mine'])
    },
  ),
  'lists more files of a folder than a page has': withCatalogue(async (catalogue, storage) => {
    const names = Array.from({ length: 150 }, (_, at) => `f/${String(at).padStart(3, '0')}`)
    for (const name of names) await upload(storage, { name, size: 0 }, textBytes(''))
    assert.deepEqual(await namesOf(catalogue, 2), names)
  }),
}

const entryChecks: Checks<TestedStorage> = {
  'describes a file: size, time of the source, and digest': withCatalogue(async (catalogue, storage) => {
    assert.equal(await catalogue.find('alice', 'a'), undefined)
    await upload(storage, { modifiedAt: 1_700_000_000_123 })
    const { algorithm, digest } = fileOf()
    const { version, storedAt, ...entry } = await found(catalogue)
    assert.deepEqual(entry, { name: 'a', size: 5, modifiedAt: 1_700_000_000_123, algorithm, digest, metadata: {} })
    assert.ok(version.length > 0 && version.length <= 128, version)
    assert.ok(Number.isSafeInteger(storedAt) && storedAt > 0)
    await storage.restart()
    assert.equal((await storage.catalogue?.find('alice', 'a'))?.version, version)
    const page = await storage.catalogue?.list('alice', { prefix: '', after: '', most: 9 })
    assert.deepEqual([page?.files, page?.more], [[{ ...entry, version, storedAt }], false])
    assert.ok(page && page.looked >= page.files.length)
  }),
  'describes a file that came without an upload': withCatalogue(async (catalogue, storage) => {
    await using file = await storage.files.create('alice', [hello], 1_700_000_000_456)
    await storage.transfers.announce({ file: fileOf(), version: file.version, modifiedAt: 1_700_000_000_456 }, 60_000)
    await file.publish('a', true)
    const { modifiedAt, digest, size } = await found(catalogue)
    assert.deepEqual([modifiedAt, digest, size], [1_700_000_000_456, fileOf().digest, 5])
  }),
  'describes a file that was announced with metadata under another name': withCatalogue(async (catalogue, storage) => {
    const file = { ...fileOf(), storedName: 'x/a' }
    const metadata = { key: 'value' }
    await using created = await storage.files.create('alice', [hello], 1_000)
    const { version, source } = created
    const announced = { file, version, modifiedAt: 1_000, metadata, ...(source !== undefined && { source }) }
    await storage.transfers.announce(announced, 60_000)
    await created.publish('x/a', true)
    const settled = { user: 'alice', name: 'a', source: source ?? '', isStored: true }
    await storage.transfers.settled?.([settled])
    await storage.transfers.reported([file])
    assert.deepEqual((await found(catalogue, 'x/a')).metadata, metadata)
    const again = { ...wanted, modifiedAt: 1_000, storeAs: 'x/a' }
    assert.deepEqual(await storage.transfers.completed(again), file)
    await storage.transfers.forget(again, file.digest)
    assert.equal(await storage.transfers.completed(again), undefined)
    assert.deepEqual((await found(catalogue, 'x/a')).metadata, metadata)
  }),
  'finds the file of an upload under the name under which it was to be stored': withCatalogue(async (_, storage) => {
    await upload(storage, { storeAs: 'x/a' }, hello, 1_000, 'x/a')
    storage.wallTime += 2_000
    await upload(storage, { name: 'b' })
    await storage.restart()
    const completed = await storage.transfers.completed({ ...wanted, storeAs: 'x/a' })
    assert.equal(completed?.storedName, 'x/a')
  }),
  'keeps the metadata of an upload, also after its completion marker has expired': withCatalogue(
    async (catalogue, storage) => {
      const metadata = { contentType: 'text/plain', käse: '1' }
      await upload(storage, { metadata }, hello, 1_000)
      assert.deepEqual((await found(catalogue)).metadata, metadata)
      await catalogue.rename('alice', 'a', 'x/a', { replace: false })
      storage.wallTime += 2_000
      await upload(storage, { name: 'b', metadata: { b: '' } }, hello, 1_000)
      storage.wallTime += 2_000
      await upload(storage, { name: 'c' })
      await storage.restart()
      const metadataOf = async (name: string) => (await storage.catalogue?.find('alice', name))?.metadata
      assert.deepEqual(await metadataOf('x/a'), metadata)
      assert.deepEqual(await metadataOf('b'), { b: '' })
      await upload(storage, { name: 'x/a', size: 3 }, textBytes('new'))
      assert.deepEqual(await metadataOf('x/a'), {})
    },
  ),
  'keeps the digest and metadata of a stored file when a new version is not published': withCatalogue(
    async (catalogue, storage) => {
      await upload(storage, { metadata: { key: 'old' } })
      const before = await found(catalogue)
      await using file = await storage.files.create('alice', [textBytes('new')], 2_000)
      await storage.transfers.announce(
        { file: { ...fileOf(), size: 3, digest: '00'.repeat(32) }, version: file.version, modifiedAt: 2_000 },
        60_000,
      )
      assert.deepEqual(await found(catalogue), before)
      await storage.restart()
      await storage.transfers.unreported()
      assert.deepEqual(await storage.catalogue?.find('alice', 'a'), before)
    },
  ),
  'takes over the metadata of an upload whose file is stored already, once the digest agrees': withCatalogue(
    async (catalogue, storage) => {
      const { digest } = fileOf()
      const completed = (metadata: Metadata, known?: string, storeAs?: string) =>
        storage.transfers.completed({ ...wanted, metadata, ...(storeAs !== undefined && { storeAs }) }, known)
      await upload(storage, { metadata: { key: 'old' } }, hello, 1_000)
      const claim = await storage.transfers.claim({ ...wanted, metadata: { key: 'new' } }, owner(1), resume)
      assert.ok('completed' in claim)
      assert.deepEqual(await completed({ key: 'new' }), fileOf())
      assert.equal(await completed({ key: 'new' }, '00'.repeat(32)), undefined)
      assert.deepEqual((await found(catalogue)).metadata, { key: 'old' })
      assert.deepEqual(await completed({ key: 'new' }, digest), fileOf())
      assert.deepEqual((await found(catalogue)).metadata, { key: 'new' })
      assert.deepEqual(await storage.transfers.completed(wanted, digest), fileOf())
      storage.wallTime += 2_000
      await upload(storage, { name: 'b' })
      assert.deepEqual((await found(catalogue)).metadata, { key: 'new' })
      assert.deepEqual(await completed({ key: 'newer', more: '' }, digest), fileOf())
      await storage.restart()
      assert.deepEqual((await storage.catalogue?.find('alice', 'a'))?.metadata, { key: 'newer', more: '' })
    },
  ),
  'takes over the metadata of an upload whose file is stored under another name': withCatalogue(
    async (catalogue, storage) => {
      const stored = await upload(storage, { metadata: { key: 'old' } }, hello, 60_000, 'b')
      const want = { ...wanted, metadata: { key: 'new' } }
      assert.deepEqual(await storage.transfers.completed(want, stored.digest), stored)
      assert.deepEqual((await found(catalogue, 'b')).metadata, { key: 'new' })
    },
  ),
  'keeps the digest and metadata of a stored file whose upload is forgotten': withCatalogue(
    async (catalogue, storage) => {
      const metadata = { key: 'old' }
      await upload(storage, { metadata })
      const before = await found(catalogue)
      await storage.transfers.forget(wanted, fileOf().digest)
      assert.deepEqual(await found(catalogue), before)
      await claimed(storage, { metadata })
    },
  ),
  'describes a file that is stored under another name than that of its upload': withCatalogue(
    async (catalogue, storage) => {
      const metadata = { key: 'old' }
      await upload(storage, { metadata }, hello, 60_000, 'b')
      const { metadata: kept, digest } = await found(catalogue, 'b')
      assert.deepEqual([kept, digest], [metadata, fileOf().digest])
    },
  ),
  'computes a digest that it does not know, once it is needed': withCatalogue(async (catalogue, storage) => {
    await using file = await storage.files.create('alice', [hello], 1_000)
    await file.publish('a', true)
    assert.equal((await found(catalogue)).digest, undefined)
    assert.equal((await found(catalogue, 'a', true)).digest, fileOf().digest)
    assert.equal((await found(catalogue)).digest, fileOf().digest)
  }),
  'has another version after each replacement': withCatalogue(async (catalogue, storage) => {
    const versions = new Set<string>()
    for (const content of ['one', 'two', 'ten']) {
      await upload(storage, { size: 3, modifiedAt: 1_000 + versions.size }, textBytes(content))
      versions.add((await found(catalogue)).version)
    }
    assert.equal(versions.size, 3)
  }),
  'has another version after each replacement by a file of the same size and time': withCatalogue(
    async (catalogue, storage) => {
      const versions = new Set<string>()
      for (let count = 0; count < 6; count++) {
        await using file = await storage.files.create('alice', [hello], 1_000)
        await storage.transfers.announce({ file: fileOf(), version: file.version, modifiedAt: 1_000 }, 60_000)
        await file.publish('a', true)
        await storage.transfers.reported([{ user: 'alice', name: 'a' }])
        versions.add((await found(catalogue)).version)
      }
      assert.equal(versions.size, 6)
    },
  ),
}

const readChecks: Checks<TestedStorage> = {
  'reads a file at any offset': withCatalogue(async (catalogue, storage) => {
    assert.equal(await catalogue.open('alice', 'a'), undefined)
    await upload(storage)
    await using file = (await catalogue.open('alice', 'a')) ?? assert.fail()
    assert.equal(file.version, (await found(catalogue)).version)
    const into = new Uint8Array(3)
    assert.deepEqual([await file.read(into, 1), new TextDecoder().decode(into)], [3, 'ell'])
    assert.equal(await file.read(into, 3), 2)
    assert.equal(await file.read(into, 5), 0)
    assert.equal(await file.read(into, 50), 0)
    assert.equal(await catalogue.open('bob', 'a'), undefined)
  }),
  'reads on after the file was replaced or removed': withCatalogue(async (catalogue, storage) => {
    await upload(storage)
    await using file = (await catalogue.open('alice', 'a')) ?? assert.fail()
    await upload(storage, { size: 3 }, textBytes('new'))
    assert.equal(await textOf(file), 'hello')
    assert.equal(await textAt(catalogue, 'a'), 'new')
    await catalogue.remove('alice', 'a')
    assert.equal(await textOf(file), 'hello')
  }),
}

const removeChecks: Checks<TestedStorage> = {
  'removes a file and the folders that this leaves empty': withCatalogue(async (catalogue, storage) => {
    await upload(storage, { name: 'x/y/a' })
    await upload(storage, { name: 'x/b' })
    assert.equal(await catalogue.remove('alice', 'x/y/a'), true)
    assert.equal(await catalogue.remove('alice', 'x/y/a'), false)
    assert.equal(await catalogue.remove('bob', 'x/b'), false)
    assert.deepEqual(await namesOf(catalogue, 9), ['x/b'])
    const usage = await storage.files.usage?.('alice')
    if (usage) assert.deepEqual(usage, { ...(await storage.files.usage?.('alice', true)), bytes: 5, files: 1 })
    await storage.restart()
    assert.equal(await storage.files.stored('alice', 'x/y/a'), false)
    // The name of the folder is free again.
    await upload(storage, { name: 'x/y' })
  }),
  'removes only the version that is named': withCatalogue(async (catalogue, storage) => {
    await upload(storage)
    const { version } = await found(catalogue)
    await upload(storage, { size: 3 }, textBytes('new'))
    await assert.rejects(catalogue.remove('alice', 'a', version), { code: 'version-changed' })
    assert.equal(await catalogue.remove('alice', 'a', (await found(catalogue)).version), true)
  }),
  'does not count a removed upload as completed': withCatalogue(async (catalogue, storage) => {
    await upload(storage)
    await catalogue.remove('alice', 'a')
    assert.equal(await storage.transfers.completed({ ...fileOf(), modifiedAt: 1_000 }), undefined)
    await upload(storage)
    assert.equal(await textAt(catalogue, 'a'), 'hello')
  }),
}

const renameChecks: Checks<TestedStorage> = {
  'neither removes, renames nor replaces a file whose upload is not complete': withCatalogue(
    async (catalogue, storage) => {
      await upload(storage, { name: 'b' })
      const { claim, file } = await opened(storage, {}, hello)
      await storage.transfers.verified(claim, fileOf({}, 'x/a'))
      assert.equal(await file.publish('x/a', true), true)
      await file[Symbol.asyncDispose]()
      const busy = { code: 'file-busy' }
      await assert.rejects(catalogue.remove('alice', 'x/a'), busy)
      await assert.rejects(catalogue.rename('alice', 'x/a', 'c', { replace: false }), busy)
      await assert.rejects(catalogue.rename('alice', 'b', 'x/a', { replace: true }), busy)
      assert.deepEqual(await namesOf(catalogue, 9), ['b', 'x/a'])
      await storage.transfers.complete(claim, 60_000)
      await storage.transfers.release?.(claim)
      assert.equal(await catalogue.remove('alice', 'x/a'), true)
    },
  ),
  'gives a file another name, with its version and digest': withCatalogue(async (catalogue, storage) => {
    await upload(storage, { name: 'x/a' })
    const former = await found(catalogue, 'x/a')
    assert.equal(await catalogue.rename('alice', 'x/a', 'y/z/b', { replace: false }), false)
    const { storedAt, ...entry } = await found(catalogue, 'y/z/b')
    assert.deepEqual({ ...entry, storedAt: former.storedAt }, { ...former, name: 'y/z/b' })
    assert.ok(storedAt >= former.storedAt)
    assert.deepEqual(await namesOf(catalogue, 9), ['y/z/b'])
    const usage = await storage.files.usage?.('alice')
    if (usage) assert.deepEqual(usage, await storage.files.usage?.('alice', true))
    await storage.restart()
    assert.equal(await textAt(storage.catalogue ?? catalogue, 'y/z/b'), 'hello')
  }),
  'replaces a file only if it may': withCatalogue(async (catalogue, storage) => {
    await upload(storage)
    await upload(storage, { name: 'b', size: 3 }, textBytes('new'))
    await assert.rejects(catalogue.rename('alice', 'a', 'b', { replace: false }), { code: 'file-exists' })
    assert.equal(await textAt(catalogue, 'b'), 'new')
    assert.equal(await catalogue.rename('alice', 'a', 'b', { replace: true }), true)
    assert.equal(await textAt(catalogue, 'b'), 'hello')
    assert.equal(await storage.files.used('alice'), 5)
    await assert.rejects(catalogue.rename('alice', 'a', 'b', { replace: true }), { code: 'no-such-file' })
  }),
  'can be repeated if it names a version': withCatalogue(async (catalogue, storage) => {
    await upload(storage)
    const { version } = await found(catalogue)
    const rename = () => catalogue.rename('alice', 'a', 'b', { version, replace: false })
    await rename()
    assert.equal(await rename(), false)
    await upload(storage, { size: 3 }, textBytes('new'))
    await assert.rejects(rename(), { code: 'version-changed' })
  }),
  'refuses a name above or below another file': withCatalogue(async (catalogue, storage) => {
    await upload(storage)
    await upload(storage, { name: 'x/y' })
    const to = (newName: string) => catalogue.rename('alice', 'a', newName, { replace: true })
    await assert.rejects(to('x'), { code: 'name-conflict' })
    await assert.rejects(to('x/y/z'), { code: 'name-conflict' })
    assert.equal(await to('a'), false)
    assert.deepEqual(await namesOf(catalogue, 9), ['a', 'x/y'])
  }),
}

export const catalogueSuites: readonly StorageSuite[] = [
  ['the catalogue of a storage', { ...listChecks, ...entryChecks, ...readChecks }],
  ['changes of the catalogue of a storage', { ...removeChecks, ...renameChecks }],
]
