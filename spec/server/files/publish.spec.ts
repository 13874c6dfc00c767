import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { StoredFile } from '../../../lib/ports/storage.ts'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { manualPlatform, ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'

const bytes = patterned(1_000)
const file = { name: 'a', bytes }
const first = bytes.subarray(0, 400)

spec('FILE_MD5_REQ', (it) => {
  it('with the right digest publishes the file, returns its name, and releases the instance', async () => {
    await using rig = await ServerRig.start({ fileInstances: 1 })
    const stored: StoredFile[] = []
    rig.server.on('stored', (file) => stored.push(file))
    const client = await rig.client()
    assert.equal(await client.upload(file), 'a')
    await rig.assertStored('a', bytes)
    assert.deepEqual(stored, [
      {
        user: 'alice',
        name: 'a',
        storedName: 'a',
        replaced: false,
        size: 1_000,
        algorithm: 'sha256',
        digest: sha256(bytes).toString('hex'),
      },
    ])
    assert.deepEqual(await rig.records(), [])
    await client.start({ name: 'b', bytes })
  })

  it('of an empty file needs no chunk', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    await client.upload({ name: 'empty', bytes: new Uint8Array() })
    await rig.assertStored('empty', new Uint8Array())
  })

  it('before the last byte gets wrong-offset with the progress, and nothing changes', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, first)
    assert.equal((await client.endRefused(instance, sha256(bytes), 'wrong-offset')).progress, 400)
    await client.chunk(instance, 400, bytes.subarray(400))
    await client.end(instance, sha256(bytes))
  })

  for (const [what, digest] of [
    ['another', sha256(first)],
    ['a shorter', sha256(bytes).subarray(0, 16)],
  ] as const) {
    it(`of ${what} digest clears the progress and frees the instance; START sends it again`, async () => {
      await using rig = await ServerRig.start()
      const client = await rig.client()
      const { instance } = await client.start(file)
      await client.chunk(instance, 0, bytes)
      assert.equal((await client.endRefused(instance, digest, 'digest-mismatch')).progress, 0)
      assert.equal(await rig.stored('a'), undefined)
      assert.deepEqual(rig.server.status().uploads, [])
      await client.chunkRefused(instance, 0, bytes, 'instance-lost')
      assert.equal((await client.continue(file)).progress, 0)
      assert.equal(await client.upload(file), 'a')
    })
  }

  it('is acknowledged only after the file is flushed, verified, published and recorded', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, bytes)
    const steps = (['flush', 'verified', 'publish', 'complete'] as const).map((step) => rig.storage.hold(step))
    client.sendEnd(instance, sha256(bytes))
    for (const step of steps) {
      await step.reached
      assert.deepEqual(client.raw.unread, [])
      step.go()
    }
    await client.raw.expect('FileMd5Ack')
  })

  it('runs to its end even if the link is lost', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, bytes)
    const publish = rig.storage.hold('publish')
    client.sendEnd(instance, sha256(bytes))
    await publish.reached
    await client.vanish()
    const stored = new Promise((resolve) => rig.server.once('stored', resolve))
    publish.go()
    await stored
    await rig.assertStored('a', bytes)
    const again = await rig.client()
    assert.equal((await again.continue(file)).progress, 1_000)
  })

  it('is answered again as long as the file is stored, and after that begins at zero', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.start({}, { platform })
    const first = await rig.client()
    await first.upload(file)
    // By the hour: what the server does not see pass at all counts as an hour.
    for (let hour = 0; hour < 7 * 24; hour++) await pass(platform.clock, 3_600_000)
    await pass(platform.clock, 1)
    const later = await rig.client()
    // Another upload drops the expired completion marker.
    await later.upload({ name: 'b', bytes })
    await rig.server.close()
    await later.raw.closed
    await rig.restart()
    const latest = await rig.client()
    assert.equal((await latest.continue(file)).progress, 1_000)
    await latest.cancel('a')
    rig.remove('a')
    assert.equal((await latest.continue(file)).progress, 0)
  })
})

spec('a file whose name is stored already', (it) => {
  const other = { name: 'dir.d/a.txt', bytes: patterned(500, 2), modifiedAt: 2 }

  it('replaces the stored one by default', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    await client.upload(file)
    assert.equal(await client.upload({ ...other, name: 'a' }), 'a')
    await rig.assertStored('a', other.bytes)
  })

  it('is reported to its sender as replaced, also if the request is repeated', async () => {
    await using rig = await ServerRig.start()
    const stored: StoredFile[] = []
    rig.server.on('stored', (file) => stored.push(file))
    const client = await rig.client()
    const ends: unknown[] = []
    for (const modifiedAt of [1, 2, 2]) {
      const { instance, progress } = await client.continue({ ...file, modifiedAt })
      if (progress === 0) await client.chunk(instance, 0, bytes)
      ends.push(await client.end(instance, sha256(bytes)))
    }
    const ack = { event: 'FileMd5Ack', storedName: 'a' }
    assert.deepEqual(ends, [
      { ...ack, replaced: 0 },
      { ...ack, replaced: 1 },
      { ...ack, replaced: 1 },
    ])
    assert.deepEqual(
      stored.map(({ replaced }) => replaced),
      [false, true],
    )
  })

  for (const step of ['publish', 'complete'] as const) {
    it(`is reported to its sender as replaced if the server ended at ${step}`, async () => {
      await using rig = await ServerRig.start()
      const client = await rig.client()
      await client.upload(file)
      const next = { ...file, modifiedAt: 2 }
      const { instance } = await client.start(next)
      await client.chunk(instance, 0, bytes)
      const held = rig.storage.hold(step)
      client.sendEnd(instance, sha256(bytes))
      await held.reached
      held.fail(new Error('the disk is gone'))
      await rig.crash()
      await rig.restart()
      const again = await rig.client()
      const granted = await again.continue(next)
      assert.equal((await again.end(granted.instance, sha256(bytes))).replaced, 1)
    })
  }

  it('gets another name if files are renamed', async () => {
    await using rig = await ServerRig.start({}, { onConflict: 'rename' })
    const client = await rig.client()
    let modifiedAt = 2
    for (const name of ['dir.d/a.txt', 'dir.d/a (1).txt', 'dir.d/a (2).txt']) {
      const next = { ...other, modifiedAt: modifiedAt++ }
      const { instance } = await client.start(next)
      await client.chunk(instance, 0, next.bytes)
      const { storedName, replaced } = await client.end(instance, sha256(next.bytes))
      assert.deepEqual([storedName, replaced], [name, 0])
      await rig.assertStored(name, other.bytes)
    }
    for (const [name, next] of [
      ['.hidden', '.hidden (1)'],
      ['plain', 'plain (1)'],
      ['d.d/x', 'd.d/x (1)'],
    ] as const) {
      await client.upload({ ...other, name })
      assert.equal(await client.upload({ ...other, name, modifiedAt: 3 }), next)
    }
  })

  it('gets a number after few checks if many names are taken, in a gap or at the end', async () => {
    await using rig = await ServerRig.start({}, { onConflict: 'rename' })
    const client = await rig.client()
    const send = (name: string, modifiedAt = 1) => client.upload({ ...other, name, modifiedAt })
    await send('a')
    for (let at = 1; at <= 300; at++) await send(`a (${at})`)
    const before = rig.storage.looks
    assert.equal(await send('a', 2), 'a (301)')
    const looks = rig.storage.looks - before
    assert.ok(looks < 25, `${looks} looks`)
    for (const at of [2, 5, 300]) rig.remove(`a (${at})`)
    const names = [await send('a', 3), await send('a', 4), await send('a', 5)]
    assert.equal(new Set([...names, 'a (301)']).size, 4)
  })

  it('gets a number after those of folders, by few attempts', async () => {
    await using rig = await ServerRig.start({}, { onConflict: 'rename' })
    const client = await rig.client()
    for (let at = 1; at <= 20; at++) await client.upload({ ...other, name: `a (${at})/x` })
    await client.upload({ ...other, name: 'a' })
    assert.equal(await client.upload({ ...other, name: 'a', modifiedAt: 7 }), 'a (32)')
  })

  it('that appeared meanwhile is refused if names are; record and partial file are removed', async () => {
    await using rig = await ServerRig.start({}, { onConflict: 'reject' })
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, bytes)
    rig.storage.takenNames.add('a')
    await client.endRefused(instance, sha256(bytes), 'file-exists')
    assert.deepEqual(await rig.records(), [])
    assert.deepEqual(rig.server.status().uploads, [])
  })
})

spec('a verified upload', (it) => {
  const fault = new Error('the disk has a fault')

  for (const step of ['publish', 'complete'] as const) {
    it(`whose end failed at ${step} is rolled forward at the next CONTINUE`, async () => {
      await using rig = await ServerRig.start()
      const client = await rig.client()
      const { instance } = await client.start(file)
      await client.chunk(instance, 0, bytes)
      rig.storage.fail(step, fault)
      await client.endRefused(instance, sha256(bytes), 'internal')
      const again = await client.continue(file)
      assert.equal(again.progress, 1_000)
      await client.end(again.instance, sha256(bytes))
      await rig.assertStored('a', bytes)
    })

    it(`whose end failed at ${step} is rolled forward at the next start, and reported to listeners then`, async () => {
      await using rig = await ServerRig.start()
      const client = await rig.client()
      const { instance } = await client.start(file)
      await client.chunk(instance, 0, bytes)
      const held = rig.storage.hold(step)
      client.sendEnd(instance, sha256(bytes))
      await held.reached
      held.fail(fault)
      await rig.crash()
      await rig.restart()
      const [told] = await once(rig.server as unknown as NodeJS.EventEmitter, 'stored')
      assert.deepEqual([told.name, told.digest], ['a', sha256(bytes).toString('hex')])
      await rig.assertStored('a', bytes)
      assert.deepEqual(await rig.records(), [])
      assert.equal((await (await rig.client()).continue(file)).progress, 1_000)
    })
  }

  it('that cannot be rolled forward does not keep the server from starting', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, bytes)
    rig.storage.fail('publish', fault)
    await client.endRefused(instance, sha256(bytes), 'internal')
    await rig.server.close()
    rig.trouble = (storage) => storage.fail('publish', fault)
    await rig.restart()
    assert.ok(rig.log.some(({ event }) => event === 'upload-not-recovered'))
    assert.equal((await (await rig.client()).continue(file)).progress, 1_000)
    await rig.assertStored('a', bytes)
  })

  it('is published by START, and START of another version then begins at zero', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, bytes)
    rig.storage.fail('publish', fault)
    await client.endRefused(instance, sha256(bytes), 'internal')
    assert.equal((await client.start({ ...file, modifiedAt: 7 })).progress, 0)
    await rig.assertStored('a', bytes)
    assert.equal((await client.start(file)).progress, 1_000)
    await turn()
    assert.deepEqual(await rig.storage.transfers.unreported(), [])
  })

  it('that was damaged before it could be rolled forward is not published, and starts again', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, bytes)
    rig.storage.fail('publish', fault)
    await client.endRefused(instance, sha256(bytes), 'internal')
    await rig.crash()
    rig.trouble = (storage) => {
      storage.damagedAt = 0
    }
    await rig.restart()
    assert.ok(rig.log.some(({ event }) => event === 'upload-damaged'))
    assert.equal(await rig.stored('a'), undefined)
    assert.deepEqual(await rig.records(), [])
    rig.storage.damagedAt = Infinity
    await (await rig.client()).upload(file)
    await rig.assertStored('a', bytes)
  })
})
