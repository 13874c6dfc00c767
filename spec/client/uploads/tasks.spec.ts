import assert from 'node:assert/strict'
import { OspError } from '../../../lib/errors.ts'
import { clientLimits } from '../../../lib/limits.ts'
import { events } from '../../../lib/wire/protocol.ts'
import { hostileServer } from '../../support/hostileServer.ts'
import { memorySource, patterned } from '../../support/memorySource.ts'
import { MemoryTasks } from '../../support/memoryTasks.ts'
import { spec } from '../../support/spec.ts'
import { until } from '../../support/until.ts'
import { UploadRig } from '../../support/uploadRig.ts'

const cancelRequest = events.CancelFileReq.number
const bytes = patterned(1_500_000)
const slowly = { limitRate: 1_000_000 }

spec('the list of tasks', (it) => {
  it('has stored a task before `add` resolves', async () => {
    await using rig = await UploadRig.start()
    const tasks = new MemoryTasks()
    let letGo: () => void = () => {}
    tasks.before = () =>
      new Promise((resolve) => {
        letGo = resolve
      })
    const client = rig.client({ state: tasks.state })
    let isAccepted = false
    const adding = client.upload(tasks.source(memorySource('a', bytes))).then((upload) => {
      isAccepted = true
      return upload
    })
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual([isAccepted, [...client.uploads].length, rig.transport.dialled], [false, 0, 0])
    tasks.before = () => {}
    letGo()
    await (await adding).done
    assert.deepEqual(rig.stored('alice', 'a'), bytes)
  })

  it('refuses a task that cannot be stored', async () => {
    await using rig = await UploadRig.start()
    const tasks = new MemoryTasks()
    tasks.before = () => Promise.reject(new OspError('disk-full'))
    const client = rig.client({ state: tasks.state })
    const source = tasks.source(memorySource('a', bytes))
    await assert.rejects(client.upload(source), { code: 'disk-full' })
    assert.deepEqual([...client.uploads], [])
    tasks.before = () => {}
    await (await client.upload(source)).done
  })

  it('is restored by the next program, from the progress of the server', async () => {
    await using rig = await UploadRig.start()
    const tasks = new MemoryTasks()
    const first = rig.client({ state: tasks.state, ...slowly })
    const upload = await first.upload(tasks.source(memorySource('a', bytes)))
    await first.upload(tasks.source(memorySource('b', bytes)), { digest: 'md5' })
    await until(upload, 'progress', () => upload.progress.durable > 0)
    await first.close()
    assert.deepEqual(tasks.list, ['1 a open', '2 b open'])
    const next = rig.client({ state: tasks.state })
    assert.deepEqual([...next.uploads], [])
    const taken = await next.uploads.restore()
    assert.deepEqual(
      taken.map(({ id, name }) => `${id} ${name}`),
      ['1 a', '2 b'],
    )
    const [a, b] = await Promise.all(taken.map(({ done: finished }) => finished))
    assert.deepEqual([a?.algorithm, b?.algorithm], ['sha256', 'md5'])
    assert.ok((taken[0]?.transferred ?? 0) < bytes.length)
    await next.close()
    assert.deepEqual(tasks.list, ['1 a done', '2 b done'])
  })

  it('has one task for an unfinished source, whichever program adds it', async () => {
    await using rig = await UploadRig.start()
    const tasks = new MemoryTasks()
    const first = rig.client({ state: tasks.state, ...slowly })
    const source = tasks.source(memorySource('a', bytes))
    const upload = await first.upload(source)
    assert.equal(await first.upload(source), upload)
    await assert.rejects(first.upload({ ...source, ref: 'another' }), { code: 'usage' })
    await first.uploads.pause()
    await first.close()
    const next = rig.client({ state: tasks.state })
    await assert.rejects(next.upload({ ...source, ref: 'another' }), { code: 'usage' })
    const again = await next.upload(source)
    assert.equal(again.id, upload.id)
    await again.done
  })

  it('keeps its metadata', async () => {
    await using rig = await UploadRig.start()
    const tasks = new MemoryTasks()
    const first = rig.client({ state: tasks.state, ...slowly })
    const metadata = { contentType: 'text/plain', käse: '' }
    const source = tasks.source(memorySource('a', bytes))
    await assert.rejects(first.upload(source, { metadata: { '': 'x' } }), { code: 'malformed' })
    await assert.rejects(first.upload(source, { metadata: { x: 1 } as never }), { code: 'usage' })
    await first.upload(source, { metadata })
    await first.uploads.pause()
    await first.close()
    const next = rig.client({ state: tasks.state })
    await next.uploads.resume([1])
    await [...next.uploads][0]?.done
    assert.deepEqual((await next.files.stat('a')).metadata, metadata)
  })

  it('is not sent with metadata to a server that does not store it', async () => {
    await using server = await hostileServer(() => true)
    const upload = await server.client().upload(memorySource('a', bytes), { metadata: { key: 'value' } })
    await assert.rejects(upload.done, { code: 'unsupported-version', message: /does not store files with metadata/u })
    assert.equal(server.count('ContinuePostFileReq'), 0)
  })

  it('keeps tasks paused until they are resumed', async () => {
    await using rig = await UploadRig.start()
    const tasks = new MemoryTasks()
    const first = rig.client({ state: tasks.state, ...slowly })
    const upload = await first.upload(tasks.source(memorySource('a', bytes)))
    await until(upload, 'progress', () => upload.progress.acknowledged > 0)
    await first.uploads.pause()
    assert.deepEqual(tasks.list, ['1 a paused'])
    assert.ok((tasks.kept.get(1)?.durable ?? 0) > 0)
    await first.close()
    const next = rig.client({ state: tasks.state })
    const [paused] = await next.uploads.restore()
    assert.equal(paused?.phase, 'paused')
    assert.equal(rig.server.status().uploads.length, 0)
    await next.uploads.resume([1])
    await paused?.done
    assert.deepEqual(rig.stored('alice', 'a'), bytes)
  })

  it('resumes tasks by id even if they were not restored or have failed', async () => {
    await using rig = await UploadRig.start()
    const tasks = new MemoryTasks()
    const first = rig.client({ state: tasks.state })
    const missing = { ...memorySource('a', bytes), open: () => Promise.reject(new OspError('source-missing')) }
    const upload = await first.upload(tasks.source(missing))
    await assert.rejects(upload.done, { code: 'source-missing' })
    await first.close()
    assert.deepEqual(tasks.list, ['1 a failed'])
    tasks.source(memorySource('a', bytes))
    const next = rig.client({ state: tasks.state })
    assert.deepEqual(await next.uploads.restore(), [])
    await next.uploads.resume()
    assert.deepEqual([...next.uploads], [])
    await next.uploads.resume([1])
    const [again] = [...next.uploads]
    await again?.done
    await next.close()
    assert.deepEqual(tasks.list, ['1 a done'])
  })

  it('has one unfinished task per name: a failed task of that name neither continues nor removes the bytes on the server', async () => {
    await using rig = await UploadRig.start()
    const tasks = new MemoryTasks()
    const client = rig.client({ state: tasks.state, ...slowly })
    const missing = { ...memorySource('a', bytes), open: () => Promise.reject(new OspError('source-missing')) }
    await assert.rejects((await client.upload(tasks.source(missing))).done, { code: 'source-missing' })
    const upload = await client.upload({ ...memorySource('a', bytes), ref: 'another' })
    await until(upload, 'progress', () => upload.progress.acknowledged > 0)
    await assert.rejects(client.uploads.resume([1]), { code: 'usage' })
    await client.uploads.cancel([1])
    assert.deepEqual(tasks.list, ['2 a open'])
    await upload.done
    assert.deepEqual(rig.stored('alice', 'a'), bytes)
  })

  it('completes interrupted cancellations, and then removes the tasks', async () => {
    await using rig = await UploadRig.start()
    const tasks = new MemoryTasks()
    const first = rig.client({ state: tasks.state, ...slowly })
    const upload = await first.upload(tasks.source(memorySource('a', bytes)))
    await until(upload, 'progress', () => upload.progress.durable > 0)
    await first.uploads.pause()
    rig.transport.inspect = ({ event }) => event !== cancelRequest
    const cancelling = first.uploads.cancel([1])
    while (tasks.kept.get(1)?.state !== 'cancelling') await new Promise((resolve) => setImmediate(resolve))
    await first.close()
    await assert.rejects(cancelling, { code: 'closed' })
    assert.deepEqual(tasks.list, ['1 a cancelling'])
    rig.transport.inspect = () => true
    const next = rig.client({ state: tasks.state })
    const [gone] = await next.uploads.restore()
    await assert.rejects(gone?.done ?? assert.fail(), { code: 'cancelled' })
    await next.close()
    assert.deepEqual(tasks.list, [])
    assert.equal(await rig.records(), 0)
  })

  it('cancels tasks by id even if they are only stored', async () => {
    await using rig = await UploadRig.start()
    const tasks = new MemoryTasks()
    const first = rig.client({ state: tasks.state, ...slowly })
    const upload = await first.upload(tasks.source(memorySource('a', bytes)))
    await until(upload, 'progress', () => upload.progress.durable > 0)
    await first.close()
    const next = rig.client({ state: tasks.state })
    await next.uploads.cancel([1])
    await assert.rejects(next.uploads.cancel([7]), { code: 'usage' })
    await next.close()
    assert.deepEqual([tasks.list, await rig.records()], [[], 0])
  })

  it('removes tasks that ended a day ago', async () => {
    await using rig = await UploadRig.start()
    const tasks = new MemoryTasks()
    const common = { ref: 'a', name: 'a', algorithm: 'md5', size: 1, durable: 1 } as const
    const now = Date.now()
    const ended = [now - clientLimits.endedTaskMs - 60_000, now - 60_000]
    for (const [at, endedAt] of ended.entries()) await tasks.put({ ...common, id: at + 1, state: 'done', endedAt })
    const client = rig.client({ state: tasks.state })
    assert.deepEqual(
      (await client.uploads.tasks()).map(({ id, state }) => `${id} ${state}`),
      ['2 done'],
    )
    await client.close()
    assert.deepEqual(tasks.list, ['2 a done'])
  })
})
