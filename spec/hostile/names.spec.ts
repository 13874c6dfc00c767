import assert from 'node:assert/strict'
import { lstat, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { memoryTransport } from '../../lib/adapters/memory/memoryTransport.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import { RunningClient } from '../../lib/client/runningClient.ts'
import { diskServer } from '../support/diskServer.ts'
import { sha256 } from '../support/fileClient.ts'
import { memorySource, patterned } from '../support/memorySource.ts'
import { ServerRig } from '../support/serverRig.ts'
import { spec } from '../support/spec.ts'
import { UploadRig } from '../support/uploadRig.ts'

const bytes = patterned(1_000)
const subject = (name: string) => ({ name, bytes })

/** Names that docs/protocol.md, "Names", forbids, in addition to those in the specs of the server and of names. */
const forbidden = [
  ...[
    'a\u0000',
    'a\nb',
    'a\u007f',
    'a\u0085',
    'a\u009b',
    '\u061ca',
    'a\u200e',
    'a\u200fb',
    'a\u202a',
    'a\u2066',
    'a\u2069',
  ],
  ...['a\u00ad', 'a\u180eb', '\u200ba', 'a\u2028', 'a\u2029b', 'a\u2060', 'a\u2064b', '\ufeffa', 'x/\ufeff'],
  ...['../a', 'a/..', '../../../../etc/passwd', '/etc/passwd', 'a/./b', '~/../a', 'C:/a', '\\\\host\\a', 'a/b\\..\\c'],
  ...['AUX', 'a/con', 'con/a', 'conin$', 'CONOUT$.txt', 'com\u00b9', 'lpt9.tar.gz', 'nul .txt', 'prn'],
  ...['...', 'a/. ', ' ', 'a /b', 'a./b', 'x/'.repeat(600), `${'\u00e4'.repeat(128)}`],
]

spec('forbidden names', (it) => {
  it('are refused by the client before anything is sent', async () => {
    await using rig = await UploadRig.start()
    const client = rig.client()
    for (const name of [...forbidden, '', 'a/', 'a//b', '.', '..', '\ud800']) {
      await assert.rejects(client.upload(memorySource(name, bytes)), { code: 'bad-name' }, JSON.stringify(name))
    }
    assert.equal(rig.transport.dialled, 0)
    assert.deepEqual([...client.uploads], [])
  })

  it('of users are refused by the client before it connects', () => {
    for (const user of ['', 'a/b', '..', 'nul', 'a\u202eb', 'a\u200db', 'a\ufe0f', 'a\u00a0b', ' a', 'x'.repeat(65)]) {
      const create = () =>
        new RunningClient({ to: memoryTransport(), user, platform: nodePlatform(), software: 'spec' })
      assert.throws(create, { code: 'bad-name' })
    }
  })

  it('of users are refused by the server, even if the client accepts them', async () => {
    await using rig = await ServerRig.start()
    for (const user of ['a\u200db', 'a\ufe0f', 'a\u{e0041}', '\u3164', 'a\u00a0b', ' a', 'a\u034f', 'cafe\u0301']) {
      const raw = await rig.dial()
      raw.hello({ user, session: 'a' })
      await raw.refused('HelloNack', 'bad-name')
    }
    assert.deepEqual(rig.server.status().users, [])
  })

  it('are refused by the server, even if the client accepts them, and the link stays open', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    for (const name of forbidden) {
      await client.startRefused(subject(name), 'bad-name')
      await client.continueRefused(subject(name), 'bad-name')
      client.sendCancel(name)
      await client.raw.refused('CancelFileNack', 'bad-name')
    }
    assert.deepEqual([await rig.records(), rig.server.status().uploads], [[], []])
    await client.upload(subject('a'))
  })

  // Both encode `..` and `/` in ways that only a careless decoder accepts.
  for (const [what, digits] of Object.entries({ 'overlong dots': 'c0aec0ae', 'a bare surrogate': 'eda080' })) {
    it(`that are not UTF-8 (${what}) end the link`, async () => {
      await using rig = await ServerRig.start()
      const { raw } = await rig.client()
      const name = Buffer.from(digits, 'hex')
      raw.send('CancelFileReq', { fileName: 'a' }, 0, { payload: [Uint8Array.of(0, name.length), name] })
      await raw.dismissed('malformed')
    })
  }
})

spec('a symbolic link in the data directory', (it) => {
  const places: readonly [string, string, 'file' | 'directory', string][] = [
    ['as the directory of a user', 'files/alice', 'directory', 'secret'],
    ['as the directory of a user, to a file', 'files/alice', 'file', 'a'],
    ['as a folder of the name', 'files/alice/x', 'directory', 'x/secret'],
    ['as a folder deep in the name', 'files/alice/d/x', 'directory', 'd/x/y/a'],
    ['as the file itself', 'files/alice/a', 'file', 'a'],
    ['as the file itself, to a directory', 'files/alice/a', 'directory', 'a'],
  ]
  for (const [what, path, to, name] of places) {
    it(`${what} is not followed: the name is refused, and nothing at its target is removed or revealed`, async () => {
      await using rig = await diskServer()
      await mkdir(join(rig.data, path, '..'), { recursive: true })
      await rig.plant(path, to)
      const client = await rig.client()
      await client.startRefused(subject(name), 'name-conflict')
      await client.continueRefused(subject(name), 'name-conflict')
      assert.equal(await client.cancel(name), 0)
      assert.ok((await lstat(join(rig.data, path))).isSymbolicLink())
      await rig.untouched()
    })

    it(`${what} that appears between START and FILE_MD5 is not followed either; without it the upload ends`, async () => {
      await using rig = await diskServer()
      const client = await rig.client()
      await client.upload({ name, bytes: patterned(10) })
      const { instance } = await client.start(subject(name))
      await client.chunk(instance, 0, bytes)
      await rename(join(rig.data, path), join(rig.data, 'aside'))
      await rig.plant(path, to)
      await client.endRefused(instance, sha256(bytes), 'name-conflict')
      await client.continueRefused(subject(name), 'name-conflict')
      await rig.untouched()
      assert.deepEqual(rig.server.status().uploads, [])

      await rm(join(rig.data, path))
      await rename(join(rig.data, 'aside'), join(rig.data, path))
      const { instance: other, progress } = await client.continue(subject(name))
      assert.equal(progress, bytes.length)
      await client.end(other, sha256(bytes))
      assert.deepEqual(Uint8Array.from(await readFile(join(rig.data, 'files/alice', name))), bytes)
    })
  }

  it('in the place of a partial file is not followed; START removes it', async () => {
    await using rig = await diskServer()
    const client = await rig.client()
    const { instance } = await client.start(subject('a'))
    await client.chunk(instance, 0, bytes.subarray(0, 10))
    await client.pause(instance)
    const [partial = ''] = await readdir(join(rig.data, 'partial'))
    await rig.plant(join('partial', partial))
    // With other properties the upload begins at zero: the link is removed, and not its target.
    assert.equal(await client.upload({ ...subject('a'), modifiedAt: 2_000 }), 'a')
    await rig.untouched()
    assert.deepEqual(Uint8Array.from(await readFile(join(rig.data, 'files/alice/a'))), bytes)
  })

  it('in the place of a partial file that is to be continued is an error, and only the log names the path', async () => {
    await using rig = await diskServer({ limits: { parkedUploads: 1 } })
    const client = await rig.client()
    const { instance } = await client.start(subject('a'))
    await client.chunk(instance, 0, bytes.subarray(0, 10))
    await client.pause(instance)
    const [partial = ''] = await readdir(join(rig.data, 'partial'))
    // Another parked upload causes this one to be closed.
    const { instance: other } = await client.start(subject('b'))
    await client.pause(other)
    await rig.plant(join('partial', partial))
    const { text } = await client.continueRefused(subject('a'), 'storage-unusable')
    assert.ok(!text.includes(rig.data) && !text.includes(partial), text)
    const [fault] = rig.log.filter(({ event }) => event === 'upload-refused')
    assert.match(String(fault?.text), new RegExp(`${partial} failed: .*\\(ELOOP\\)$`, 'u'))
    await rig.untouched()
    assert.equal(await client.upload(subject('a')), 'a')
    await rig.untouched()
  })

  it('in the place of an alternative name for a file is skipped', async () => {
    await using rig = await diskServer({ onConflict: 'rename' })
    const client = await rig.client()
    await client.upload({ name: 'a.txt', bytes: patterned(10) })
    await rig.plant('files/alice/a (1).txt')
    await rig.plant('files/alice/a (2).txt', 'directory')
    await mkdir(join(rig.data, 'files/alice/a (3).txt'))
    await writeFile(join(rig.data, 'files/alice/a (3).txt/b'), 'b')
    assert.equal(await client.upload(subject('a.txt')), 'a (4).txt')
    await rig.untouched()
  })
})

spec('the directory of a user', (it) => {
  it('that is a file leaves no space for that user, which the error says; other users can continue', async () => {
    await using rig = await diskServer()
    await writeFile(join(rig.data, 'files/alice'), 'not a directory')
    const { text } = await (await rig.client()).startRefused(subject('a'), 'name-conflict')
    assert.match(text, /collides with alice on the server/u)
    assert.equal(await (await rig.client('bob')).upload(subject('a')), 'a')
    assert.equal(await readFile(join(rig.data, 'files/alice'), 'utf8'), 'not a directory')
  })

  it('contains names that differ only in case as different files, or refuses the second one', async () => {
    await using rig = await diskServer()
    const client = await rig.client()
    await client.upload(subject('Dir/File'))
    const folds = await lstat(join(rig.data, 'FORMAT')).then(
      () => true,
      () => false,
    )
    for (const name of ['dir/file', 'DIR', 'Dir/FILE']) {
      const other = { name, bytes: patterned(10, 3) }
      if (folds) await client.startRefused(other, 'name-conflict')
      else assert.equal(await client.upload(other), name)
    }
    assert.deepEqual(Uint8Array.from(await readFile(join(rig.data, 'files/alice/Dir/File'))), bytes)
  })

  it('cannot be reached by any file name or user name of another user', async () => {
    await using rig = await diskServer()
    await (await rig.client('bob')).upload(subject('a'))
    const client = await rig.client()
    for (const name of ['../bob/a', 'x/../../bob/a', '..\\bob\\a']) {
      await client.startRefused({ name, bytes: patterned(10) }, 'bad-name')
    }
    await client.upload({ name: 'bob/a', bytes: patterned(10) })
    assert.equal(await client.cancel('a'), 0)
    assert.deepEqual(Uint8Array.from(await readFile(join(rig.data, 'files/bob/a'))), bytes)
  })
})
