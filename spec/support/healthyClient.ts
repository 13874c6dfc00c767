import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import { RunningClient } from '../../lib/client/runningClient.ts'
import { memorySource, patterned } from './memorySource.ts'

/** A well-behaved client that uploads one file after another, with short pauses, while other clients misbehave. */
export interface HealthyClient extends AsyncDisposable {
  /** Uploads a whole file. Fails if anything has disturbed the client so far. */
  undisturbed(): Promise<void>
}

export function healthyClient(port: number, bytes = 300_000): HealthyClient {
  const client = new RunningClient({ to: tcp({ port }), user: 'alice', platform: nodePlatform(), software: 'spec' })
  const troubles: string[] = []
  client.on('status', (status, why) => {
    if (why && status !== 'closed') troubles.push(`${status}: ${why.message}`)
  })
  let wanted = true
  let count = 0
  // The two uploading loops use different names: one can finish eight files while the other sends one.
  const upload = async (who: 'always' | 'asked') => {
    const source = memorySource(`good/${who}/${count++ % 8}`, patterned(bytes, count))
    const { done: finished } = await client.upload(source)
    await finished
  }
  const going = (async () => {
    for (; wanted; await pause(20)) await upload('always')
  })()
  going.catch((error) => troubles.push(String(error)))
  return {
    async undisturbed() {
      await Promise.race([upload('asked'), going])
      assert.deepEqual(troubles, [])
    },
    async [Symbol.asyncDispose]() {
      wanted = false
      await going.catch(() => {})
      await client.close()
    },
  }
}
