import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { quickCalls } from '../../../lib/adapters/disk/quickCalls.ts'
import { OspError } from '../../../lib/errors.ts'
import { fixed, KiB } from '../../../lib/limits.ts'
import type { OnConflict, StoredFile } from '../../../lib/ports/storage.ts'
import { type FileClient, type Subject, sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import type { Step } from '../../support/steppedStorage.ts'
import { turn } from '../../support/turn.ts'

const bytes = patterned(1_000)
const file = { name: 'a', bytes }
const other = { ...file, bytes: patterned(1_000, 2), modifiedAt: 2_000 }
const gone = new Error('the process is gone')
const fault = new OspError('internal', 'the disk is broken')

const fields = { user: 'alice', name: 'a', size: 1_000, algorithm: 'sha256', digest: sha256(bytes).toString('hex') }

/** The log lines about stored files since this was last called. */
const storedLines = (rig: ServerRig) => rig.log.splice(0).filter(({ event }) => event === 'upload-stored')

/** Resolves when `holds` returns true. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await turn()
}

/** Asserts that nothing of a file is stored, and that no further file was reported. */
async function assertNothing(rig: ServerRig): Promise<void> {
  assert.equal(await rig.stored('a'), undefined)
  assert.deepEqual([storedLines(rig), await rig.storage.transfers.unreported(), await rig.records()], [[], [], []])
}

/** Resolves when no temporary file is left: the server removes those of refused files after its reply. */
async function partialsRemoved({ directory }: ServerRig): Promise<void> {
  while ((await readdir(join(directory, 'partial'))).length > 0) await turn()
}

spec('a file in one request', (it) => {
  it('is stored, logged and emitted, and needs neither an instance nor a record', async () => {
    await using rig = await ServerRig.start({ fileInstances: 1 })
    const stored: StoredFile[] = []
    rig.server.on('stored', (each) => stored.push(each))
    const client = await rig.client()
    await client.start({ name: 'large', bytes })
    const { storedName, replaced } = await client.put(file)
    assert.deepEqual([storedName, replaced], ['a', 0])
    await rig.assertStored('a', bytes)
    assert.deepEqual(stored, [{ ...fields, storedName: 'a', replaced: false }])
    const lines = storedLines(rig)
    assert.deepEqual(lines, [{ ...lines[0], level: 'info', event: 'upload-stored', node: client.node, ...fields }])
    assert.deepEqual(
      (await rig.records()).map(({ name }) => name),
      ['large'],
    )
    await rig.server.close()
    await rig.restart()
    assert.deepEqual([await rig.storage.transfers.unreported(), storedLines(rig)], [[], []])
  })

  it('can be empty, can lie in folders, and can have any digest', async () => {
    await using rig = await ServerRig.onDisk()
    const client = await rig.client()
    assert.equal((await client.put({ name: 'x/empty', bytes: new Uint8Array() })).storedName, 'x/empty')
    await rig.assertStored('x/empty', new Uint8Array())
    await client.putRefused({ ...file, digest: 77 }, 'unsupported-digest')
    await client.putRefused({ ...file, name: '../a' }, 'bad-name')
    assert.deepEqual(await readdir(join(rig.directory, 'files', 'alice')), ['x'])
    assert.deepEqual(await readdir(join(rig.directory, 'partial')), [])
  })

  it('is stored once if the request is repeated, on any link and after a restart, with the same reply', async () => {
    await using rig = await ServerRig.start({}, { onConflict: 'rename' })
    const client = await rig.client()
    await client.put({ ...other, bytes: patterned(10) })
    const reply = await client.put(file)
    assert.deepEqual([reply.storedName, reply.replaced], ['a (1)', 0])
    assert.deepEqual(await client.put(file), reply)
    assert.deepEqual(await (await rig.client({ session: 'two' })).put(file), reply)
    await rig.crash()
    await rig.restart()
    assert.deepEqual(await (await rig.client()).put(file), reply)
    assert.equal(storedLines(rig).length, 2)
    assert.equal(await rig.stored('a (2)'), undefined)
  })

  it('is stored again if its content has changed, even with the same size and time', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    await client.put(file)
    const changed = { ...file, bytes: other.bytes }
    assert.equal((await client.put(changed)).replaced, 1)
    await rig.assertStored('a', other.bytes)
  })

  it('with a wrong digest is refused, and stores nothing', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    for (const digest of [sha256(other.bytes), sha256(bytes).subarray(0, 16)]) {
      await client.putRefused(file, 'digest-mismatch', digest)
    }
    assert.equal(rig.storage.count.get('create') ?? 0, 0)
    await assertNothing(rig)
    await client.put(file)
  })

  for (const [what, subject] of [
    ['whose content is shorter than its size', { ...file, size: 1_001 }],
    ['whose content is longer than its size', { ...file, size: 999 }],
    ['that is larger than the limit', { name: 'a', bytes: patterned(2 * KiB + 1) }],
  ] as const) {
    it(`${what} ends the link`, async () => {
      await using rig = await ServerRig.start({ smallFileBytes: 2 * KiB })
      const client = await rig.client()
      client.sendPut(subject)
      await client.raw.dismissed('malformed')
      await assertNothing(rig)
    })
  }

  for (const [onConflict, storedName, replaced] of [
    ['replace', 'a', 1],
    ['rename', 'a (1)', 0],
    ['reject', undefined, 0],
  ] as const satisfies readonly (readonly [OnConflict, string | undefined, number])[]) {
    it(`follows the setting \`${onConflict}\` if its name is taken`, async () => {
      await using rig = await ServerRig.start({}, { onConflict })
      const client = await rig.client()
      await client.put(file)
      if (storedName === undefined) await client.putRefused(other, 'file-exists')
      else {
        const reply = await client.put(other)
        assert.deepEqual([reply.storedName, reply.replaced], [storedName, replaced])
        await rig.assertStored(storedName, other.bytes)
      }
      if (storedName !== 'a') await rig.assertStored('a', bytes)
    })
  }

  it('is not told apart from one that was sent in chunks', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    await client.upload(file)
    await client.put(file)
    await client.put({ ...other, name: 'b' })
    await client.upload({ ...other, name: 'b' })
    assert.equal(storedLines(rig).length, 2)
  })
})

/** Sends a file and crashes the server before or after a step. Then restarts the server. */
async function crashed(rig: ServerRig, client: FileClient, subject: Subject, step: Step, when: 'before' | 'after') {
  const held = rig.storage.hold(step, when)
  client.sendPut(subject)
  await held.reached
  // The steps beside it end first.
  await turn()
  const crash = rig.crash()
  held.fail(gone)
  await crash
  const logged = storedLines(rig).length
  await rig.restart()
  return logged
}

spec('a crash of the server while it stores a file in one request', (it) => {
  for (const ground of ['start', 'onDisk'] as const) {
    for (const step of ['create', 'announce', 'publish', 'reported'] as const) {
      for (const when of ['before', 'after'] as const) {
        const isStored = (step === 'publish' && when === 'after') || step === 'reported'
        const outcome = isStored ? 'leaves it stored, and reported at least once' : 'leaves nothing of it'
        it(`${when} the step \`${step}\` ${outcome}; a repetition stores it once (${ground})`, async () => {
          await using rig = await ServerRig[ground]({}, { onConflict: 'rename' })
          const logged = await crashed(rig, await rig.client(), file, step, when)
          if (!isStored) await assertNothing(rig)
          else if (step !== 'reported' || when === 'before') {
            const [{ name }] = (await once(rig.server as unknown as NodeJS.EventEmitter, 'stored')) as [StoredFile]
            assert.deepEqual([name, storedLines(rig).length], ['a', 1])
          }
          if (step === 'reported') assert.equal(logged, 1)
          await (await rig.client()).put(file)
          await rig.assertStored('a', bytes)
          assert.equal(await rig.stored('a (1)'), undefined)
          assert.equal(storedLines(rig).length, isStored ? 0 : 1)
          if (ground === 'onDisk') assert.deepEqual(await readdir(join(rig.directory, 'partial')), [])
        })
      }
    }
  }

  it('does not report a file that it would have replaced, and keeps that file', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    await client.put(file)
    storedLines(rig)
    await crashed(rig, client, other, 'publish', 'before')
    await rig.assertStored('a', bytes)
    assert.deepEqual([storedLines(rig), await rig.storage.transfers.unreported()], [[], []])
    assert.equal((await (await rig.client()).put(other)).replaced, 1)
  })
})

spec('files in one request that need more space than there is', (it) => {
  const names = Array.from({ length: 20 }, (_, at) => `${at}`)
  const sized = (name: string) => ({ name, bytes: patterned(4 * KiB, Number(name) + 1) })

  /** Sends all files at once. Resolves with the codes of the refusals. */
  async function codes(client: FileClient): Promise<number[]> {
    for (const name of names) client.sendPut(sized(name))
    const refusals: number[] = []
    for (const _ of names) {
      const reply = await client.raw.next()
      if (reply.event === 'PutFileNack') refusals.push(reply.code)
    }
    return refusals
  }

  it('never exceed the quota of their user, and use all of it', async () => {
    await using rig = await ServerRig.start({ userBytes: 40 * KiB, entryBytes: 0 })
    const client = await rig.client()
    const refused = await codes(client)
    assert.ok(
      refused.every((code) => code === 15),
      `${refused}`,
    )
    assert.ok((await rig.storage.files.used('alice')) <= 40 * KiB)
    for (const name of names.slice(0, 10)) {
      if ((await rig.storage.files.used('alice')) < 40 * KiB) await client.put(sized(name))
    }
    assert.equal(await rig.storage.files.used('alice'), 40 * KiB)
    await client.putRefused(sized('19'), 'quota-exceeded')
  })

  it('never use the reserve of the disk', async () => {
    const limits = { reserveBytes: 16 * KiB, reservePercent: 100 }
    await using rig = await ServerRig.start(limits, { capacityBytes: 64 * KiB })
    const client = await rig.client()
    const refused = await codes(client)
    assert.ok(refused.length >= 8 && refused.every((code) => code === 14), `${refused}`)
    assert.ok((await rig.storage.files.space()).free >= 16 * KiB)
    assert.equal(rig.log.filter(({ event }) => event === 'upload-refused').length, refused.length)
  })
})

spec('the space of files in one request', (it) => {
  it('is free again if storing them failed', async () => {
    const limits = { reserveBytes: 4 * KiB, reservePercent: 100 }
    await using rig = await ServerRig.start(limits, { capacityBytes: 64 * KiB })
    rig.storage.storeTogether()
    const client = await rig.client()
    for (const name of ['a', 'b', 'c', 'd']) {
      rig.storage.fail('announce', fault)
      await client.putRefused({ name, bytes: patterned(20 * KiB) }, 'internal')
    }
    await client.put({ name: 'e', bytes: patterned(50 * KiB) })
    await rig.assertStored('e', patterned(50 * KiB))
  })
})

spec('a file in one request whose name is in use', (it) => {
  it('is busy while another link sends it, and replaces an upload of its own link', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(other)
    await client.chunk(instance, 0, other.bytes.subarray(0, 400))
    const second = await rig.client({ session: 'two' })
    await second.putRefused(file, 'file-busy')
    await client.put(file)
    await client.chunkRefused(instance, 400, other.bytes.subarray(400), 'instance-lost')
    await rig.assertStored('a', bytes)
    assert.deepEqual([await rig.records(), rig.server.status().uploads], [[], []])
  })

  it('replaces a paused upload, of which nothing stays', async () => {
    await using rig = await ServerRig.onDisk()
    const client = await rig.client()
    const { instance } = await client.start(other)
    await client.chunk(instance, 0, other.bytes.subarray(0, 400))
    await client.pause(instance)
    await client.put(file)
    assert.deepEqual(await rig.records(), [])
    await partialsRemoved(rig)
    assert.equal((await client.continue({ ...other, name: 'b' })).progress, 0)
  })

  for (const onConflict of ['replace', 'rename', 'reject'] as const) {
    it(`completes an upload of the same content whose end failed, and stores it once (${onConflict})`, async () => {
      await using rig = await ServerRig.start({}, { onConflict })
      const stored: string[] = []
      rig.server.on('stored', ({ storedName }) => stored.push(storedName))
      const client = await rig.client()
      const { instance } = await client.start(file)
      await client.chunk(instance, 0, bytes)
      rig.storage.fail('complete', fault)
      await client.endRefused(instance, sha256(bytes), 'internal')
      const { storedName, replaced } = await client.put(file)
      assert.deepEqual([storedName, replaced, stored, await rig.records()], ['a', 0, ['a'], []])
      assert.equal(storedLines(rig).length, 1)
    })
  }

  it('is refused below and above an unfinished upload', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    await client.start({ ...file, name: 'x/y' })
    for (const name of ['x', 'x/y/z']) await client.putRefused({ ...file, name }, 'name-conflict')
    assert.deepEqual([storedLines(rig), (await rig.records()).length], [[], 1])
  })

  it('is stored once if two links send it at the same time', async () => {
    await using rig = await ServerRig.start()
    const clients = [await rig.client(), await rig.client({ session: 'two' })]
    await Promise.all(clients.map((client) => client.put(file)))
    assert.equal(storedLines(rig).length, 1)
  })
})

spec('files in one request that arrive together', (it) => {
  const many = Array.from({ length: 2 * fixed.smallFilesTogether + 9 }, (_, at) => ({ ...file, name: `${at}` }))

  it('are stored in few steps, each with its own reply', async () => {
    await using rig = await ServerRig.onDisk()
    rig.storage.storeTogether()
    const client = await rig.client()
    await client.start({ ...file, name: '7/below' })
    for (const each of many) client.sendPut(each)
    let refused = 0
    for (const _ of many) if ((await client.raw.next()).event === 'PutFileNack') refused++
    assert.equal(refused, 1)
    const stored = storedLines(rig).map(({ name }) => name)
    assert.deepEqual(
      stored,
      many.map(({ name }) => name).filter((name) => name !== '7'),
    )
    for (const name of ['0', `${many.length - 1}`]) await rig.assertStored(name, bytes)
    for (const step of ['create', 'announce', 'publish'] as const) {
      const calls = rig.storage.count.get(step) ?? 0
      assert.ok(calls >= 3 && calls <= 6, `${step}: ${calls}`)
    }
    assert.deepEqual(await rig.storage.transfers.unreported(), [])
  })

  it('are stored at most so many, and so many bytes, at a time', async () => {
    await using rig = await ServerRig.onDisk()
    rig.storage.storeTogether()
    const client = await rig.client()
    let held = rig.storage.hold('announce')
    for (const each of many) client.sendPut(each)
    await held.reached
    const partial = () => readdir(join(rig.directory, 'partial'))
    assert.ok((await partial()).length <= fixed.smallFilesTogether)
    held.go()
    for (const _ of many) assert.equal((await client.raw.next()).event, 'PutFileAck')
    const most = fixed.smallBytesTogether
    held = rig.storage.hold('announce')
    for (const name of ['x', 'y']) client.sendPut({ name, bytes: patterned(most - 1) })
    await held.reached
    held.go()
    for (const _ of 'xy') assert.equal((await client.raw.next()).event, 'PutFileAck')
  })

  it('are stored in the order of their requests if they have the same name', async () => {
    await using rig = await ServerRig.onDisk()
    rig.storage.storeTogether()
    const client = await rig.client()
    const versions = Array.from({ length: 5 }, (_, at) => ({ ...file, bytes: patterned(100, at), modifiedAt: at }))
    for (const each of versions) client.sendPut(each)
    client.sendPut({ ...file, name: 'b' })
    for (const _ of [...versions, file]) assert.equal((await client.raw.next()).event, 'PutFileAck')
    await rig.assertStored('a', patterned(100, 4))
    await rig.assertStored('b', bytes)
  })

  for (const step of ['create', 'announce', 'publish'] as const) {
    it(`are all refused if the step \`${step}\` fails for all, and leave nothing`, async () => {
      await using rig = await ServerRig.onDisk()
      rig.storage.storeTogether()
      const client = await rig.client()
      rig.storage.fail(step, fault)
      for (const name of ['a', 'b']) client.sendPut({ ...file, name })
      for (const _ of 'ab') assert.equal((await client.raw.next()).event, 'PutFileNack')
      assert.deepEqual(storedLines(rig), [])
      await partialsRemoved(rig)
      await client.put(file)
      await rig.assertStored('a', bytes)
    })
  }
})

spec('a request with a file', (it) => {
  it('is dropped if its link ends before it starts', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const held = rig.storage.hold('create')
    client.sendPut(other)
    await held.reached
    client.sendPut(file)
    await turn()
    await client.vanish()
    await until(() => rig.server.status().links === 0)
    held.go()
    await until(() => storedLines(rig).length === 1)
    await turn()
    await rig.assertStored('a', other.bytes)
    assert.equal(rig.storage.count.get('create'), 1)
  })

  for (const step of ['create', 'announce', 'publish'] as const) {
    it(`that fails at the step \`${step}\` is refused, leaves nothing, and harms no other file`, async () => {
      await using rig = await ServerRig.onDisk()
      const client = await rig.client()
      rig.storage.fail(step, fault)
      client.sendPut(file)
      client.sendPut({ ...file, name: 'b' })
      const replies = [await client.raw.next(), await client.raw.next()]
      assert.deepEqual(replies.map(({ event }) => event).sort(), ['PutFileAck', 'PutFileNack'])
      assert.deepEqual(
        rig.log.filter(({ event }) => event === 'upload-refused').map(({ code, text }) => [code, text]),
        [['internal', 'the disk is broken']],
      )
      assert.equal(storedLines(rig).length, 1)
      assert.deepEqual(await rig.records(), [])
      await partialsRemoved(rig)
      for (const name of ['a', 'b']) {
        await client.put({ ...file, name })
        await rig.assertStored(name, bytes)
      }
      assert.equal(storedLines(rig).length, 1)
    })
  }
})

/** Counts the flushes of a directory, and lets them fail while `isBroken` is set. */
function watchedFlushes(directory: string) {
  const { open, fsync } = quickCalls
  const watched = { count: 0, isBroken: false, [Symbol.dispose]: () => void Object.assign(quickCalls, { open, fsync }) }
  const paths = new Map<number, unknown>()
  quickCalls.open = async (path, ...how) => {
    const fd = await open(path, ...how)
    paths.set(fd, path)
    return fd
  }
  quickCalls.fsync = async (fd) => {
    const isWatched = paths.get(fd) === directory
    if (isWatched && watched.isBroken) throw Object.assign(new Error('EIO: fsync'), { code: 'EIO' })
    await fsync(fd)
    if (isWatched) watched.count++
  }
  return watched
}

spec('a file in one request whose name may not be durable', (it) => {
  it('is reported after a restart only when its directory is flushed', async () => {
    await using rig = await ServerRig.onDisk()
    await (await rig.client()).put({ ...file, name: 'b' })
    using flushes = watchedFlushes(join(rig.directory, 'files', 'alice'))
    flushes.isBroken = true
    await (await rig.client()).putRefused(file, 'internal')
    await rig.assertStored('a', bytes)
    await rig.crash()
    flushes.isBroken = false
    await rig.restart()
    assert.deepEqual([storedLines(rig).map(({ name }) => name), flushes.count], [['b', 'a'], 1])
  })

  for (const inChunks of [false, true]) {
    const how = inChunks ? 'START' : 'the same request'
    it(`is reported once, and acknowledged, when ${how} finds it and its directory is flushed`, async () => {
      await using rig = await ServerRig.onDisk()
      const stored: string[] = []
      rig.server.on('stored', ({ name }) => stored.push(name))
      const client = await rig.client()
      await client.put({ ...file, name: 'b' })
      using flushes = watchedFlushes(join(rig.directory, 'files', 'alice'))
      flushes.isBroken = true
      for (const _ of [1, 2]) await client.putRefused(file, 'internal')
      assert.deepEqual([stored, flushes.count], [['b'], 0])
      flushes.isBroken = false
      if (inChunks) await client.end((await client.start(file)).instance, sha256(bytes))
      await client.put(file)
      const logged = storedLines(rig).map(({ name }) => name)
      assert.deepEqual([stored, logged, flushes.count], [['b', 'a'], ['b', 'a'], 1])
    })
  }
})
