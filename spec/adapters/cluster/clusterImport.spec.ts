import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { hashOf } from '../../../lib/adapters/auth/tokens.ts'
import { type ImportFault, type ImportPlaces, importData } from '../../../lib/adapters/cluster/clusterImport.ts'
import type { Steps } from '../../../lib/adapters/cluster/steps.ts'
import type { DataDirectory } from '../../../lib/adapters/disk/dataDirectory.ts'
import { disk } from '../../../lib/adapters/disk/disk.ts'
import { ImportedFiles } from '../../../lib/adapters/disk/importedFiles.ts'
import { createSharedFiles } from '../../../lib/adapters/disk/sharedFiles.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { Storage } from '../../../lib/ports/storage.ts'
import { hex } from '../../../lib/runtime/hex.ts'
import { message, roomy } from '../../../lib/testing/storage/mailSteps.ts'
import { spec } from '../../support/spec.ts'
import { canMount, smallDisk } from '../../testing/storage/places.ts'
import { alteredSteps, unansweredSteps } from './alteredSteps.ts'
import {
  clock,
  ImportTarget,
  importPlace,
  makeDataDirectory,
  opened,
  receivedMessage,
  uploadOf,
  waitingMessage,
} from './importRig.ts'

/** Returns the digests of the files below a directory, by their paths. */
async function contentsOf(path: string): Promise<Record<string, string>> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const digest = async (file: string) =>
    createHash('sha256')
      .update(await readFile(file))
      .digest('hex')
  const contents = await Promise.all(files.map(async (file) => [file.slice(path.length), await digest(file)] as const))
  return Object.fromEntries(contents.sort())
}

/** Returns everything that a server of the cluster has, without numbers that differ between two imports. */
async function stateOf(target: ImportTarget) {
  const steps = await target.steps()
  await using storage = await target.server()
  const { transfers, files, mailboxes } = storage
  const described = await describedBy(storage)
  const records = []
  for await (const { token: _, ...record } of transfers.records()) records.push(record)
  const messages = []
  for (const user of ['bob', 'carol']) messages.push(await mailboxes.read(user, 0, 100, 1_000_000))
  const repeated = await mailboxes.append(
    [receivedMessage, waitingMessage, { ...receivedMessage, recipients: ['bob'] }],
    roomy,
  )
  const levels = await mailboxes.levels()
  const completed = [0, 1, 2].map((number) => transfers.completed(uploadOf('alice', `folder ${number % 2}/${number}`)))
  const unreported = (await transfers.unreported()).map(({ name }) => name)
  const continued = []
  for (const record of records) {
    const session = 'c'.repeat(32)
    const owner = { ...record.owner, session }
    await storage.links.openSession({ user: record.user, node: owner.node, session }, 1)
    const options = { fresh: false, takeOver: false, onConflict: 'replace', at: 1 } as const
    const claimed = await transfers.claim(record, owner, options)
    if ('completed' in claimed) assert.fail(`${record.name} is complete`)
    await using file = await files.open(claimed.claim)
    const content = new Uint8Array(record.size)
    const length = await file.read(content, 0)
    continued.push([record.name, length, hex(content), claimed.record.checkpoints])
  }
  const stored = await contentsOf(join(target.path, 'files'))
  const users = ((await steps.users(0))?.users ?? []).map((user) => ({ ...user, tokenHash: hex(user.tokenHash) }))
  const codes = repeated.map((error) => error?.code)
  return {
    users,
    records,
    messages,
    codes,
    levels,
    completed: await Promise.all(completed),
    unreported,
    continued,
    stored,
    described,
  }
}

/** Resolves with the digests and the metadata of the files of alice, by their names. */
async function describedBy({ catalogue }: Pick<Storage, 'catalogue'>) {
  const page = await catalogue?.list('alice', { prefix: '', after: '', most: 99 })
  return page?.files.map(({ name, algorithm, digest, metadata }) => ({ name, algorithm, digest, metadata })) ?? []
}

interface Trial extends AsyncDisposable {
  readonly path: string
  readonly token: string
}

async function dataDirectory(): Promise<Trial> {
  const directory = await importPlace()
  const path = join(directory.path, 'data')
  const token = await makeDataDirectory(path)
  return { path, token, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() }
}

/** Imports a data directory into a cluster. `alter` can change the steps and the calls for files. */
async function imported(path: string, target: ImportTarget, alter?: Parameters<typeof importedFrom>[2]) {
  await using source = await opened(path)
  return await importedFrom(source, target, alter)
}

async function importedFrom(
  source: DataDirectory,
  target: ImportTarget,
  alter: (places: Pick<ImportPlaces, 'files'> & { steps: Steps }) => Pick<ImportPlaces, 'files' | 'steps'> = (places) =>
    places,
) {
  const faults: ImportFault[] = []
  const places = alter({ steps: await target.steps(), files: target.files })
  const outcome = await importData({ ...places, source, clock }, { found: (fault) => faults.push(fault) })
  return { outcome, faults }
}

class Killed extends Error {}

/** Counts the calls of an import, and ends it after the effect of one of them. */
class Kill {
  readonly calls: string[] = []
  readonly #after: number

  constructor(after = Number.POSITIVE_INFINITY) {
    this.#after = after
  }

  readonly alter = ({ steps, files }: Pick<ImportPlaces, 'files'> & { steps: Steps }) => ({
    steps: alteredSteps(steps, (name, run) => this.#call(name, run)),
    files: {
      users: () => files.users(),
      takeKey: (key: Uint8Array) => this.#call('takeKey', () => files.takeKey(key)),
      publish: (...given: Parameters<ImportPlaces['files']['publish']>) =>
        this.#call('publish', () => files.publish(...given)),
      copyPartial: (...given: Parameters<ImportPlaces['files']['copyPartial']>) =>
        this.#call('copyPartial', () => files.copyPartial(...given)),
    },
  })

  async #call<T>(name: string, run: () => Promise<T>): Promise<T> {
    const result = await run()
    if (this.calls.push(name) === this.#after) throw new Killed()
    return result
  }
}

/** Imports a data directory, and ends the import after the first call of this name. */
async function interrupted(path: string, target: ImportTarget, name: string): Promise<void> {
  const all = new Kill()
  await using other = await ImportTarget.create()
  await imported(path, other, all.alter)
  const kill = new Kill(all.calls.indexOf(name) + 1)
  await assert.rejects(imported(path, target, kill.alter), Killed)
}

spec('an import of a data directory', (it) => {
  it('brings users, files, uploads with their checkpoints, messages and ids, and changes nothing in the directory', async () => {
    await using data = await dataDirectory()
    await using target = await ImportTarget.create()
    const before = await contentsOf(data.path)
    const { outcome, faults } = await imported(data.path, target)
    const { bytes, ...counts } = outcome
    assert.deepEqual(counts, { users: 2, files: 4, copied: 0, linked: 4, uploads: 3, messages: 5, ids: 5 })
    assert.equal(bytes, 6_001)
    assert.deepEqual(faults, [
      { kind: 'skipped', path: join(data.path, 'files/dave/link'), text: 'it is not a regular file' },
    ])
    // LevelDB, which holds the lock and the catalogue, writes its own files. The ballast is random.
    const dataOf = (found: Record<string, string>) =>
      Object.fromEntries(Object.entries(found).filter(([path]) => !/^\/(?:(?:lock|catalogue)\/|ballast$)/u.test(path)))
    assert.deepEqual(dataOf(await contentsOf(data.path)), dataOf(before))
    // References to files stay valid.
    assert.deepEqual(await readFile(join(target.path, 'grants.key')), await readFile(join(data.path, 'grants.key')))
    const state = await stateOf(target)
    assert.equal(state.users[0]?.tokenHash, hex(hashOf(data.token)))
    assert.deepEqual(state.codes, [undefined, undefined, 'id-reused'])
    assert.deepEqual(
      state.messages.map((found) => found.map(({ seq }) => seq)),
      [[1], [1, 3, 5]],
    )
    assert.deepEqual(
      state.levels.map(({ user, messages }) => [user, messages]),
      [
        ['bob', 1],
        ['carol', 4],
      ],
    )
    assert.deepEqual(
      state.continued.map(([name, length]) => [name, length]),
      [
        ['unfinished', 1_000],
        ['other', 500],
        ['verified', 2_000],
      ],
    )
    assert.deepEqual(
      state.completed.map((file) => file?.storedName),
      ['folder 0/0', 'folder 1/1', 'folder 0/2'],
    )
    assert.deepEqual(state.unreported, ['folder 1/1', 'folder 0/2'])
    assert.deepEqual(
      state.described.map(({ name, metadata }) => [name, metadata]),
      ['0', '2', '1'].map((number) => [`folder ${Number(number) % 2}/${number}`, { number }]),
    )
    assert.ok(state.described.every(({ digest }) => digest?.length === 64))
    assert.deepEqual(state.records[0]?.metadata, { unfinished: 'yes' })
    assert.deepEqual(Object.keys(state.stored), [
      '/alice/folder 0/0',
      '/alice/folder 0/2',
      '/alice/folder 1/1',
      '/dave/made elsewhere',
    ])
  })

  it('keeps the digests and the metadata of files whose completion markers are gone', async () => {
    await using data = await dataDirectory()
    await using target = await ImportTarget.create()
    const expected = await (async () => {
      await using storage = disk(data.path)
      await storage.open(nodePlatform())
      await storage.catalogue?.rename('alice', 'folder 1/1', 'renamed', { replace: false })
      await storage.transfers.reported([{ user: 'alice', name: 'folder 0/2' }])
      const forgotten = uploadOf('alice', 'folder 0/2')
      const { digest } = (await storage.transfers.completed(forgotten)) ?? assert.fail()
      await storage.transfers.forget(forgotten, digest)
      return await describedBy(storage)
    })()
    await imported(data.path, target)
    await using storage = await target.server()
    assert.deepEqual(await describedBy(storage), expected)
    assert.deepEqual(expected.find(({ name }) => name === 'renamed')?.metadata, { number: '1' })
    assert.equal(await storage.transfers.completed(uploadOf('alice', 'folder 0/2')), undefined)
    assert.equal((await storage.transfers.completed(uploadOf('alice', 'renamed')))?.storedName, 'renamed')
  })

  it('that is interrupted after any step can be repeated with the same result', async () => {
    await using data = await dataDirectory()
    await using source = await opened(data.path)
    await using whole = await ImportTarget.create()
    const counted = new Kill()
    await importedFrom(source, whole, counted.alter)
    const expected = await stateOf(whole)
    assert.ok(counted.calls.length > 14, counted.calls.join(' '))
    const repeated = async (name: string, at: number) => {
      await using target = await ImportTarget.create()
      await assert.rejects(importedFrom(source, target, new Kill(at + 1).alter), Killed)
      await importedFrom(source, target)
      assert.deepEqual(await stateOf(target), expected, `interrupted after ${name}`)
      const left = (await readdir(join(target.path, 'partial'))).filter((entry) => entry.endsWith('.new'))
      assert.deepEqual(left, [])
    }
    await Promise.all(counted.calls.map(repeated))
  })

  it('has the same result if the answers of the shared store are lost', async () => {
    await using data = await dataDirectory()
    await using whole = await ImportTarget.create()
    await imported(data.path, whole)
    await using target = await ImportTarget.create()
    const lost: string[] = []
    await imported(data.path, target, ({ steps, files }) => ({ files, steps: unansweredSteps(steps, lost) }))
    assert.ok(lost.includes('imports.addMessages') && lost.includes('imports.finish'), lost.join(' '))
    assert.deepEqual(await stateOf(target), await stateOf(whole))
  })

  it('changes nothing after it was finished', async () => {
    await using data = await dataDirectory()
    await using target = await ImportTarget.create()
    await imported(data.path, target)
    await using storage = await target.server()
    await storage.mailboxes.remove('bob', [1])
    const { outcome } = await imported(data.path, target)
    assert.equal(typeof outcome.finishedAt, 'number')
    assert.deepEqual(await storage.mailboxes.read('bob', 0, 10, 1_000), [])
  })

  it('is refused if a server has changed the directory since it began', async () => {
    await using data = await dataDirectory()
    await using target = await ImportTarget.create()
    await interrupted(data.path, target, 'publish')
    {
      await using storage = disk(data.path)
      await storage.open(nodePlatform())
      await storage.mailboxes.remove('bob', [1])
    }
    await assert.rejects(imported(data.path, target), {
      code: 'data-format',
      message: /data has changed since its import/u,
    })
  })

  it('is refused while another one is not finished, and while a server is running', async () => {
    await using data = await dataDirectory()
    await using other = await dataDirectory()
    await using target = await ImportTarget.create()
    {
      await using _server = await target.server()
      await assert.rejects(imported(data.path, target), { code: 'data-locked', message: /servers are running: a/u })
    }
    await interrupted(data.path, target, 'publish')
    const refused = {
      code: 'data-format',
      message: /the import of .*data into this cluster is not finished; repeat it/u,
    }
    await assert.rejects(imported(other.path, target), refused)
    const entering = async () => {
      await using _server = await target.server()
    }
    await assert.rejects(entering, { code: 'data-format', message: /is not finished/u })
  })

  it('names the users of whom the cluster already has something, and changes nothing', async () => {
    await using data = await dataDirectory()
    await using target = await ImportTarget.create()
    const steps = await target.steps()
    await steps.setUser('Alice', Uint8Array.of(1))
    {
      await using storage = await target.server()
      await storage.mailboxes.append([{ ...message(9, { sender: 'eve' }), recipients: ['carol'] }], roomy)
    }
    await assert.rejects(imported(data.path, target), {
      code: 'name-conflict',
      message:
        /has logins, files, uploads or messages of these users of .*data: alice, carol; import into a new cluster/u,
    })
    assert.deepEqual(await steps.imports.list(), [])
  })

  it('gives messages later numbers than those of the cluster, in their order', async () => {
    await using data = await dataDirectory()
    await using target = await ImportTarget.create()
    {
      await using storage = await target.server()
      const others = [7, 8].map((number) => ({ ...message(number, { sender: 'eve' }), recipients: ['zoe'] }))
      await storage.mailboxes.append(others, roomy)
    }
    await imported(data.path, target)
    await using storage = await target.server()
    const seqsOf = async (user: string) => (await storage.mailboxes.read(user, 0, 100, 10_000)).map(({ seq }) => seq)
    assert.deepEqual([await seqsOf('zoe'), await seqsOf('bob'), await seqsOf('carol')], [[1, 2], [3], [3, 5, 7]])
    await storage.mailboxes.append([{ ...message(9, { sender: 'eve' }), recipients: ['bob'] }], roomy)
    assert.deepEqual(await seqsOf('bob'), [3, 8])
  })

  it('refuses a directory that is none, and one that is in use', async () => {
    await using data = await dataDirectory()
    await using target = await ImportTarget.create()
    await assert.rejects(imported(target.path, target), { code: 'data-format' })
    const missing = join(target.path, 'missing')
    await assert.rejects(imported(missing, target), { code: 'data-format', message: /it has no file "format"/u })
    await assert.rejects(stat(missing), { code: 'ENOENT' })
    await using storage = disk(data.path)
    await storage.open(nodePlatform())
    await assert.rejects(imported(data.path, target), { code: 'data-locked' })
  })

  it('refuses a file in the place of another one', async () => {
    await using data = await dataDirectory()
    await using target = await ImportTarget.create()
    await interrupted(data.path, target, 'publish')
    const place = join(target.path, 'files/alice/folder 0/0')
    await rm(place)
    await writeFile(place, 'of another program')
    await assert.rejects(imported(data.path, target), { code: 'file-exists', message: /exists and differs from/u })
    await rm(place)
    await imported(data.path, target)
    assert.equal((await stateOf(target)).completed.length, 3)
  })

  if (!canMount) return it.skip('copies files between file systems', 'this process cannot mount a disk')

  it('copies files between file systems with their times, and reports those that the disk has damaged', async () => {
    await using data = await dataDirectory()
    await using volume = await smallDisk(16 * 1024 * 1024)
    const ids = { cluster: randomUUID(), directory: undefined }
    const path = await mkdtemp(join(volume.path, 'files-'))
    const directory = await createSharedFiles(path, ids)
    const files = await ImportedFiles.open(path, { ...ids, directory }, nodePlatform().digests)
    await using target = await ImportTarget.create()
    const damaged = join(data.path, 'files/alice/folder 1/1')
    const times = join(target.path, 'times')
    execFileSync('touch', ['-r', damaged, times])
    await writeFile(damaged, Buffer.alloc(2_000, 'damaged'))
    execFileSync('touch', ['-r', times, damaged])
    const on = ({ steps }: { steps: Steps }) => ({ steps, files })
    const { outcome, faults } = await imported(data.path, target, on)
    assert.deepEqual([outcome.copied, outcome.linked], [4, 0])
    const stored = join(path, 'files/alice/folder 0/0')
    assert.deepEqual(await readFile(stored), await readFile(join(data.path, 'files/alice/folder 0/0')))
    const [from, to] = [await stat(join(data.path, 'files/alice/folder 0/0')), await stat(stored)]
    assert.ok(Math.abs(from.mtimeMs - to.mtimeMs) < 2)
    assert.deepEqual(
      faults.filter(({ kind }) => kind === 'damaged').map((fault) => fault.path),
      [damaged],
    )
  })
})
