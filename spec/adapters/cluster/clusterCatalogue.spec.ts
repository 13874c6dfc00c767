import assert from 'node:assert/strict'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Steps } from '../../../lib/adapters/cluster/steps.ts'
import { layoutOf } from '../../../lib/adapters/disk/layout.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { fileOf, hello, textBytes, upload } from '../../../lib/testing/storage/steps.ts'
import { spec } from '../../support/spec.ts'
import { alteredSteps, CutSteps, unansweredSteps } from './alteredSteps.ts'
import { ClusterRig } from './clusterRig.ts'
import { SharedDirectory } from './sharedDirectory.ts'

type FileServer = Awaited<ReturnType<ClusterRig['fileServer']>>

/** Steps whose claims open the session of their link first. */
const withSessions = (steps: Steps): Steps =>
  alteredSteps(steps, async (name, run, given) => {
    if (name === 'transfers.claim') await steps.openSession(given[0] as Parameters<Steps['openSession']>[0], 0)
    return run()
  })

/** Runs `proof` with two servers. */
function withServers(
  proof: (
    rig: ClusterRig,
    servers: { readonly directory: SharedDirectory; readonly first: FileServer; readonly second: FileServer },
  ) => Promise<void>,
  alter: (steps: Steps) => Steps = (steps) => steps,
) {
  return async () => {
    await using directory = await SharedDirectory.create()
    await using rig = new ClusterRig()
    const first = await rig.fileServer(directory, (steps) => alter(withSessions(steps)))
    await proof(rig, { directory, first, second: await rig.fileServer(directory, withSessions) })
  }
}

const metadata = { contentType: 'text/plain' }

/** Stores a small file without an upload. */
async function put({ storage }: FileServer, name: string, text: string): Promise<void> {
  await using file = await storage.files.create('alice', [textBytes(text)], 5_000)
  const announced = { file: { ...fileOf({ name }), size: text.length }, modifiedAt: 5_000, source: file.source ?? '' }
  const [error] = await storage.transfers.announceAll([{ ...announced, version: file.version }], 60_000)
  if (error) throw error
  assert.equal(await file.publish(name, true), true)
  await storage.transfers.settled([{ user: 'alice', name, source: announced.source, isStored: true }])
  await storage.transfers.reported([{ user: 'alice', name }])
}

async function namesAt({ storage }: FileServer): Promise<readonly string[]> {
  const { files } = await storage.catalogue.list('alice', { prefix: '', after: '', most: 9 })
  return files.map(({ name }) => name)
}

/** Resolves with the version of a file. */
async function versionAt({ storage }: FileServer, name = 'a'): Promise<string> {
  return (await storage.catalogue.find('alice', name))?.version ?? assert.fail(`there is no file ${name}`)
}

/** Resolves with the fences that are left in the directory. */
async function fencesIn({ path }: SharedDirectory): Promise<readonly string[]> {
  return (await readdir(layoutOf(path).partial)).filter((entry) => entry.endsWith('.change'))
}

/**
 * Stops a server before its next change through a fence of this kind, as a frozen process is. Resolves with a function that lets
 * it continue.
 */
function stopBefore({ storage }: FileServer, kind: 'link' | 'unlink') {
  const { fences } = storage.files
  const [stopped, continued] = [deferred<void>(), deferred<void>()]
  const stopping = async () => {
    stopped.resolve()
    await continued.promise
  }
  const altered: typeof fences = {
    add: (fence) => fences.add(fence),
    list: () => fences.list(),
    remove: (fence) => fences.remove(fence),
    unlink: async (file, fence) => {
      if (kind === 'unlink') await stopping()
      // It is stopped after it has compared the version.
      const present = await storage.files.tree.find(file.user, file.name)
      return fences.unlink({ ...file, version: present?.version ?? file.version }, fence)
    },
    link: async (...given) => {
      if (kind === 'link') await stopping()
      return fences.link(...given)
    },
  }
  Object.defineProperty(storage.files, 'fences', { value: altered })
  return { stopped: stopped.promise, continue: () => continued.resolve() }
}

spec('the files of a cluster', (it) => {
  it(
    'are listed, read, renamed and removed at another server than the one that has received them',
    withServers(async (rig, { directory, first, second }) => {
      await rig.passing(upload(first.storage, { metadata, modifiedAt: 1_700_000_000_123 }))
      const { catalogue } = second.storage
      const entry = (await rig.passing(catalogue.find('alice', 'a'))) ?? assert.fail()
      const { algorithm, digest } = fileOf()
      assert.deepEqual([entry.algorithm, entry.digest, entry.metadata], [algorithm, digest, metadata])
      assert.equal(entry.modifiedAt, 1_700_000_000_123)
      const file = (await catalogue.open('alice', 'a')) ?? assert.fail()
      const into = new Uint8Array(9)
      assert.equal(await file.read(into, 0), 5)
      await file[Symbol.asyncDispose]()
      assert.deepEqual(into.subarray(0, 5), hello)
      assert.equal(await rig.passing(catalogue.rename('alice', 'a', 'x/b', { replace: false })), false)
      assert.deepEqual(await rig.passing(namesAt(first)), ['x/b'])
      const moved = await rig.passing(first.storage.catalogue.find('alice', 'x/b'))
      assert.deepEqual([moved?.version, moved?.metadata, moved?.digest], [entry.version, metadata, digest])
      assert.equal(await rig.passing(first.storage.catalogue.remove('alice', 'x/b', entry.version)), true)
      assert.deepEqual(await rig.passing(namesAt(second)), [])
      assert.deepEqual(await fencesIn(directory), [])
    }),
  )

  it(
    'that were placed by hand have a digest once one server has read them',
    withServers(async (rig, { directory, first, second }) => {
      await rig.passing(upload(first.storage))
      await writeFile(join(layoutOf(directory.path).files, 'alice', 'b'), hello)
      assert.deepEqual(await rig.passing(namesAt(second)), ['a', 'b'])
      assert.equal((await rig.passing(first.storage.catalogue.find('alice', 'b')))?.digest, undefined)
      const found = await rig.passing(second.storage.catalogue.find('alice', 'b', true))
      assert.equal(found?.digest, fileOf().digest)
      assert.equal((await rig.passing(first.storage.catalogue.find('alice', 'b')))?.digest, found?.digest)
    }),
  )

  it(
    'count as completed for as long as they are stored',
    withServers(async (rig, { first, second }) => {
      await rig.passing(upload(first.storage, {}, hello, -1))
      const want = { ...fileOf(), modifiedAt: 1_000 }
      assert.equal((await rig.passing(second.transfers.completed(want)))?.digest, fileOf().digest)
      await rig.passing(second.storage.catalogue.remove('alice', 'a'))
      assert.equal(await rig.passing(first.transfers.completed(want)), undefined)
    }),
  )

  for (const [what, change, left] of [
    ['removes', (server: FileServer) => server.storage.catalogue.remove('alice', 'a'), ['a', 'b']],
    [
      'renames',
      (server: FileServer) => server.storage.catalogue.rename('alice', 'a', 'c', { replace: true }),
      ['a', 'b'],
    ],
    [
      'renames to its name',
      (server: FileServer) => server.storage.catalogue.rename('alice', 'b', 'a', { replace: true }),
      ['a', 'b'],
    ],
  ] as const) {
    for (const kind of what === 'removes' ? (['unlink'] as const) : (['link'] as const)) {
      it(
        `are not lost if a server that ${what} an earlier version is stopped before`,
        withServers(async (rig, { directory, first, second }) => {
          await rig.passing(put(second, 'a', 'old'))
          await rig.passing(put(second, 'b', 'other'))
          const stop = stopBefore(first, kind)
          const changed = change(first).catch((error) => error.code)
          await rig.passing(stop.stopped)
          await rig.passing(put(second, 'a', 'newer'))
          stop.continue()
          const outcome = await rig.passing(changed)
          assert.deepEqual(await rig.passing(namesAt(second)), what === 'renames to its name' ? ['a'] : left)
          const text = new TextDecoder().decode(await directory.read('alice', 'a'))
          // A rename that replaces files is repeated after the newer file was stored.
          if (what === 'renames to its name') assert.deepEqual([outcome, text], [true, 'other'])
          else assert.deepEqual([outcome, text], ['version-changed', 'newer'])
          assert.deepEqual(await fencesIn(directory), [])
        }),
      )
    }
  }

  it('are not lost if the store loses the record of a change by a frozen server', async () => {
    await using directory = await SharedDirectory.create()
    await using rig = new ClusterRig()
    const cut = new CutSteps()
    const first = await rig.fileServer(directory, (steps) => cut.alter(withSessions(steps)))
    const second = await rig.fileServer(directory, (steps) => cut.alter(withSessions(steps)))
    await rig.passing(put(second, 'a', 'old'))
    const restore = rig.store.saved()
    const stop = stopBefore(first, 'unlink')
    const removed = first.storage.catalogue.remove('alice', 'a').catch((error) => error.code)
    await rig.passing(stop.stopped)
    assert.equal((await fencesIn(directory)).length, 1)
    cut.isCut = true
    await rig.passing(second.transfers.reported([{ user: 'alice', name: 'a' }]).catch(() => {}))
    await restore()
    cut.isCut = false
    await rig.passing(put(second, 'a', 'newer'))
    stop.continue()
    assert.equal(await rig.passing(removed), 'version-changed')
    assert.equal(new TextDecoder().decode(await directory.read('alice', 'a')), 'newer')
    assert.deepEqual(await fencesIn(directory), [])
  })

  it(
    'have one name after a rename whose server is stopped before it removes the former name',
    withServers(async (rig, { directory, first, second }) => {
      await rig.passing(upload(first.storage, { metadata }))
      const version = await rig.passing(versionAt(first))
      const stop = stopBefore(first, 'unlink')
      const renamed = first.storage.catalogue.rename('alice', 'a', 'b', { version, replace: false })
      await rig.passing(stop.stopped)
      assert.deepEqual(await rig.passing(namesAt(second)), ['a', 'b'])
      // The client repeats its request at another server.
      const repeated = second.storage.catalogue.rename('alice', 'a', 'b', { version, replace: false })
      assert.equal(await rig.passing(repeated), false)
      assert.deepEqual(await rig.passing(namesAt(second)), ['b'])
      await rig.passing(put(second, 'a', 'newer'))
      stop.continue()
      await rig.passing(renamed)
      assert.deepEqual(await rig.passing(namesAt(second)), ['a', 'b'])
      const found = await rig.passing(second.storage.catalogue.find('alice', 'b'))
      assert.deepEqual([found?.version, found?.metadata], [version, metadata])
      assert.deepEqual(await fencesIn(directory), [])
    }),
  )

  it(
    'have one name after the server that renames them has died before it removes the former name',
    withServers(async (rig, { first, second }) => {
      await rig.passing(upload(first.storage))
      const stop = stopBefore(first, 'unlink')
      const renamed = first.storage.catalogue.rename('alice', 'a', 'b', { replace: false }).catch(() => {})
      await rig.passing(stop.stopped)
      const steps = rig.store.steps()
      await steps.open()
      await steps.leave(first.storage.member.server)
      await rig.passing(second.transfers.abandoned())
      assert.deepEqual(await rig.passing(namesAt(second)), ['b'])
      stop.continue()
      await rig.passing(renamed)
      assert.deepEqual(await rig.passing(namesAt(second)), ['b'])
    }),
  )

  it(
    'are not stored later by a server that is stopped after it has announced one of them, if it was removed meanwhile',
    withServers(async (rig, { first, second }) => {
      await rig.passing(put(second, 'a', 'old'))
      await using file = await rig.passing(first.storage.files.create('alice', [textBytes('late')]))
      const { version, source = '' } = file
      const announced = [{ file: { ...fileOf(), size: 4 }, version, modifiedAt: 1, source }]
      await rig.passing(first.transfers.announceAll(announced, 60_000))
      assert.equal(await rig.passing(second.storage.catalogue.remove('alice', 'a')), true)
      await assert.rejects(file.publish('a', true), { code: 'file-busy' })
      assert.deepEqual(await rig.passing(namesAt(second)), [])
    }),
  )

  const lost: string[] = []
  it(
    'are changed once if the answers of the store are lost',
    withServers(
      async (rig, { directory, first, second }) => {
        await rig.passing(upload(first.storage, { metadata }))
        const { catalogue } = first.storage
        assert.equal(await rig.passing(catalogue.rename('alice', 'a', 'b', { replace: false })), false)
        const found = await rig.passing(second.storage.catalogue.find('alice', 'b'))
        assert.deepEqual(found?.metadata, metadata)
        assert.equal(await rig.passing(catalogue.remove('alice', 'b')), true)
        assert.deepEqual(await rig.passing(namesAt(second)), [])
        assert.deepEqual(await fencesIn(directory), [])
        assert.ok(lost.includes('files.begin') && lost.includes('files.end') && lost.includes('files.put'))
      },
      (steps) => unansweredSteps(steps, lost),
    ),
  )
})
