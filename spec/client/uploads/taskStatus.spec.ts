import assert from 'node:assert/strict'
import { memory } from '../../../lib/adapters/memory/memoryStorage.ts'
import { FaultyStorage } from '../../support/faultyStorage.ts'
import { memorySource, patterned } from '../../support/memorySource.ts'
import { MemoryTasks } from '../../support/memoryTasks.ts'
import { spec } from '../../support/spec.ts'
import { until } from '../../support/until.ts'
import { UploadRig } from '../../support/uploadRig.ts'

const bytes = patterned(1_500_000)
const slowly = { limitRate: 1_000_000 }

spec('the reason of a task that makes no progress', (it) => {
  it('is that it is only stored, paused, or waits for others', async () => {
    await using rig = await UploadRig.start({ uploadsPerLink: 1 })
    const tasks = new MemoryTasks()
    await tasks.put({ id: 1, ref: 'z', name: 'z', algorithm: 'md5', state: 'open', size: 0, durable: 0 })
    const client = rig.client({ state: tasks.state, ...slowly })
    await client.online()
    for (const name of ['a', 'b', 'c']) await client.upload(tasks.source(memorySource(name, bytes)))
    await client.uploads.pause([4])
    const reasons = (await client.uploads.tasks()).map(({ id, state, reason }) => `${id} ${state} ${reason?.code}`)
    assert.deepEqual(reasons, ['1 waiting not-begun', '2 sending undefined', '3 waiting turn', '4 paused paused'])
  })

  it('is the error of the link, with the time of the next try', async () => {
    await using rig = await UploadRig.start()
    const client = rig.client({ ...slowly })
    await rig.server.close()
    await client.upload(memorySource('a', bytes))
    await until(client, 'status', () => client.status === 'waiting')
    const [task] = await client.uploads.tasks()
    assert.deepEqual(
      [task?.state, task?.reason?.code, task?.reason?.retryMs !== undefined],
      ['waiting', 'unreachable', true],
    )
    await client.close()
    await rig.startServer()
  })

  it('is a used quota, or a full disk of the server', async () => {
    const full = new FaultyStorage(memory({ capacityBytes: 2_000_000 }))
    full.taken = 1_000_000
    for (const [code, limits, options] of [
      ['quota-exceeded', { userBytes: 1_000 }, {}],
      ['disk-full', {}, { storage: full }],
    ] as const) {
      await using rig = await UploadRig.start({ retryAfterMs: 5_000, ...limits }, options)
      const client = rig.client()
      const upload = await client.upload(memorySource('a', bytes))
      await until(upload, 'phase', () => upload.phase === 'waiting' && upload.error !== undefined)
      const [task] = await client.uploads.tasks()
      assert.deepEqual([task?.state, task?.reason?.code], ['waiting', code])
      await client.close()
    }
  })

  it('is the refusal of the server', async () => {
    await using rig = await UploadRig.start({ fileInstances: 1, retryAfterMs: 5_000 })
    const other = rig.client({ user: 'bob', ...slowly })
    const busy = await other.upload(memorySource('a', bytes))
    await until(busy, 'phase', () => busy.progress.size > 0 && rig.server.status().uploads.length === 1)
    const client = rig.client()
    const upload = await client.upload(memorySource('b', bytes))
    await until(upload, 'phase', () => upload.error?.code === 'no-idle-instance')
    const [task] = await client.uploads.tasks()
    assert.deepEqual([task?.state, task?.reason?.code], ['waiting', 'no-idle-instance'])
    assert.ok((task?.reason?.retryMs ?? 0) > 0)
  })
})
