import assert from 'node:assert/strict'
import type { Client } from '../../../lib/client/client.ts'
import type { Upload } from '../../../lib/client/uploads/upload.ts'
import { OspError } from '../../../lib/errors.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { hostileServer, nack } from '../../support/hostileServer.ts'
import { memorySource, patterned } from '../../support/memorySource.ts'
import { spec } from '../../support/spec.ts'
import { until } from '../../support/until.ts'
import { UploadRig } from '../../support/uploadRig.ts'

const size = 1_500_000

/** Begins a slow upload. */
async function slow(rig: UploadRig): Promise<{ client: Client; upload: Upload }> {
  const client = rig.client({ limitRate: 1_000_000 })
  const upload = await client.upload(memorySource('a', patterned(size)))
  await until(upload, 'progress', () => upload.progress.acknowledged > 0)
  return { client, upload }
}

spec('pausing', (it) => {
  it('resolves when the sending has ended, also if the upload is resumed at once', async () => {
    await using rig = await UploadRig.start()
    const { client, upload } = await slow(rig)
    const paused = client.uploads.pause([upload.id])
    await client.uploads.resume([upload.id])
    await paused
    assert.notEqual(upload.phase, 'done')
    assert.equal(upload.file, undefined)
    const file = await upload.done
    assert.equal(upload.file, file)
    assert.equal(file.size, size)
    assert.deepEqual(rig.stored('alice', 'a'), patterned(size))
  })

  it('a second time resolves no earlier than the first', async () => {
    await using rig = await UploadRig.start()
    const { client, upload } = await slow(rig)
    void client.uploads.pause()
    await client.uploads.pause()
    assert.equal(upload.phase, 'paused')
    assert.deepEqual(rig.server.status().uploads, [])
  })

  it('and resuming keeps the progress', async () => {
    await using rig = await UploadRig.start()
    const { client, upload } = await slow(rig)
    await client.uploads.pause()
    const { acknowledged } = upload.progress
    assert.ok(acknowledged > 0)
    let least = acknowledged
    upload.on('progress', (progress) => {
      least = Math.min(least, progress.acknowledged)
    })
    await client.uploads.resume()
    await upload.done
    assert.equal(least, acknowledged)
  })

  it('keeps the place among the uploads that wait', async () => {
    await using rig = await UploadRig.start()
    const client = rig.client({ uploadsAtOnce: 1 })
    const gates = ['a', 'b', 'c', 'd'].map((name) => ({ name, begun: deferred<void>(), gate: deferred<void>() }))
    const order: string[] = []
    const sources = gates.map(({ name, begun, gate }) => {
      const source = memorySource(name, patterned(2_000))
      source.beforeRead = () => {
        order.push(name)
        begun.resolve()
        return gate.promise
      }
      return source
    })
    const uploads = await Promise.all(sources.map((source) => client.upload(source)))
    const ids = uploads.flatMap(({ id, name }) => (name === 'b' ? [id] : []))
    await gates[0]?.begun.promise
    await client.uploads.pause(ids)
    gates[0]?.gate.resolve()
    await gates[2]?.begun.promise
    await client.uploads.resume(ids)
    for (const { gate } of gates) gate.resolve()
    await Promise.all(uploads.map(({ done }) => done))
    assert.deepEqual([...new Set(order)], ['a', 'c', 'b', 'd'])
  })

  it('during verification waits for the answer of the server', async () => {
    await using rig = await UploadRig.start()
    const client = rig.client()
    const upload = await client.upload(memorySource('a', patterned(size)))
    await until(upload, 'phase', () => upload.phase === 'verifying')
    await client.uploads.pause()
    assert.equal(upload.phase, 'done')
    await upload.done
  })
})

spec('cancelling', (it) => {
  it('twice at once is the same as once', async () => {
    await using rig = await UploadRig.start()
    const { client, upload } = await slow(rig)
    await Promise.all([client.uploads.cancel([upload.id]), client.uploads.cancel([upload.id])])
    assert.equal(upload.phase, 'cancelled')
    await client.uploads.cancel([upload.id])
    await assert.rejects(upload.done, { code: 'cancelled' })
  })

  it('is requested again after a refusal that is not final', async () => {
    await using rig = await UploadRig.start()
    const { client, upload } = await slow(rig)
    const { transfers } = rig.storage
    const expire = transfers.expire.bind(transfers)
    let refusals = 2
    transfers.expire = async (...what) => {
      if (refusals-- > 0) throw new OspError('disk-full')
      return expire(...what)
    }
    await client.uploads.cancel([upload.id])
    assert.equal(upload.phase, 'cancelled')
    assert.equal(refusals, -1)
  })

  it('fails the upload if the refusal is final', async () => {
    await using server = await hostileServer(({ message: { event }, reply }) => {
      if (event === 'CancelFileReq') reply(nack('CancelFileNack', 'unauthorized'))
      return event !== 'PostFileReq' && event !== 'CancelFileReq'
    })
    const client = server.client()
    const upload = await client.upload(memorySource('a', patterned(1_000)))
    await until(upload, 'phase', () => upload.phase === 'sending')
    await assert.rejects(client.uploads.cancel([upload.id]), { code: 'unauthorized' })
    assert.equal(upload.phase, 'failed')
    await assert.rejects(upload.done, { code: 'unauthorized' })
  })

  it('reports if a file of that name was stored before', async () => {
    await using server = await hostileServer(({ message: { event }, reply }) => {
      if (event === 'CancelFileReq') reply({ event: 'CancelFileAck', outcome: 2 })
      return event !== 'PostFileReq' && event !== 'CancelFileReq'
    })
    const client = server.client()
    const upload = await client.upload(memorySource('a', patterned(1_000)))
    await client.uploads.cancel([upload.id])
    assert.equal(upload.phase, 'cancelled')
    await assert.rejects(upload.done, { code: 'cancelled', message: /a file of this name was stored before/u })
  })

  it('many uploads without a server causes no warnings', async () => {
    await using rig = await UploadRig.start()
    await rig.server.close()
    const warnings: string[] = []
    const warned = ({ name }: Error) => void warnings.push(name)
    process.on('warning', warned)
    const client = rig.client()
    const all = await Promise.all(
      Array.from({ length: 14 }, (_, at) => client.upload(memorySource(`${at}`, patterned(9)))),
    )
    const ended = Promise.allSettled(all.map(({ id }) => client.uploads.cancel([id])))
    const online = Promise.allSettled(all.map(() => client.online()))
    await new Promise((resolve) => setTimeout(resolve, 50))
    await client.close()
    assert.ok((await ended).every(({ status }) => status === 'rejected'))
    assert.ok((await online).every(({ status }) => status === 'rejected'))
    process.off('warning', warned)
    assert.deepEqual(warnings, [])
    for (const { phase, error: why } of all) assert.deepEqual([phase, why?.code], ['failed', 'closed'])
  })
})

spec('closing the client', (it) => {
  it('fails uploads that are sent, waiting or paused with `closed`', async () => {
    await using rig = await UploadRig.start({ uploadsPerLink: 1 })
    const { client, upload } = await slow(rig)
    const waiting = await client.upload(memorySource('b', patterned(9)))
    const paused = await client.upload(memorySource('c', patterned(9)))
    await client.uploads.pause([paused.id])
    await client.close()
    for (const { phase, error: why, done: finished } of [upload, waiting, paused]) {
      assert.deepEqual([phase, why?.code], ['failed', 'closed'])
      await assert.rejects(finished, { code: 'closed' })
    }
  })
})

spec('a source that cannot be closed', (it) => {
  it('does not fail a stored file, and is logged', async () => {
    await using rig = await UploadRig.start()
    const source = memorySource('a', patterned(100))
    const logged: string[] = []
    const client = rig.client({ log: ({ event, text }) => void logged.push(`${event}: ${text}`) })
    const upload = await client.upload({
      name: 'a',
      async open(signal) {
        const dispose = async () => Promise.reject(new Error('EIO'))
        return { ...(await source.open(signal)), [Symbol.asyncDispose]: dispose }
      },
    })
    assert.equal((await upload.done).size, 100)
    assert.deepEqual(logged, ['source-not-closed: EIO'])
  })
})
