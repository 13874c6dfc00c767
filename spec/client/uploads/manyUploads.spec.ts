import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { RunningClient } from '../../../lib/client/runningClient.ts'
import { clientLimits } from '../../../lib/limits.ts'
import type { Transport } from '../../../lib/ports/socket.ts'
import { memorySource } from '../../support/memorySource.ts'
import { spec } from '../../support/spec.ts'

/** A transport that reaches no server, and reports nothing. */
const nowhere: Transport = {
  listen: () => new Promise(() => {}),
  dial: (_options, signal) =>
    new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('given up')), { once: true })),
}

const lonelyClient = () =>
  new RunningClient({ to: nowhere, user: 'alice', platform: nodePlatform(), software: 'spec', uploadsAtOnce: 1 })

/** Adds `count` uploads. */
async function addAll(client: ReturnType<typeof lonelyClient>, count: number): Promise<void> {
  const bytes = new Uint8Array(1)
  for (let n = 0; n < count; n++) (await client.upload(memorySource(`${n}`, bytes))).done.catch(() => {})
}

spec('the uploads of a client', (it) => {
  it('are limited in number, with and without stored tasks', async () => {
    await using client = lonelyClient()
    await addAll(client, clientLimits.keptTasks)
    await assert.rejects(client.upload(memorySource('one more', new Uint8Array(1))), {
      code: 'usage',
      message: `there are ${clientLimits.keptTasks} tasks, the maximum; wait until some of them have ended`,
    })
  })

  it('stay in the list after they have ended, up to a maximum number', async () => {
    const client = lonelyClient()
    await addAll(client, clientLimits.finishedUploads + 5)
    await client.close()
    const left = [...client.uploads].map(({ name }) => name)
    assert.equal(left.length, clientLimits.finishedUploads)
    assert.equal(left.at(-1), `${clientLimits.finishedUploads + 4}`)
  })
})
