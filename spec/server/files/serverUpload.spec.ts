import assert from 'node:assert/strict'
import { KiB } from '../../../lib/limits.ts'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const bytes = patterned(1_000)
const file = { name: 'a', bytes }
const piece = (from: number, to: number) => bytes.subarray(from, to)

spec('a chunk', (it) => {
  it('at the progress is written, and its reply has the new progress under its seq and instance', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    const seq = client.sendChunk(instance, 0, piece(0, 300))
    assert.equal((await client.raw.expect('PostFileAck')).progress, 300)
    assert.deepEqual([client.raw.last?.seq, client.raw.last?.instance, client.raw.last?.app], [seq, instance, 1])
  })

  for (const [where, offset] of [
    ['before', 100],
    ['beyond', 400],
  ] as const) {
    it(`${where} the progress is not written, and is answered with the true progress`, async () => {
      await using rig = await ServerRig.start()
      const client = await rig.client()
      const { instance } = await client.start(file)
      await client.chunk(instance, 0, piece(0, 300))
      assert.equal((await client.chunk(instance, offset, patterned(200, 9))).progress, 300)
      await client.chunk(instance, 300, piece(300, 1_000))
      await client.end(instance, sha256(bytes))
      await rig.assertStored('a', bytes)
    })
  }

  it('that is empty requests the progress', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 300))
    for (const offset of [0, 300, 1_000]) {
      assert.equal((await client.chunk(instance, offset, piece(0, 0))).progress, 300)
    }
  })

  it('past the size is too large whatever its offset, and changes nothing', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, piece(0, 300))
    for (const [offset, length] of [
      [300, 701],
      [900, 101],
      [1_001, 0],
      [1_000, 1],
    ] as const) {
      assert.equal((await client.chunkRefused(instance, offset, patterned(length), 'too-large')).progress, 300)
    }
    assert.equal((await client.chunk(instance, 300, piece(300, 1_000))).progress, 1_000)
  })

  it('over the granted length is too large whatever its offset, and changes nothing', async () => {
    await using rig = await ServerRig.start({ chunkBytes: 64 })
    const client = await rig.client()
    const { instance } = await client.start(file)
    for (const offset of [0, 500]) await client.chunkRefused(instance, offset, patterned(65), 'too-large')
    assert.equal((await client.chunk(instance, 0, piece(0, 64))).progress, 64)
  })

  it('for an instance that is idle or does not exist gets instance-lost', async () => {
    await using rig = await ServerRig.start({ fileInstances: 5 })
    const client = await rig.client()
    for (const instance of [1, 5, 6, 0xffff]) {
      assert.equal((await client.chunkRefused(instance, 0, piece(0, 10), 'instance-lost')).progress, 0)
      await client.endRefused(instance, sha256(bytes), 'instance-lost')
      client.sendPause(instance)
      await client.raw.refused('PauseFileNack', 'instance-lost')
    }
  })

  it("for another node's instance gets instance-lost, and the other upload continues", async () => {
    await using rig = await ServerRig.start()
    const [holder, other] = [await rig.client({ session: 'one' }), await rig.client({ session: 'two', user: 'bob' })]
    const { instance } = await holder.start(file)
    await other.chunkRefused(instance, 0, piece(0, 10), 'instance-lost')
    await other.endRefused(instance, sha256(bytes), 'instance-lost')
    assert.equal((await holder.chunk(instance, 0, bytes)).progress, 1_000)
  })
})

spec('chunks that wait for the disk', (it) => {
  it('are written together, and each gets its own reply', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    const write = rig.storage.hold('write')
    const send = (at: number) => client.sendChunk(instance, at, piece(at, at + 100))
    const seqs = [send(0)]
    await write.reached
    for (let at = 100; at < 1_000; at += 100) seqs.push(send(at))
    await turn()
    write.go()
    for (const seq of seqs) {
      const { progress } = await client.raw.expect('PostFileAck')
      assert.equal(client.raw.last?.seq, seq)
      assert.ok(progress >= 100)
    }
    assert.equal(rig.storage.count.get('write'), 2)
    await client.end(instance, sha256(bytes))
    await rig.assertStored('a', bytes)
  })

  it('are each checked by their offset', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    const write = rig.storage.hold('write')
    const sent = [
      [0, 100],
      [100, 200],
      [50, 100],
      [100, 200],
      [200, 1_000],
    ] as const
    for (const [from, to] of sent) client.sendChunk(instance, from, piece(from, to))
    await write.reached
    await turn()
    write.go()
    for (const _ of sent) await client.raw.expect('PostFileAck')
    await client.end(instance, sha256(bytes))
    await rig.assertStored('a', bytes)
  })

  it('are not overtaken by later requests', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    client.sendChunk(instance, 0, bytes)
    client.sendEnd(instance, sha256(bytes))
    await client.raw.expect('PostFileAck')
    await client.raw.expect('FileMd5Ack')
  })

  it('pause the reading of the link while they exceed the limit', async () => {
    const bound = 64 * KiB
    await using rig = await ServerRig.start({ chunkBytes: 16 * KiB, chunkMemoryBytes: 4 * bound })
    const client = await rig.client()
    const large = { name: 'large', bytes: patterned(1_024 * KiB) }
    const { instance, chunk } = await client.start(large)
    const write = rig.storage.hold('write')
    for (let at = 0; at < large.bytes.length; at += chunk)
      client.sendChunk(instance, at, large.bytes.subarray(at, at + chunk))
    await write.reached
    await turn()
    client.raw.send('PingReq', {})
    await turn()
    assert.deepEqual(client.raw.unread, [])
    write.go()
    const came: string[] = []
    while (came.length <= large.bytes.length / chunk) {
      came.push((await client.raw.next()).event)
    }
    assert.equal(came.filter((event) => event === 'PingAck').length, 1)
    const writes = rig.storage.count.get('write') ?? 0
    assert.ok(writes > 4, `${writes} writes took it all, so that more than the bound was in memory`)
    await client.end(instance, sha256(large.bytes))
    await rig.assertStored('large', large.bytes)
  })

  it('without content count against the limit too', async () => {
    await using rig = await ServerRig.start({ chunkMemoryBytes: 64 * KiB })
    const client = await rig.client()
    const { instance } = await client.start(file)
    const write = rig.storage.hold('write')
    client.sendChunk(instance, 0, piece(0, 10))
    await write.reached
    for (let count = 0; count < 100; count++) client.sendChunk(instance, 10, piece(0, 0))
    client.raw.send('PingReq', {})
    await turn()
    assert.deepEqual(client.raw.unread, [])
    write.go()
    const came: string[] = []
    while (came.length < 102) came.push((await client.raw.next()).event)
    assert.equal(came.filter((event) => event === 'PostFileAck').length, 101)
  })
})
