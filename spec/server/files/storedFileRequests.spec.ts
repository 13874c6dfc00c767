import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { OspError } from '../../../lib/errors.ts'
import { fixed, KiB } from '../../../lib/limits.ts'
import type { WireMessage } from '../../../lib/wire/message.ts'
import { renameFlags, statFlags } from '../../../lib/wire/protocol.ts'
import { concatenated } from '../../support/bytes.ts'
import { type FileClient, sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { manualPlatform, ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'
import { VirtualClock } from '../../support/virtualClock.ts'

const bytes = patterned(100_000)
const alice = { user: 'alice' }
const bob = { user: 'bob' }

async function stat({ raw }: FileClient, fileName: string, flags = 0): Promise<WireMessage<'StatFileAck'>> {
  raw.send('StatFileReq', { fileName, flags })
  return await raw.expect('StatFileAck')
}

async function list({ raw }: FileClient, prefix = '', after = '', most = 0): Promise<WireMessage<'ListFilesAck'>> {
  raw.send('ListFilesReq', { prefix, after, most })
  return await raw.expect('ListFilesAck')
}

async function read({ raw }: FileClient, fileName: string, version: string, offset: number, length: number) {
  raw.send('ReadFileReq', { fileName, version, offset, length })
  return concatenated((await raw.expect('ReadFileAck')).content)
}

async function stored(client: FileClient, name = 'a', content = bytes): Promise<WireMessage<'StatFileAck'>> {
  await client.put({ name, bytes: content })
  return await stat(client, name)
}

const namesOf = ({ files }: WireMessage<'ListFilesAck'>) => files.map(({ fileName }) => fileName)

spec('the stored files of a user', (it) => {
  it('are listed in pages', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client(alice)
    for (const name of ['b/c', 'a', 'b/d']) await client.put({ name, bytes })
    await (await rig.client(bob)).put({ name: 'of bob', bytes })
    assert.deepEqual(namesOf(await list(client)), ['a', 'b/c', 'b/d'])
    const page = await list(client, '', '', 2)
    assert.deepEqual([namesOf(page), page.more], [['a', 'b/c'], 1])
    const rest = await list(client, '', 'b/c', 2)
    assert.deepEqual([namesOf(rest), rest.more], [['b/d'], 0])
    assert.deepEqual(namesOf(await list(client, 'b/')), ['b/c', 'b/d'])
  })

  it('are listed at the expense of their user, by the length of the list', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.start({}, { platform })
    const client = await rig.client(alice)
    const ping = async () => {
      client.raw.send('PingReq', {})
      await client.raw.expect('PingAck')
    }
    await list(client)
    await ping()
    for (let at = 0; at < fixed.listedFiles; at++) {
      await using file = await rig.storage.files.create('alice', [], 1)
      await file.publish(`${at}`, true)
    }
    await list(client)
    let isAnswered = false
    const answered = ping().then(() => {
      isAnswered = true
    })
    await list(await rig.client(bob))
    assert.equal(isAnswered, false)
    platform.clock.pass(1_000)
    await answered
  })

  it('are listed with at most so many bytes in one reply', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client(alice)
    const names = Array.from(
      { length: 400 },
      (_, at) => `${String(at).padStart(3, '0')}/${'x/'.repeat(20)}${'n'.repeat(200)}`,
    )
    for (const name of names) await client.put({ name, bytes: new Uint8Array() })
    const found: string[] = []
    for (let more = 1; more === 1; ) {
      const page = await list(client, '', found.at(-1) ?? '')
      const size = page.files.reduce((sum, { fileName }) => sum + fileName.length, 0)
      assert.ok(size < fixed.listedBytes && page.files.length <= fixed.listedFiles)
      found.push(...namesOf(page))
      more = page.more
    }
    assert.deepEqual(found, names)
  })

  it('are described, with a digest that the server computes if it is asked to', async () => {
    await using rig = await ServerRig.onDisk()
    const client = await rig.client(alice)
    await client.put({ name: 'a', bytes, modifiedAt: 1_700_000_000_123 })
    const { size, modifiedAt, fileDigest, digest } = await stat(client, 'a')
    assert.deepEqual([size, modifiedAt, digest], [bytes.length, 1_700_000_000_123, 2])
    assert.deepEqual(Buffer.from(fileDigest), sha256(bytes))
    await using file = await rig.storage.files.create('alice', [bytes], 1)
    await file.publish('b', true)
    assert.equal((await stat(client, 'b')).digest, 0)
    assert.deepEqual(Buffer.from((await stat(client, 'b', statFlags.digest)).fileDigest), sha256(bytes))
    client.raw.send('StatFileReq', { fileName: 'none', flags: 0 })
    await client.raw.refused('StatFileNack', 'no-such-file')
    client.raw.send('StatFileReq', { fileName: '../bob/a', flags: 0 })
    await client.raw.refused('StatFileNack', 'bad-name')
  })

  it('are read at any offset, in replies that are no longer than a chunk', async () => {
    await using rig = await ServerRig.onDisk({ chunkBytes: 32 * KiB })
    const client = await rig.client(alice)
    const { version } = await stored(client)
    assert.deepEqual(await read(client, 'a', version, 0, 10), bytes.slice(0, 10))
    assert.deepEqual(await read(client, 'a', version, 50_000, 100_000), bytes.slice(50_000, 50_000 + 32 * KiB))
    assert.deepEqual(await read(client, 'a', version, 99_999, 5), bytes.slice(99_999))
    assert.equal((await read(client, 'a', version, 100_000, 5)).length, 0)
    assert.equal((await read(client, 'a', version, 2 ** 52, 5)).length, 0)
    client.raw.send('ReadFileReq', { fileName: 'a', version: 'another', offset: 0, length: 9 })
    await client.raw.refused('ReadFileNack', 'version-changed')
    client.raw.send('ReadFileReq', { fileName: 'none', version, offset: 0, length: 9 })
    await client.raw.refused('ReadFileNack', 'no-such-file')
  })

  it('are read whole in many requests at once', async () => {
    await using rig = await ServerRig.onDisk({ readMemoryBytes: 20_000 })
    const client = await rig.client(alice)
    const { version } = await stored(client)
    const offsets = Array.from({ length: 100 }, (_, at) => at * 1_000)
    for (const offset of offsets) client.raw.send('ReadFileReq', { fileName: 'a', version, offset, length: 1_000 })
    const parts = new Map<number, Uint8Array>()
    while (parts.size < offsets.length) {
      const { offset, content } = await client.raw.expect('ReadFileAck')
      parts.set(offset, concatenated(content))
    }
    assert.deepEqual(concatenated(offsets.map((offset) => parts.get(offset) ?? new Uint8Array())), bytes)
  })

  it('are read for every link, even if the replies to other links have used up the memory', async () => {
    await using rig = await ServerRig.onDisk({ readMemoryBytes: 100_000 })
    const client = await rig.client(alice)
    const { version } = await stored(client)
    const readOfAll = rig.storage.hold('read stored file')
    client.raw.send('ReadFileReq', { fileName: 'a', version, offset: 0, length: bytes.length })
    await readOfAll.reached
    const other = await rig.client({ ...alice, session: 'other' })
    for (const offset of [0, 10]) other.raw.send('ReadFileReq', { fileName: 'a', version, offset, length: 90_000 })
    for (const offset of [0, 10]) {
      const { content } = await other.raw.expect('ReadFileAck')
      assert.deepEqual(concatenated(content), bytes.slice(offset, offset + fixed.shortReadBytes))
    }
    readOfAll.go()
    assert.deepEqual(concatenated((await client.raw.expect('ReadFileAck')).content), bytes)
    assert.deepEqual(await read(other, 'a', version, 10, 90_000), bytes.slice(10, 90_010))
  })

  it('are read only in the present version, also if the server has a replaced one open', async () => {
    await using rig = await ServerRig.onDisk()
    const client = await rig.client(alice)
    const { version } = await stored(client)
    await read(client, 'a', version, 0, 10)
    await stored(client, 'a', patterned(20))
    client.raw.send('ReadFileReq', { fileName: 'a', version, offset: 10, length: 10 })
    await client.raw.refused('ReadFileNack', 'version-changed')
  })

  it('are removed, whatever their version or only a certain one', async () => {
    await using rig = await ServerRig.onDisk()
    const client = await rig.client(alice)
    const { version } = await stored(client)
    await stored(client, 'a', patterned(10))
    client.raw.send('RemoveFileReq', { fileName: 'a', version })
    await client.raw.refused('RemoveFileNack', 'version-changed')
    client.raw.send('RemoveFileReq', { fileName: 'a', version: '' })
    assert.equal((await client.raw.expect('RemoveFileAck')).removed, 1)
    client.raw.send('RemoveFileReq', { fileName: 'a', version: '' })
    assert.equal((await client.raw.expect('RemoveFileAck')).removed, 0)
    assert.equal(await rig.stored('a'), undefined)
    assert.deepEqual(
      rig.log.filter(({ event }) => event === 'file-removed').map(({ name }) => name),
      ['a'],
    )
  })

  it('are renamed, and replace a file only if they may', async () => {
    await using rig = await ServerRig.onDisk()
    const client = await rig.client(alice)
    const { version } = await stored(client)
    await stored(client, 'b', patterned(10))
    const rename = (flags: number) => client.raw.send('RenameFileReq', { fileName: 'a', newName: 'b', version, flags })
    rename(0)
    await client.raw.refused('RenameFileNack', 'file-exists')
    rename(renameFlags.replace)
    assert.equal((await client.raw.expect('RenameFileAck')).replaced, 1)
    await rig.assertStored('b', bytes)
    assert.equal(await rig.stored('a'), undefined)
    rename(0)
    await client.raw.expect('RenameFileAck')
    client.raw.send('RenameFileReq', { fileName: 'b', newName: 'con', version: '', flags: 0 })
    await client.raw.refused('RenameFileNack', 'bad-name')
  })

  for (const change of ['removed', 'renamed'] as const) {
    it(`are reported before they are ${change} if a fault kept their upload from being completed`, async () => {
      const onUpload = ({ name }: { name: string }) => ({ name: `in/${name}` })
      await using rig = await ServerRig.start({}, { onUpload })
      const reported: string[] = []
      rig.server.on('stored', ({ storedName }) => reported.push(storedName))
      const client = await rig.client(alice)
      const { instance } = await client.start({ name: 'a', bytes })
      await client.chunk(instance, 0, bytes)
      rig.storage.fail('complete', new OspError('internal', 'the disk has failed'))
      await client.endRefused(instance, sha256(bytes), 'internal')
      const [fileName, newName, version] = ['in/a', 'b', '']
      if (change === 'removed') {
        client.raw.send('RemoveFileReq', { fileName, version })
        assert.equal((await client.raw.expect('RemoveFileAck')).removed, 1)
      } else {
        client.raw.send('RenameFileReq', { fileName, newName, version, flags: 0 })
        await client.raw.expect('RenameFileAck')
      }
      assert.deepEqual(namesOf(await list(client)), change === 'removed' ? [] : ['b'])
      assert.deepEqual([reported, await rig.records()], [['in/a'], []])
      await rig.server.close()
      await rig.restart()
      assert.deepEqual(
        rig.log.filter(({ event }) => event === 'upload-damaged' || event === 'upload-not-recovered'),
        [],
      )
    })
  }
})

spec('the files of another user', (it) => {
  type Other = Awaited<ReturnType<ServerRig['client']>>
  const refuses = (title: string, attempt: (other: Other, version: string) => Promise<void>) =>
    it(title, async () => {
      await using rig = await ServerRig.onDisk()
      const { version } = await stored(await rig.client(alice))
      await attempt(await rig.client(bob), version)
      assert.deepEqual(await rig.stored('a'), bytes)
    })

  refuses('are not listed', async (other) => {
    assert.deepEqual(namesOf(await list(other)), [])
  })

  refuses('cannot be described', async ({ raw }) => {
    raw.send('StatFileReq', { fileName: 'a', flags: statFlags.digest })
    await raw.refused('StatFileNack', 'no-such-file')
  })

  refuses('cannot be read', async ({ raw }, version) => {
    raw.send('ReadFileReq', { fileName: 'a', version, offset: 0, length: 10 })
    await raw.refused('ReadFileNack', 'no-such-file')
  })

  refuses('cannot be renamed', async ({ raw }, version) => {
    raw.send('RenameFileReq', { fileName: 'a', newName: 'b', version, flags: 1 })
    await raw.refused('RenameFileNack', 'no-such-file')
  })

  refuses('cannot be removed', async ({ raw }) => {
    raw.send('RemoveFileReq', { fileName: 'a', version: '' })
    assert.equal((await raw.expect('RemoveFileAck')).removed, 0)
  })

  refuses('cannot be named by a path', async ({ raw }, version) => {
    for (const fileName of ['../alice/a', '/a', 'x/../../alice/a']) {
      raw.send('ReadFileReq', { fileName, version, offset: 0, length: 10 })
      await raw.refused('ReadFileNack', 'bad-name')
    }
  })
})

const openFiles = (rig: ServerRig) => rig.server.status().gauges.openFiles

/** A server with a read that does not end until `held.go()`. */
async function hangingRead() {
  const clock = new VirtualClock()
  const rig = await ServerRig.start({}, { platform: { ...nodePlatform(), clock } })
  const client = await rig.client(alice)
  const { version } = await stored(client)
  const held = rig.storage.hold('read stored file')
  client.raw.send('ReadFileReq', { fileName: 'a', version, offset: 0, length: 10 })
  await held.reached
  return { clock, rig, client, held, [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose]() }
}

spec('the instances that read files', (it) => {
  it('are held while a file is read in parts, and not for a file that is read in one request', async () => {
    await using rig = await ServerRig.onDisk({ fileInstances: 3 })
    const client = await rig.client(alice)
    const { version } = await stored(client)
    assert.deepEqual(await read(client, 'a', version, 0, bytes.length), bytes)
    assert.equal(openFiles(rig), 0)
    await read(client, 'a', version, 0, 10)
    await read(client, 'a', version, 10, 10)
    assert.equal(openFiles(rig), 1)
    await client.vanish()
    while (openFiles(rig) > 0) await turn()
  })

  it('are released after a time without a request', async () => {
    const clock = new VirtualClock()
    await using rig = await ServerRig.start({}, { platform: { ...nodePlatform(), clock } })
    const client = await rig.client(alice)
    const { version } = await stored(client)
    await read(client, 'a', version, 0, 10)
    assert.equal(openFiles(rig), 1)
    clock.pass(10_000)
    assert.equal(openFiles(rig), 0)
    assert.deepEqual(await read(client, 'a', version, 5, 10), bytes.slice(5, 15))
  })

  it('stay while a read does not end, and are released after it', async () => {
    await using at = await hangingRead()
    const { clock, rig, client, held } = at
    const alarms = clock.set.length
    clock.pass(10_000)
    assert.equal(openFiles(rig), 1)
    assert.equal(clock.set.filter((atMs) => atMs < clock.now() + 10).length, 0)
    assert.ok(clock.set.length <= alarms)
    held.go()
    await client.raw.expect('ReadFileAck')
    clock.pass(9_999)
    assert.equal(openFiles(rig), 1)
    clock.pass(1)
    assert.equal(openFiles(rig), 0)
  })

  it('leave no alarm if the server is closed while a file is read', async () => {
    await using at = await hangingRead()
    const { clock, rig, held } = at
    const closing = rig.server.close()
    while (openFiles(rig) > 0) await turn()
    held.go()
    await closing
    for (let turns = 0; turns < 20; turns++) await turn()
    assert.deepEqual(
      clock.set.filter((atMs) => atMs >= clock.now() + 10_000),
      [],
    )
  })

  it('answer a late request about an upload that had the instance before as idle ones do', async () => {
    await using rig = await ServerRig.onDisk({ fileInstances: 1 })
    const client = await rig.client(alice)
    const { version } = await stored(client)
    const { instance } = await client.start({ name: 'b', bytes })
    await client.cancel('b')
    await read(client, 'a', version, 0, 10)
    assert.equal(openFiles(rig), 1)
    await client.endRefused(instance, sha256(bytes), 'cancelled')
    await client.chunkRefused(instance, 0, bytes, 'cancelled')
    assert.deepEqual(
      rig.log.filter(({ level }) => level === 'error'),
      [],
    )
  })

  it('give way to uploads and to other readers', async () => {
    await using rig = await ServerRig.onDisk({ fileInstances: 2 })
    const client = await rig.client(alice)
    const versions = new Map<string, string>()
    for (const name of ['a', 'b', 'c']) versions.set(name, (await stored(client, name)).version)
    for (const [name, version] of versions) await read(client, name, version, 0, 10)
    assert.equal(openFiles(rig), 2)
    await client.start({ name: 'x', bytes })
    const { instance } = await client.start({ name: 'y', bytes })
    assert.equal(openFiles(rig), 0)
    client.raw.send('ReadFileReq', { fileName: 'a', version: versions.get('a') ?? '', offset: 0, length: 10 })
    await client.raw.refused('ReadFileNack', 'no-idle-instance')
    await client.pause(instance)
    const { version } = await stat(client, 'a')
    assert.deepEqual(await read(client, 'a', version, 20, 10), bytes.slice(20, 30))
  })
})
