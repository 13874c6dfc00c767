import assert from 'node:assert/strict'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { disk } from '../../lib/adapters/disk/disk.ts'
import { layoutOf } from '../../lib/adapters/disk/layout.ts'
import type { Upload } from '../../lib/client/uploads/upload.ts'
import { KiB } from '../../lib/limits.ts'
import { type Ballast, ballast } from '../support/ballast.ts'
import { run, place as sourceFiles, start } from '../support/commands.ts'
import { FaultyStorage } from '../support/faultyStorage.ts'
import { memorySource, patterned } from '../support/memorySource.ts'
import { MortalServer } from '../support/mortalServer.ts'
import { spec } from '../support/spec.ts'
import type { Step } from '../support/steppedStorage.ts'
import { canInject, injecting } from '../support/strace.ts'
import { until } from '../support/until.ts'
import { canMount, smallDisk, type TemporaryDirectory } from '../testing/storage/places.ts'

const diskBytes = 4_000_000
const limits = {
  chunkBytes: 64 * KiB,
  windowBytes: 512 * KiB,
  checkpointBytes: 256 * KiB,
  retryAfterMs: 20,
  smallFileBytes: 0,
}
const kept = patterned(100_000)
const large = patterned(1_500_000, 2)
const small = patterned(1_000, 3)
/** So long that its record does not fit into the rest of the last page of the journal. */
const longName = (letter: string) => Array.from({ length: 10 }, () => letter.repeat(99)).join('/')

const isFull = (upload: Upload) =>
  until(upload, 'phase', () => upload.phase === 'waiting' && upload.error?.code === 'disk-full')

interface Ground extends AsyncDisposable {
  readonly place: MortalServer
  /** Fills the disk, except for this many bytes. */
  fill(leaving?: number): Ballast
}

/** The directory of a server on a small disk. */
async function ground(): Promise<Ground> {
  const directory: TemporaryDirectory = await smallDisk(diskBytes)
  const place = await MortalServer.in(directory)
  return {
    place,
    fill: (leaving) => ballast(directory.path, leaving),
    [Symbol.asyncDispose]: () => place[Symbol.asyncDispose](),
  }
}

/** Checks at the end that another file is accepted, a restart finds all files, and nothing is left over. */
async function assertHealthy(place: MortalServer, expected: Record<string, Uint8Array>): Promise<void> {
  for (const name of ['next', 'after a restart']) {
    const server = await place.serve({ limits })
    const client = place.client()
    await (await client.upload(memorySource(name, small))).done
    await client.close()
    await server.close()
  }
  const all = { ...expected, 'alice/next': small, 'alice/after a restart': small }
  assert.deepEqual(Object.fromEntries(await place.files()), all)
  assert.deepEqual(await place.files('partial'), new Map())
  assert.deepEqual(await place.records(), [])
}

/** Leaves less of the last page of the upload journal than the next row of that upload needs. */
async function fillPage({ transfers }: FaultyStorage, data: string): Promise<void> {
  const pageBytes = 4 * KiB
  const left = async () => pageBytes - ((await stat(join(data, 'uploads/00000001.log'))).size % pageBytes)
  const want = { user: 'carol', name: 'a', size: 1, modifiedAt: 1, algorithm: 'sha256' } as const
  const owner = { node: 1, instance: 1, session: '00' }
  do {
    await transfers.claim(want, owner, { fresh: true, takeOver: false, onConflict: 'replace', at: Date.now() })
    await transfers.remove('carol', 'a')
  } while ((await left()) > 1_000)
}

/** Fills the disk when an upload has reached `step`, and frees space when the client has been informed. */
const fullAt = (step: Step) => async () => {
  await using on = await ground()
  const { place } = on
  const storage = new FaultyStorage(disk(place.data))
  const server = await place.serve({ storage, limits })
  const client = place.client()
  const held = storage.hold(step)
  const upload = await client.upload(memorySource(longName('a'), small))
  await held.reached
  await fillPage(storage, place.data)
  const weight = on.fill()
  held.go()
  await isFull(upload)
  weight.throwOff()
  await upload.done
  await client.close()
  await server.close()
  await assertHealthy(place, { [`alice/${longName('a')}`]: small })
}

spec('a full disk', (it) => {
  if (!canMount) return it.skip('makes uploads wait', 'this process may not mount a small disk')

  it('makes an upload wait, damages nothing, and lets others continue; with free space the upload is completed', async () => {
    await using on = await ground()
    const { place } = on
    const server = await place.serve({ limits })
    const [alice, bob] = [place.client(), place.client({ user: 'bob' })]
    await (await alice.upload(memorySource('kept', kept))).done
    const statuses: string[] = []
    alice.on('status', (status) => statuses.push(status))
    const weight = on.fill(1_000_000)
    const waiting = await alice.upload(memorySource('large', large))
    await isFull(waiting)
    assert.equal(waiting.transferred, 0)
    await (await bob.upload(memorySource('small', small))).done
    await (await alice.upload(memorySource('small', small))).done
    await isFull(waiting)
    const stored = { 'alice/kept': kept, 'bob/small': small, 'alice/small': small }
    assert.deepEqual(Object.fromEntries(await place.files()), stored)
    weight.throwOff()
    await waiting.done
    assert.deepEqual(statuses, [], 'the link was lost')
    await alice.close()
    await bob.close()
    await server.close()
    await assertHealthy(place, { ...stored, 'alice/large': large })
  })

  it('accepts no claim, from any number of uploads; with free space they are completed', async () => {
    await using on = await ground()
    const { place } = on
    const server = await place.serve({ limits })
    const client = place.client()
    await (await client.upload(memorySource('kept', kept))).done
    const weight = on.fill()
    const names = ['a', 'b', 'c', 'd', 'e'].map(longName)
    const uploads = await Promise.all(names.map((name) => client.upload(memorySource(name, small))))
    // The free rest of the journal is too small for the records of all of them, and there is no space for their bytes.
    await Promise.all(uploads.map(isFull))
    weight.throwOff()
    await Promise.all(uploads.map(({ done: finished }) => finished))
    await client.close()
    await server.close()
    const stored = Object.fromEntries(names.map((name) => [`alice/${name}`, small]))
    await assertHealthy(place, { 'alice/kept': kept, ...stored })
  })

  for (const step of ['claim', 'verified', 'complete'] as const) {
    it(`from ${step} on makes an upload wait; with free space it is completed`, fullAt(step))
  }

  it('that fills during an upload makes it wait; after a restart it continues where it was flushed', async () => {
    await using on = await ground()
    const { place } = on
    const server = await place.serve({ limits })
    const client = place.client()
    const source = memorySource('large', large)
    let weight: Ballast | undefined
    const durableBytes = async () => (await server.unfinished())[0]?.durable ?? 0
    // Data beyond that is read only when something is durable, and the disk is full. The client may not have been
    // informed by a reply.
    source.beforeRead = async (offset) => {
      if (offset < 1_000_000) return
      while ((await durableBytes()) === 0) await new Promise((resolve) => setImmediate(resolve))
      weight ??= on.fill()
    }
    const upload = await client.upload(source)
    await isFull(upload)
    const durable = await durableBytes()
    assert.ok(durable > 0)
    await client.close()
    await server.close()
    const restarted = await place.serve({ limits })
    const other = place.client()
    const again = await other.upload(memorySource('large', large))
    await isFull(again)
    weight?.throwOff()
    await again.done
    assert.ok(again.transferred <= large.length - durable, `${again.transferred} bytes were sent again`)
    await other.close()
    await restarted.close()
    await assertHealthy(place, { 'alice/large': large })
  })
})

spec('osp send to a server whose disk is full', (it) => {
  if (!canMount) return it.skip('waits, and says why', 'this process may not mount a small disk')

  it('waits, says why once, and succeeds when there is free space', async () => {
    await using on = await ground()
    const { place } = on
    await using server = await place.daemon(['--checkpoint-size', '256K'])
    const [, port] = await server.printed(/ready on 127\.0\.0\.1:(\d+)/u)
    using weight = on.fill(1_000_000)
    const flags = ['send', 'large', '--server', `127.0.0.1:${port}`, '--user', 'alice']
    await using files = await sourceFiles()
    await files.write('large', large)
    await using client = start('osp', flags, { cwd: files.path })
    await client.printed(
      /^osp: large waits: the disk of the server has no room for the 1\.43 MiB of this file: .*have files removed$/mu,
    )
    weight.throwOff()
    assert.equal((await client.ended).code, 0, client.stderr)
    assert.match(client.stdout, / {2}large\n$/u)
    assert.equal(client.stderr.match(/has no room/gu)?.length, 1, client.stderr)
    assert.deepEqual((await place.files()).get('alice/large'), large)
  })

  it('exits with 5 when its waiting time has elapsed', async () => {
    await using on = await ground()
    const { place } = on
    await using server = await place.daemon()
    const [, port] = await server.printed(/ready on 127\.0\.0\.1:(\d+)/u)
    using _ = on.fill(1_000_000)
    await using files = await sourceFiles()
    await files.write('large', large)
    const flags = ['--server', `127.0.0.1:${port}`, '--user', 'alice', '--retry-for', '100ms']
    const { code, stderr } = await run('osp', ['send', 'large', ...flags], { cwd: files.path })
    assert.equal(code, 5, stderr)
  })
})

spec('a disk that reports only on a flush that it is full', (it) => {
  if (!canInject) return it.skip('makes uploads wait', 'strace is missing, or may not trace here')

  it('makes an upload wait, which is completed when there is free space', async () => {
    await using place = await MortalServer.in()
    const flags = ['--checkpoint-time', '1h']
    const paths = [layoutOf(place.data).partialOf('alice', 'a')]
    await place.daemon(flags, injecting({ calls: 'fdatasync', fault: 'error=ENOSPC', when: '1..2', paths }))
    const client = place.client()
    // Too long for one request on a new link.
    const bytes = patterned(40_000)
    const upload = await client.upload(memorySource('a', bytes))
    await isFull(upload)
    await upload.done
    assert.deepEqual(await place.files(), new Map([['alice/a', bytes]]))
  })
})
