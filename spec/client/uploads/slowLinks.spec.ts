import assert from 'node:assert/strict'
import { loopbackOnly } from '../../../lib/adapters/auth/unverified.ts'
import { memory } from '../../../lib/adapters/memory/memoryStorage.ts'
import { nodeDigests } from '../../../lib/adapters/node/nodeDigests.ts'
import { RunningClient } from '../../../lib/client/runningClient.ts'
import type { Upload } from '../../../lib/client/uploads/upload.ts'
import { startServer } from '../../../lib/server/server.ts'
import { SimulatedNetwork } from '../../simulation/network.ts'
import { SimulatedProcess } from '../../simulation/process.ts'
import { VirtualTime } from '../../simulation/time.ts'
import { memorySource, patterned } from '../../support/memorySource.ts'
import { SeededRandom } from '../../support/random.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const KB = 1_000

interface Phase {
  /** Bytes a second in each direction; with 0 nothing arrives, and all links break. */
  readonly rate: number
  readonly seconds: number
}

/** Sends a file over the links of these phases. Returns the acknowledged bytes at the end of each. */
async function acknowledged(phases: readonly Phase[], bytes = 16_000 * KB): Promise<readonly number[]> {
  const time = new VirtualTime()
  const machine = { time, random: new SeededRandom(1), digests: nodeDigests() }
  const good = { reliable: true, loss: 0, duplication: 0, straying: 0, strayFactor: 1 }
  const network = new SimulatedNetwork(machine, { ...good, mostDelaysMs: [100], bytesPerMs: 1 })
  const [atServer, atClient] = [new SimulatedProcess('server', machine), new SimulatedProcess('client', machine)]
  const server = await startServer({
    platform: atServer.platform,
    authenticator: loopbackOnly(),
    storage: memory(),
    listen: network.transportOf(atServer),
  })
  const { platform } = atClient
  const client = new RunningClient({ to: network.transportOf(atClient), user: 'alice', platform, software: 'spec' })
  let upload: Upload | undefined
  client.uploads.add(memorySource('a', patterned(bytes))).then((added) => {
    upload = added
    added.done.catch(() => {})
  })
  const standing: number[] = []
  for (const { rate, seconds } of phases) {
    const endMs = time.now() + seconds * 1_000
    network.down = rate === 0
    if (network.down) network.cut(() => true)
    else network.faults = { ...network.faults, bytesPerMs: rate / 1_000 }
    do await turn()
    while (time.step(endMs))
    standing.push(upload?.progress.acknowledged ?? 0)
  }
  atClient.kill()
  atServer.kill()
  client.close().catch(() => {})
  server.close().catch(() => {})
  return standing
}

const gains = (standing: readonly number[]) => standing.map((now, at) => now - (standing[at - 1] ?? 0))

/** A link that is up for `up` seconds and then down for `down`. */
const cycle = (rate: number, up: number, down: number): readonly Phase[] => [
  { rate, seconds: up },
  { rate: 0, seconds: down },
]

spec('an upload over links that break during a long chunk', (it) => {
  it('progresses on each link by most of the bytes that it carries', async () => {
    const standing = await acknowledged(
      Array(4)
        .fill(cycle(5 * KB, 45, 35))
        .flat(),
    )
    const up = gains(standing).filter((_, at) => at % 2 === 0)
    // A link carries up to 225 KB, less what passes until the client tries again.
    for (const gain of up) assert.ok(gain > 100 * KB, `${up}`)
    assert.ok((standing.at(-1) ?? 0) > 600 * KB, `${standing}`)
  })

  it('eventually progresses if no link carries a first chunk: each link starts with half the length', async () => {
    const standing = await acknowledged(
      Array(6)
        .fill(cycle(300, 60, 5))
        .flat(),
    )
    assert.equal(standing[0], 0)
    assert.ok((standing.at(-1) ?? 0) > 16 * KB, `${standing}`)
  })

  it('progresses after a fast link has become slow', async () => {
    const fast = { rate: 4_000 * KB, seconds: 1.5 }
    const standing = await acknowledged([
      fast,
      ...Array(3)
        .fill(cycle(20 * KB, 20, 35))
        .flat(),
    ])
    const later = gains(standing).filter((_, at) => at === 3 || at === 5)
    for (const gain of later) assert.ok(gain > 100 * KB, `${standing}`)
  })
})
