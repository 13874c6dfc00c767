import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { Client } from '../../lib/client/client.ts'
import type { Upload } from '../../lib/client/uploads/upload.ts'
import { until } from './until.ts'
import { VirtualClock } from './virtualClock.ts'

/** Options of a client on a manual clock, which moves only while the client waits. */
export function manualClockClient(retryForMs: number) {
  const clock = new VirtualClock()
  const platform = { ...nodePlatform(), clock }
  return { clock, options: { platform, retryForMs } }
}

/** Lets time pass whenever the client waits, until the upload has ended. */
export async function waitForEnd(client: Client, upload: Upload, clock: VirtualClock): Promise<void> {
  for (;;) {
    const waits = () => client.status === 'waiting' || (upload.phase === 'waiting' && upload.error !== undefined)
    const over = () => upload.phase === 'failed' || upload.phase === 'done'
    await Promise.race([
      until(client, 'status', () => waits() || over()),
      until(upload, 'phase', () => waits() || over()),
    ])
    if (over()) return
    clock.pass(1_000)
    await new Promise((resolve) => setImmediate(resolve))
  }
}
