import assert from 'node:assert/strict'
import { fileInstance } from '../../../lib/core/instance.ts'
import { type FileClient, sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const bytes = patterned(1_000)
const file = { name: '文件.bin', bytes }
const piece = (from: number, to: number) => bytes.subarray(from, to)

/** Takes up an upload at `progress` and brings it to its end. */
async function finish(rig: ServerRig, client: FileClient, progress: number): Promise<void> {
  const granted = await client.continue(file)
  assert.equal(granted.progress, progress)
  if (progress < 1_000) await client.chunk(granted.instance, progress, piece(progress, 1_000))
  await client.end(granted.instance, sha256(bytes))
  await rig.assertStored(file.name, bytes)
}

/** Whether the server's only instance receives a file. */
const receives = (rig: ServerRig) => rig.server.status().uploads.length === 1

spec('the instance table', (it) => {
  const { table } = fileInstance

  it("has every arrow of the seed's charts", () => {
    assert.equal(table.IDLE.StartPostFileReq, 'RECEIVE_FILE')
    assert.equal(table.IDLE.ContinuePostFileReq, 'RECEIVE_FILE')
    assert.equal(table.RECEIVE_FILE.FileMd5Req, 'IDLE')
    assert.equal(table.RECEIVE_FILE.PauseFileReq, 'IDLE')
    assert.equal(table.RECEIVE_FILE.linkLost, 'IDLE')
  })
})

spec('多文件上传 (several files are uploaded)', (it) => {
  it('without an idle instance START gets its NACK', async () => {
    await using rig = await ServerRig.start({ fileInstances: 1 })
    await (await rig.client({ session: 'one' })).start({ name: 'other', bytes })
    await (await rig.client({ session: 'two' })).startRefused(file, 'no-idle-instance')
  })

  it('START gets an instance, chunks move its progress, and the right digest makes it idle', async () => {
    await using rig = await ServerRig.start({ fileInstances: 1 })
    const client = await rig.client()
    const { instance } = await client.start(file)
    assert.ok(receives(rig))
    assert.equal((await client.chunk(instance, 0, piece(0, 400))).progress, 400)
    assert.equal((await client.chunk(instance, 400, piece(400, 1_000))).progress, 1_000)
    assert.equal((await client.end(instance, sha256(bytes))).storedName, file.name)
    assert.ok(!receives(rig))
    assert.deepEqual(await rig.records(), [])
    await rig.assertStored(file.name, bytes)
  })

  it('a chunk whose progress does not match moves nothing and is acknowledged with the true one', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    assert.equal((await client.chunk(instance, 400, piece(400, 1_000))).progress, 0)
  })

  it('the wrong digest clears the progress and makes the instance idle', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, patterned(1_000, 2))
    await client.endRefused(instance, sha256(bytes), 'digest-mismatch')
    assert.ok(!receives(rig))
    await finish(rig, client, 0)
  })

  it('several files are received at once, each by its own instance', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const instances = new Map<string, number>()
    for (const name of ['a', 'b', 'c', 'd', 'e']) instances.set(name, (await client.start({ name, bytes })).instance)
    assert.equal(new Set(instances.values()).size, 5)
    for (const [at, to] of [
      [0, 500],
      [500, 1_000],
    ] as const) {
      for (const instance of instances.values()) await client.chunk(instance, at, piece(at, to))
    }
    for (const instance of instances.values()) await client.end(instance, sha256(bytes))
    for (const name of instances.keys()) await rig.assertStored(name, bytes)
  })
})

spec('暂停发送 (sending is paused)', (it) => {
  it('PAUSE closes the file, is acknowledged, and makes the instance idle', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 400))
    assert.equal((await client.pause(instance)).progress, 400)
    assert.ok(!receives(rig))
  })
})

spec('继续发送 (sending is continued)', (it) => {
  it('without an idle instance CONTINUE gets its NACK', async () => {
    await using rig = await ServerRig.start({ fileInstances: 1 })
    await (await rig.client({ session: 'one' })).start({ name: 'other', bytes })
    await (await rig.client({ session: 'two' })).continueRefused(file, 'no-idle-instance')
  })

  it('with a record the progress is restored', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 400))
    await client.pause(instance)
    await finish(rig, client, 400)
  })

  it('without a record a new upload begins', async () => {
    await using rig = await ServerRig.start()
    await finish(rig, await rig.client(), 0)
  })
})

for (const where of ['memory', 'disk'] as const) {
  const start = () =>
    where === 'disk' ? ServerRig.onDisk({ checkpointBytes: 100 }) : ServerRig.start({ checkpointBytes: 100 })

  /** Sends 400 bytes of the file and waits until they are durable. */
  async function begin(rig: ServerRig, session = 'one'): Promise<[client: FileClient, instance: number]> {
    const client = await rig.client({ session })
    const { instance } = await client.start(file)
    let { durable } = await client.chunk(instance, 0, piece(0, 400))
    while (durable < 400) ({ durable } = await client.chunk(instance, 0, new Uint8Array()))
    return [client, instance]
  }

  /** The server has noticed that a link is gone. */
  async function noticed(rig: ServerRig): Promise<void> {
    while (rig.server.status().links > 0) await turn()
  }

  spec(`断点续传 (an upload is resumed) on ${where}`, (it) => {
    it('after a lost link, which stops the instance at once', async () => {
      await using rig = await start()
      const [client] = await begin(rig)
      await client.vanish()
      await noticed(rig)
      assert.ok(!receives(rig))
      await finish(rig, await rig.client(), 400)
    })

    it('after a client crashed and the server noticed', async () => {
      await using rig = await start()
      const [client] = await begin(rig)
      await client.vanish()
      await noticed(rig)
      await finish(rig, await rig.client({ session: 'new' }), 400)
    })

    it('after a client crashed and the server did not notice: the task continues in the same instance', async () => {
      await using rig = await start()
      const [, instance] = await begin(rig)
      const client = await rig.client({ session: 'new' })
      assert.equal((await client.continue(file)).instance, instance)
      await finish(rig, client, 400)
    })

    it('on a new link of the same session while the server takes the old one for alive', async () => {
      await using rig = await start()
      const [former] = await begin(rig)
      const client = await rig.client({ session: 'one' })
      await former.raw.dismissed('link-replaced')
      await finish(rig, client, 400)
    })

    it('after a client crashed and the task had ended', async () => {
      await using rig = await start()
      const [former, instance] = await begin(rig)
      await former.chunk(instance, 400, piece(400, 1_000))
      await former.end(instance, sha256(bytes))
      await finish(rig, await rig.client({ session: 'new' }), 1_000)
    })

    it('after the server crashed and the client noticed', async () => {
      await using rig = await start()
      await begin(rig)
      await rig.crash()
      await rig.restart()
      await finish(rig, await rig.client(), 400)
    })

    it('after the server crashed and lost the record and the bytes: a new upload begins', async () => {
      await using rig = await start()
      await begin(rig)
      await rig.storage.transfers.remove('alice', file.name)
      await rig.storage.files.remove('alice', file.name)
      await rig.crash()
      await rig.restart()
      await finish(rig, await rig.client(), 0)
    })

    it('after the server crashed without an idle instance: CONTINUE gets its NACK', async () => {
      await using rig = await start()
      await begin(rig)
      await rig.crash()
      await rig.restart({}, { fileInstances: 1 })
      await (await rig.client({ session: 'two' })).start({ name: 'other', bytes })
      await (await rig.client()).continueRefused(file, 'no-idle-instance')
    })

    it('after the server crashed and the client did not notice: its chunk gets instance-lost, then it continues', async () => {
      await using rig = await start()
      const [, instance] = await begin(rig)
      await rig.crash()
      await rig.restart()
      const client = await rig.client()
      await client.chunkRefused(instance, 400, piece(400, 500), 'instance-lost')
      await finish(rig, client, 400)
    })

    it("after the server crashed and gave the instance to another: the chunk gets instance-lost and the other's file is untouched", async () => {
      await using rig = await start()
      const [, instance] = await begin(rig)
      await rig.crash()
      await rig.restart()
      const other = await rig.client({ session: 'two' })
      const granted = await other.start({ name: 'other', bytes })
      assert.equal(granted.instance, instance)
      const client = await rig.client()
      await client.chunkRefused(instance, 0, patterned(100, 9), 'instance-lost')
      assert.equal((await other.chunk(instance, 0, bytes)).progress, 1_000)
      await other.end(instance, sha256(bytes))
      await rig.assertStored('other', bytes)
      await finish(rig, client, 400)
    })
  })
}
