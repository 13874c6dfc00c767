import assert from 'node:assert/strict'
import type { HeldStep } from '../../support/faultyStorage.ts'
import { type FileClient, sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { manualPlatform, ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'

const bytes = patterned(1_000)
const file = { name: 'a', bytes }
const piece = (from: number, to: number) => bytes.subarray(from, to)
const nothing = new Uint8Array()
const fault = new Error('the disk has a fault')
const damagedAt = (offset: number) => (storage: ServerRig['storage']) => {
  storage.damagedAt = offset
}

/** Progress and durable as the server tells them now. */
async function standing(client: FileClient, instance: number): Promise<[progress: number, durable: number]> {
  await turn()
  const { progress, durable } = await client.chunk(instance, 0, nothing)
  return [progress, durable]
}

spec('a checkpoint', (it) => {
  it('is made after `checkpointBytes`', async () => {
    await using rig = await ServerRig.start({ checkpointBytes: 300 })
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 299))
    assert.deepEqual(await standing(client, instance), [299, 0])
    await client.chunk(instance, 299, piece(299, 310))
    assert.deepEqual(await standing(client, instance), [310, 310])
    const [record] = await rig.records()
    assert.deepEqual(record?.checkpoints, [{ offset: 310, digest: new Uint8Array(sha256(piece(0, 310))) }])
  })

  it('is made the given time after the first byte that is not durable', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.start({ checkpointMs: 500 }, { platform })
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 10))
    await pass(platform.clock, 400)
    await client.chunk(instance, 10, piece(10, 20))
    await pass(platform.clock, 99)
    assert.deepEqual(await standing(client, instance), [20, 0])
    await pass(platform.clock, 1)
    assert.deepEqual(await standing(client, instance), [20, 20])
  })

  it('is reported as durable only after it is flushed and recorded', async () => {
    await using rig = await ServerRig.start({ checkpointBytes: 300 })
    const client = await rig.client()
    const { instance } = await client.start(file)
    const [flush, record] = [rig.storage.hold('flush'), rig.storage.hold('checkpoint')]
    await client.chunk(instance, 0, piece(0, 300))
    await flush.reached
    assert.deepEqual(await standing(client, instance), [300, 0])
    flush.go()
    await record.reached
    assert.deepEqual(await standing(client, instance), [300, 0])
    record.go()
    assert.deepEqual(await standing(client, instance), [300, 300])
  })

  it('does not delay writing, and another one covers the bytes written meanwhile', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.start({ checkpointBytes: 300, checkpointMs: 500 }, { platform })
    const client = await rig.client()
    const { instance } = await client.start(file)
    const flush = rig.storage.hold('flush')
    await client.chunk(instance, 0, piece(0, 300))
    await flush.reached
    await client.chunk(instance, 300, piece(300, 400))
    flush.go()
    assert.deepEqual(await standing(client, instance), [400, 300])
    await pass(platform.clock, 500)
    assert.deepEqual(await standing(client, instance), [400, 400])
  })

  it('is where an upload resumes after a crash', async () => {
    await using rig = await ServerRig.start({ checkpointBytes: 300 })
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 300))
    assert.deepEqual(await standing(client, instance), [300, 300])
    await client.chunk(instance, 300, piece(300, 500))
    await rig.crash()
    await rig.restart()
    const again = await rig.client()
    const { progress, checkpoint, checkpointDigest, ...granted } = await again.continue(file)
    assert.deepEqual([progress, checkpoint], [300, 300])
    assert.deepEqual(Buffer.from(checkpointDigest), sha256(piece(0, 300)))
    await again.chunk(granted.instance, 300, piece(300, 1_000))
    await again.end(granted.instance, sha256(bytes))
    await rig.assertStored('a', bytes)
  })

  it('that fails is never reported as durable: the upload is refused, and resumes at the previous one', async () => {
    for (const step of ['flush', 'checkpoint'] as const) {
      await using rig = await ServerRig.start({ checkpointBytes: 300 })
      const client = await rig.client()
      const { instance } = await client.start(file)
      await client.chunk(instance, 0, piece(0, 300))
      assert.deepEqual(await standing(client, instance), [300, 300])
      rig.storage.fail(step, fault)
      await client.chunk(instance, 300, piece(300, 700))
      await turn()
      await client.chunkRefused(instance, 700, piece(700, 800), 'internal')
      assert.deepEqual(rig.server.status().uploads, [])
      const again = await client.continue(file)
      assert.equal(again.progress, 300)
      await client.chunk(again.instance, 300, piece(300, 1_000))
      await client.end(again.instance, sha256(bytes))
      await rig.assertStored('a', bytes)
    }
  })

  it('whose flush fails prevents a publication after a second flush', async () => {
    await using rig = await ServerRig.start({ checkpointBytes: 1_000 })
    const client = await rig.client()
    const { instance } = await client.start(file)
    const flush = rig.storage.hold('flush')
    await client.chunk(instance, 0, bytes)
    await flush.reached
    client.sendEnd(instance, sha256(bytes))
    await turn()
    flush.fail(fault)
    await client.raw.refused('FileMd5Nack', 'internal')
    assert.equal(await rig.stored('a'), undefined)
    assert.equal((await client.continue(file)).progress, 0)
  })
})

spec('a server that was restarted', (it) => {
  const limits = { checkpointBytes: 200 }

  /** Leaves checkpoints at 200, 400 and 600 behind, and starts the server anew. */
  async function restarted(rig: ServerRig, trouble: ServerRig['trouble'] = () => {}): Promise<FileClient> {
    const client = await rig.client()
    const { instance } = await client.start(file)
    for (const at of [0, 200, 400]) {
      await client.chunk(instance, at, piece(at, at + 200))
      assert.deepEqual(await standing(client, instance), [at + 200, at + 200])
    }
    await rig.crash()
    rig.trouble = trouble
    await rig.restart()
    return rig.client()
  }

  it('reads the partial file while new chunks arrive', async () => {
    await using rig = await ServerRig.start(limits)
    const client = await restarted(rig)
    const read = rig.storage.hold('read')
    const { instance, progress } = await client.continue(file)
    assert.equal(progress, 600)
    await read.reached
    assert.equal((await client.chunk(instance, 600, piece(600, 900))).progress, 900)
    assert.deepEqual(await standing(client, instance), [900, 900])
    read.go()
    await client.chunk(instance, 900, piece(900, 1_000))
    await client.end(instance, sha256(bytes))
    await rig.assertStored('a', bytes)
  })

  it('makes new chunks durable meanwhile, so that a second crash costs none of them', async () => {
    await using rig = await ServerRig.start(limits)
    const client = await restarted(rig, (storage) => storage.hold('read'))
    const { instance } = await client.continue(file)
    await client.chunk(instance, 600, piece(600, 900))
    assert.deepEqual(await standing(client, instance), [900, 900])
    await rig.crash()
    rig.trouble = () => {}
    await rig.restart()
    const again = await rig.client()
    const continued = await again.continue(file)
    assert.deepEqual([continued.progress, continued.checkpoint], [900, 600])
    await again.chunk(continued.instance, 900, piece(900, 1_000))
    await again.end(continued.instance, sha256(bytes))
    await rig.assertStored('a', bytes)
  })

  it('goes back to the last checkpoint that agrees if it finds damage', async () => {
    await using rig = await ServerRig.start(limits)
    const client = await restarted(rig, damagedAt(500))
    const read = rig.storage.hold('read')
    const { instance } = await client.continue(file)
    await client.chunk(instance, 600, piece(600, 900))
    read.go()
    assert.deepEqual(await standing(client, instance), [400, 400])
    await client.chunk(instance, 400, piece(400, 1_000))
    await client.end(instance, sha256(bytes))
    await rig.assertStored('a', bytes)
  })

  it('reads the rest again after it went back, while new chunks arrive, and goes back further if it finds damage', async () => {
    await using rig = await ServerRig.start(limits)
    const client = await restarted(rig, damagedAt(500))
    const again = secondRead(rig)
    const { instance } = await client.continue(file)
    await again.reached
    await client.chunk(instance, 400, piece(400, 700))
    assert.deepEqual(await standing(client, instance), [700, 700])
    rig.storage.damagedAt = 300
    again.go()
    assert.deepEqual(await standing(client, instance), [200, 200])
    await client.chunk(instance, 200, piece(200, 1_000))
    await client.end(instance, sha256(bytes))
    await rig.assertStored('a', bytes)
  })

  it('refuses the upload if the rest cannot be read again, and continues at the last checkpoint', async () => {
    await using rig = await ServerRig.start(limits)
    const client = await restarted(rig, damagedAt(500))
    const again = secondRead(rig)
    const { instance } = await client.continue(file)
    await again.reached
    await client.chunk(instance, 400, piece(400, 700))
    assert.deepEqual(await standing(client, instance), [700, 700])
    again.fail(fault)
    await turn()
    await client.chunkRefused(instance, 700, piece(700, 800), 'internal')
    const continued = await client.continue(file)
    assert.deepEqual([continued.progress, continued.checkpoint], [700, 400])
    await client.chunk(continued.instance, 700, piece(700, 1_000))
    await client.end(continued.instance, sha256(bytes))
    await rig.assertStored('a', bytes)
  })

  it('begins at zero if the damage is before every checkpoint', async () => {
    await using rig = await ServerRig.start(limits)
    const client = await restarted(rig, damagedAt(0))
    const { instance } = await client.continue(file)
    assert.deepEqual(await standing(client, instance), [0, 0])
    await client.chunk(instance, 0, bytes)
    await client.end(instance, sha256(bytes))
  })

  it('finds damage at the end at the latest, and returns the progress to which the upload goes back', async () => {
    await using rig = await ServerRig.start(limits)
    const client = await restarted(rig, damagedAt(300))
    const read = rig.storage.hold('read')
    const { instance } = await client.continue(file)
    await client.chunk(instance, 600, piece(600, 1_000))
    client.sendEnd(instance, sha256(bytes))
    await turn()
    read.go()
    assert.equal((await client.raw.refused('FileMd5Nack', 'wrong-offset')).progress, 200)
    assert.deepEqual(await standing(client, instance), [200, 200])
    await client.chunk(instance, 200, piece(200, 1_000))
    await client.end(instance, sha256(bytes))
    await rig.assertStored('a', bytes)
  })

  it('lets an upload be taken over while it still reads the partial file', async () => {
    await using rig = await ServerRig.start(limits)
    const client = await restarted(rig)
    const read = rig.storage.hold('read')
    await client.continue(file)
    await read.reached
    const other = await rig.client({ session: 'two' })
    const { instance } = await other.continue(file)
    read.go()
    await other.chunk(instance, 600, piece(600, 1_000))
    await other.end(instance, sha256(bytes))
    await rig.assertStored('a', bytes)
  })
})

/** Holds the second read of partial files from now on. */
function secondRead({ storage }: ServerRig): HeldStep {
  storage.hold('read').go()
  return storage.hold('read')
}
