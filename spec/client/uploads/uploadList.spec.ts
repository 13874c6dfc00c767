import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { MiB } from '../../../lib/limits.ts'
import { memorySource, patterned } from '../../support/memorySource.ts'
import { spec } from '../../support/spec.ts'
import { until } from '../../support/until.ts'
import { UploadRig } from '../../support/uploadRig.ts'

const codeOf = (code: string) => (error: unknown) => (error as { code?: string }).code === code

spec('uploads', (it) => {
  for (const size of [0, 1, MiB - 1, MiB, MiB + 1, 3 * MiB + 7]) {
    it(`arrive complete: ${size} bytes`, async () => {
      await using rig = await UploadRig.start()
      const bytes = patterned(size)
      const upload = await rig.client().upload(memorySource('a.bin', bytes))
      const file = await upload.done
      assert.deepEqual(rig.stored('alice', 'a.bin'), bytes)
      assert.equal(file.digest, createHash('sha256').update(bytes).digest('hex'))
      assert.deepEqual(upload.progress, { acknowledged: size, durable: size, size })
      assert.equal(upload.phase, 'done')
      assert.equal(rig.transport.contentBytes, size)
    })
  }

  for (const digest of ['md5', 'sha256', 'xxh128'] as const) {
    it(`are verified by ${digest}`, async () => {
      await using rig = await UploadRig.start()
      const upload = await rig.client().upload(memorySource('a', patterned(100_000)), { digest })
      assert.equal((await upload.done).algorithm, digest)
    })
  }

  it('keep names in Chinese and with emoji, normalized to NFC', async () => {
    await using rig = await UploadRig.start()
    const client = rig.client()
    for (const name of ['文件/季度报告.txt', 'smile 😀.txt', 'cafe\u0301.txt']) {
      const upload = await client.upload(memorySource(name, patterned(10)))
      await upload.done
      assert.ok(rig.stored('alice', name.normalize('NFC')))
    }
  })

  it('of two users may have the same name', async () => {
    await using rig = await UploadRig.start()
    const ours = await rig.client({ user: 'alice' }).upload(memorySource('same', patterned(1000, 1)))
    const theirs = await rig.client({ user: 'bob' }).upload(memorySource('same', patterned(1000, 2)))
    await Promise.all([ours.done, theirs.done])
    assert.deepEqual(rig.stored('alice', 'same'), patterned(1000, 1))
    assert.deepEqual(rig.stored('bob', 'same'), patterned(1000, 2))
  })

  it('are sent five at once; the others wait in order, and more can be added meanwhile', async () => {
    await using rig = await UploadRig.start()
    const client = rig.client()
    let open: () => void = () => {}
    const gate = new Promise<void>((resolve) => {
      open = resolve
    })
    const sources = Array.from({ length: 12 }, (_, at) => memorySource(`${at}`, patterned(2000, at + 1)))
    for (const source of sources) source.beforeRead = () => gate
    const all = await Promise.all(sources.slice(0, 8).map((source) => client.upload(source)))
    await until(client.uploads, 'change', () => all.filter(({ phase }) => phase === 'sending').length === 5)
    assert.deepEqual(
      all.map(({ phase }) => phase),
      [...Array(5).fill('sending'), ...Array(3).fill('waiting')],
    )
    assert.equal(sources[5]?.opened, 0)
    for (const source of sources.slice(8)) all.push(await client.upload(source))
    open()
    await Promise.all(all.map(({ done: finished }) => finished))
    assert.equal([...client.uploads].length, 12)
    for (const source of sources) assert.equal(source.notClosed, 0)
  })

  it('are sent at once up to the limit of the server', async () => {
    await using rig = await UploadRig.start({ uploadsPerLink: 2 })
    const client = rig.client()
    const all = await Promise.all(
      [1, 2, 3, 4, 5, 6].map((n) => client.upload(memorySource(`${n}`, patterned(5000, n)))),
    )
    await Promise.all(all.map(({ done: finished }) => finished))
  })

  it('with a forbidden name are refused before anything is sent', async () => {
    await using rig = await UploadRig.start()
    await assert.rejects(rig.client().upload(memorySource('../up', patterned(1))), codeOf('bad-name'))
    assert.equal(rig.transport.dialled, 0)
  })

  it('with the name of an unfinished upload are refused', async () => {
    await using rig = await UploadRig.start()
    const client = rig.client()
    const first = await client.upload(memorySource('a', patterned(10)))
    await assert.rejects(client.upload(memorySource('a', patterned(10))), codeOf('usage'))
    await first.done
    await (await client.upload(memorySource('a', patterned(20)))).done
    assert.deepEqual(rig.stored('alice', 'a'), patterned(20))
  })

  it('whose source cannot be opened fail alone, with its error', async () => {
    await using rig = await UploadRig.start()
    const client = rig.client()
    const bad = { name: 'bad', open: async () => Promise.reject(new Error('no such thing')) }
    const failing = await client.upload(bad)
    const good = await client.upload(memorySource('good', patterned(10)))
    await assert.rejects(failing.done, /no such thing/)
    assert.equal(failing.phase, 'failed')
    await good.done
  })
})

spec('pausing, resuming and cancelling', (it) => {
  const stalled = async (rig: UploadRig) => {
    const client = rig.client()
    const source = memorySource('big', patterned(4 * MiB))
    let reached: () => void = () => {}
    let open: () => void = () => {}
    const half = new Promise<void>((resolve) => {
      reached = resolve
    })
    const gate = new Promise<void>((resolve) => {
      open = resolve
    })
    source.beforeRead = async (offset) => {
      if (offset < 2 * MiB) return
      reached()
      await gate
    }
    const upload = await client.upload(source)
    await half
    return { client, upload, source, open }
  }

  it('a paused upload frees its instance and later continues from its progress', async () => {
    await using rig = await UploadRig.start()
    const { client, upload, open } = await stalled(rig)
    const pausing = client.uploads.pause([upload.id])
    assert.equal(upload.phase, 'paused')
    open()
    await pausing
    assert.deepEqual(rig.server.status().uploads, [])
    assert.equal(upload.progress.acknowledged, upload.progress.durable)
    assert.ok(upload.progress.acknowledged > 0)
    await client.uploads.resume()
    await upload.done
    assert.deepEqual(rig.stored('alice', 'big'), patterned(4 * MiB))
    assert.ok(rig.transport.contentBytes < 5 * MiB)
  })

  it('a cancelled upload leaves nothing on the server', async () => {
    await using rig = await UploadRig.start()
    const { client, upload, open } = await stalled(rig)
    const cancelling = client.uploads.cancel([upload.id])
    assert.equal(upload.phase, 'cancelling')
    open()
    await cancelling
    await assert.rejects(upload.done, codeOf('cancelled'))
    for await (const record of rig.storage.transfers.records()) assert.fail(`a record is left: ${record.name}`)
    assert.equal(rig.stored('alice', 'big'), undefined)
  })

  it('a paused upload that is cancelled leaves nothing on the server', async () => {
    await using rig = await UploadRig.start()
    const { client, upload, open } = await stalled(rig)
    open()
    await client.uploads.pause()
    if (upload.phase !== 'paused') return
    await client.uploads.cancel([upload.id])
    assert.equal(upload.phase, 'cancelled')
    for await (const record of rig.storage.transfers.records()) assert.fail(`a record is left: ${record.name}`)
  })

  it('a waiting upload can be paused, resumed and cancelled', async () => {
    await using rig = await UploadRig.start({ uploadsPerLink: 1 })
    const { client, upload, open } = await stalled(rig)
    const second = await client.upload(memorySource('second', patterned(10)))
    await client.uploads.pause([second.id])
    assert.equal(second.phase, 'paused')
    open()
    await upload.done
    assert.equal(second.phase, 'paused')
    await client.uploads.resume([second.id])
    await second.done
  })
})
