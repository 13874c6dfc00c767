import assert from 'node:assert/strict'
import { fixed } from '../../../lib/limits.ts'
import { type Deferred, deferred } from '../../../lib/runtime/deferred.ts'
import type { ArrivingUpload, UploadHook } from '../../../lib/server/files/uploadHook.ts'
import { ClusterServers } from '../../support/clusterServers.ts'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { heldRig } from '../../support/messageClient.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const bytes = patterned(1_000)
const rigWith = (onUpload: UploadHook, limits = {}) => heldRig(limits, { onUpload })
const intoInbox: UploadHook = ({ name }) => ({ name: `inbox/${name}` })

spec('onUpload', (it) => {
  it('is called for each kind of request that sends a file', async () => {
    const asked: Omit<ArrivingUpload, 'signal'>[] = []
    await using rig = await rigWith(({ signal: _, ...upload }) => void asked.push(upload))
    const alice = await rig.client()
    await alice.put({ name: 'a', bytes, modifiedAt: 7 })
    await alice.upload({ name: 'b', bytes })
    await alice.continue({ name: 'c', bytes })
    assert.deepEqual(asked[0], { user: 'alice', name: 'a', size: 1_000, modifiedAt: 7, metadata: {} })
    assert.deepEqual(
      asked.map(({ name }) => name),
      ['a', 'b', 'c'],
    )
    assert.ok(await rig.stored('b'))
  })

  it('refuses an upload with its reason, before the server stores anything', async () => {
    await using rig = await rigWith(({ name }) => (name === 'a' ? undefined : { refuse: 'no films' }))
    const alice = await rig.client()
    const text = 'the server refuses this file: no films'
    assert.equal((await alice.putRefused({ name: 'b', bytes }, 'upload-rejected')).text, text)
    assert.equal((await alice.startRefused({ name: 'c', bytes }, 'upload-rejected')).text, text)
    await alice.continueRefused({ name: 'd', bytes }, 'upload-rejected')
    await alice.put({ name: 'a', bytes })
    assert.deepEqual(await rig.records(), [])
    assert.equal(await rig.stored('b'), undefined)
  })

  it('chooses the name under which a file is stored', async () => {
    await using rig = await rigWith(intoInbox)
    const alice = await rig.client()
    assert.equal((await alice.put({ name: 'a', bytes })).storedName, 'inbox/a')
    assert.equal(await alice.upload({ name: 'b', bytes }), 'inbox/b')
    for (const name of ['a', 'b']) {
      assert.ok(await rig.stored(`inbox/${name}`))
      assert.equal(await rig.stored(name), undefined)
    }
  })

  it('chooses the name of a file that has changed but has the same size and time', async () => {
    await using rig = await rigWith(intoInbox)
    const alice = await rig.client()
    await alice.upload({ name: 'a', bytes })
    const other = bytes.toReversed()
    const { instance, progress } = await alice.continue({ name: 'a', bytes: other })
    assert.equal(progress, bytes.length)
    await alice.endRefused(instance, sha256(other), 'digest-mismatch')
    const again = await alice.start({ name: 'a', bytes: other })
    assert.equal(again.progress, 0)
    await alice.chunk(again.instance, 0, other)
    assert.equal((await alice.end(again.instance, sha256(other))).storedName, 'inbox/a')
    const digest = { fileDigest: sha256(bytes) }
    const { progress: begun, stored } = await alice.continue({ name: 'a', bytes, ...digest })
    assert.deepEqual([begun, stored], [0, undefined])
  })

  it('is called once for an upload that continues after a crash; its first answer determines the name', async () => {
    let calls = 0
    const once: UploadHook = ({ name }) => ({ name: `${++calls}/${name}` })
    await using rig = await rigWith(once)
    const alice = await rig.client()
    const { instance } = await alice.start({ name: 'a', bytes })
    await alice.chunk(instance, 0, bytes.subarray(0, 500))
    await alice.pause(instance)
    await rig.crash()
    await rig.restart({ onUpload: once })
    const again = await rig.client()
    const { instance: next, progress } = await again.continue({ name: 'a', bytes })
    assert.equal(progress, 500)
    await again.chunk(next, 500, bytes.subarray(500))
    assert.equal((await again.end(next, sha256(bytes))).storedName, '1/a')
    assert.equal(calls, 1)
  })

  for (const step of ['verified', 'publish', 'complete'] as const) {
    it(`keeps the name of an upload if the server is killed after the step ${step}`, async () => {
      await using rig = await rigWith(intoInbox)
      const alice = await rig.client()
      const { instance } = await alice.start({ name: 'a', bytes })
      await alice.chunk(instance, 0, bytes)
      const held = rig.storage.hold(step, 'after')
      alice.sendEnd(instance, sha256(bytes))
      await held.reached
      held.fail(new Error('the process is gone'))
      await rig.crash()
      await rig.restart({ onUpload: intoInbox })
      const again = await rig.client()
      const { progress, instance: next } = await again.continue({ name: 'a', bytes })
      assert.equal(progress, bytes.length)
      assert.equal((await again.end(next, sha256(bytes))).storedName, 'inbox/a')
      assert.ok(await rig.stored('inbox/a'))
    })
  }

  it('finds a file that is sent again under the name under which it is stored', async () => {
    let calls = 0
    await using rig = await rigWith(({ name }) => ({ name: `${++calls}/${name}` }))
    const alice = await rig.client()
    await alice.upload({ name: 'a', bytes })
    assert.equal((await alice.continue({ name: 'a', bytes })).progress, bytes.length)
    assert.equal((await alice.put({ name: 'a', bytes })).storedName, '1/a')
    assert.equal(await rig.stored('2/a'), undefined)
  })

  it('finds a stored file again after the completion marker has moved to the records of files', async () => {
    await using rig = await rigWith(intoInbox, { noteMs: 1 })
    const alice = await rig.client()
    await alice.upload({ name: 'a', bytes })
    await rig.clock.pass(60_000)
    const again = await rig.client()
    for (const name of ['b', 'c']) await again.upload({ name, bytes })
    await turn()
    const { progress } = await again.continue({ name: 'a', bytes })
    assert.equal(progress, bytes.length)
  })

  it('adds metadata to a file, however it is sent', async () => {
    await using rig = await rigWith(({ name }) => ({ name: `inbox/${name}`, metadata: { checked: 'yes' } }))
    const alice = await rig.client()
    await alice.put({ name: 'a', bytes })
    await alice.upload({ name: 'b', bytes })
    for (const name of ['inbox/a', 'inbox/b']) {
      alice.raw.send('StatFileReq', { fileName: name, flags: 0 })
      const { metadata } = await alice.raw.expect('StatFileAck')
      assert.deepEqual(metadata, [{ key: 'checked', value: 'yes' }])
    }
  })

  it('refuses only the upload for which it fails, with `internal`, and the failure is logged', async () => {
    const hook: UploadHook = async ({ name }) => {
      if (name === 'a') throw new Error('the scanner is gone')
      if (name === 'b') return { name: 7 } as never
      return undefined
    }
    await using rig = await rigWith(hook)
    const alice = await rig.client()
    for (const name of ['a', 'b', 'c']) alice.sendPut({ name, bytes })
    await alice.raw.refused('PutFileNack', 'internal')
    await alice.raw.refused('PutFileNack', 'internal')
    await alice.raw.expect('PutFileAck')
    const { text } = await alice.startRefused({ name: 'a', bytes, size: 999 }, 'internal')
    assert.ok(!text.includes('scanner'))
    const logged = rig.log.filter(({ event }) => event === 'upload-refused')
    assert.deepEqual(
      logged.map(({ code, name, text: reason }) => `${code} ${name} ${reason}`),
      [
        'internal a onUpload failed: the scanner is gone',
        'internal b onUpload failed: refuse, name and the values of metadata must be strings',
      ],
    )
  })

  it('applies the rules of names and metadata to its result', async () => {
    const results: Readonly<Record<string, Awaited<ReturnType<UploadHook>>>> = {
      up: { name: '../a' },
      long: { metadata: { key: 'x'.repeat(5_000) } },
    }
    await using rig = await rigWith(({ name }) => results[name])
    const alice = await rig.client()
    const { text } = await alice.startRefused({ name: 'up', bytes }, 'bad-name')
    assert.ok(!text.includes('..'))
    await alice.putRefused({ name: 'up', bytes }, 'bad-name')
    await alice.startRefused({ name: 'long', bytes }, 'too-large')
  })

  it('does not wait for a call longer than its limit, and then calls it for the next upload', async () => {
    const aborted: unknown[] = []
    const hook: UploadHook = ({ name, signal }) => {
      if (name !== 'slow') return undefined
      signal.addEventListener('abort', () => aborted.push(signal.reason))
      return new Promise(() => {})
    }
    await using rig = await rigWith(hook, { onUploadMs: 2_000 })
    const alice = await rig.client()
    alice.sendStart({ name: 'slow', bytes })
    await turn()
    await alice.put({ name: 'quick', bytes })
    await rig.clock.pass(2_000)
    await alice.raw.refused('StartPostFileNack', 'internal')
    assert.equal(aborted.length, 1)
  })

  it('runs for a bounded number of uploads at once', async () => {
    const calls: Deferred<undefined>[] = []
    const hook: UploadHook = () => {
      const call = deferred<undefined>()
      calls.push(call)
      return call.promise
    }
    await using rig = await rigWith(hook)
    const users = Array.from({ length: 5 }, (_, at) => `user${at}`)
    const clients = await Promise.all(users.map((user) => rig.client({ user })))
    for (const client of clients) for (let at = 0; at < 16; at++) client.sendStart({ name: `file${at}`, bytes })
    await turn()
    assert.equal(calls.length, fixed.uploadHooks)
    for (const call of calls) call.resolve(undefined)
    await turn()
    assert.equal(calls.length, 80)
    for (const call of calls) call.resolve(undefined)
  })

  it('does not prevent the server from closing', async () => {
    const rig = await rigWith(() => new Promise(() => {}))
    const alice = await rig.client()
    alice.sendStart({ name: 'a', bytes })
    await turn()
    await rig[Symbol.asyncDispose]()
  })

  it('protects the file that a renamed upload replaces', async () => {
    await using rig = await rigWith(intoInbox)
    const alice = await rig.client()
    await alice.put({ name: 'a', bytes })
    const { instance } = await alice.start({ name: 'a', bytes: patterned(2_000) })
    alice.raw.send('RemoveFileReq', { fileName: 'inbox/a', version: '' })
    await alice.raw.refused('RemoveFileNack', 'file-busy')
    await alice.pause(instance)
  })

  it('is called by each server of a cluster, and its first answer applies at the other servers', async () => {
    await using cluster = await ClusterServers.create()
    const servers = [
      await cluster.start({ onUpload: intoInbox }),
      await cluster.start({ onUpload: () => ({ name: 'x' }) }),
    ]
    const [one, two] = await Promise.all(servers.map((server, at) => cluster.client(server, { session: `${at}` })))
    assert.ok(one && two)
    const { instance } = await one.start({ name: 'a', bytes })
    await one.chunk(instance, 0, bytes.subarray(0, 500))
    await one.pause(instance)
    const { instance: next, progress } = await two.continue({ name: 'a', bytes })
    assert.equal(progress, 500)
    await two.chunk(next, 500, bytes.subarray(500))
    assert.equal((await two.end(next, sha256(bytes))).storedName, 'inbox/a')
    assert.equal((await two.put({ name: 'b', bytes })).storedName, 'x')
    assert.deepEqual(await cluster.directory.read('alice', 'inbox/a'), Uint8Array.from(bytes))
  })
})
