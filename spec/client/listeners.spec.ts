import assert from 'node:assert/strict'
import type { LogEntry } from '../../lib/ports/log.ts'
import { memorySource, patterned } from '../support/memorySource.ts'
import { spec } from '../support/spec.ts'
import { until } from '../support/until.ts'
import { UploadRig } from '../support/uploadRig.ts'

const bug = () => {
  throw new Error('a listener has a bug')
}

/** A log, and the number of failed listeners of an event in it. */
function listenerLog() {
  const entries: LogEntry[] = []
  const failed = (event: string) => entries.filter((e) => e.event === 'listener-failed' && e.of === event).length
  return { log: (entry: LogEntry) => void entries.push(entry), failed }
}

spec('a listener that throws', (it) => {
  for (const event of ['phase', 'progress'] as const) {
    it(`at every ${event} of an upload does not affect it`, async () => {
      const { log, failed } = listenerLog()
      await using rig = await UploadRig.start()
      const upload = await rig.client({ log }).upload(memorySource('a', patterned(3_000_000)))
      upload.on(event, bug)
      assert.equal((await upload.done).size, 3_000_000)
      assert.equal(upload.phase, 'done')
      assert.ok(failed(event) > 1)
    })
  }

  it('at changes of the presence list does not affect the list', async () => {
    const { log, failed } = listenerLog()
    await using rig = await UploadRig.start()
    const client = rig.client({ log })
    client.uploads.on('change', bug)
    await (await client.upload(memorySource('a', patterned(1_000)))).done
    assert.ok(failed('change') > 1)
  })

  it('at each status of a client does not end its link', async () => {
    const { log, failed } = listenerLog()
    await using rig = await UploadRig.start()
    const client = rig.client({ log })
    client.on('status', bug)
    await client.online()
    await (await client.upload(memorySource('a', patterned(1_000)))).done
    assert.equal(client.status, 'online')
    assert.equal(rig.transport.dialled, 1)
    assert.ok(failed('status') > 0)
  })
})

spec('a listener for the end of an upload', (it) => {
  it('is called after the promise has settled', async () => {
    await using rig = await UploadRig.start()
    const upload = await rig.client().upload(memorySource('a', patterned(1_000)))
    let settled = false
    upload.done.then(() => {
      settled = true
    })
    const isDone = until(upload, 'phase', () => upload.phase === 'done')
    await isDone
    await Promise.resolve()
    assert.ok(settled)
  })
})
