import assert from 'node:assert/strict'
import { loopbackOnly } from '../../../lib/adapters/auth/unverified.ts'
import { memory } from '../../../lib/adapters/memory/memoryStorage.ts'
import { nodeDigests } from '../../../lib/adapters/node/nodeDigests.ts'
import { RunningClient } from '../../../lib/client/runningClient.ts'
import type { Upload } from '../../../lib/client/uploads/upload.ts'
import { type Server, startServer } from '../../../lib/server/server.ts'
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

/** A client and a server on a network, which changes its rate. */
class World {
  readonly #time = new VirtualTime()
  readonly #network: SimulatedNetwork
  readonly #processes: readonly SimulatedProcess[]
  readonly #server: Promise<Server>
  readonly client: RunningClient

  constructor(mostDelayMs = 100) {
    const machine = { time: this.#time, random: new SeededRandom(1), digests: nodeDigests() }
    const good = { reliable: true, loss: 0, duplication: 0, straying: 0, strayFactor: 1 }
    this.#network = new SimulatedNetwork(machine, { ...good, mostDelaysMs: [mostDelayMs], bytesPerMs: 1 })
    const [atServer, atClient] = [new SimulatedProcess('server', machine), new SimulatedProcess('client', machine)]
    this.#processes = [atClient, atServer]
    this.#server = startServer({
      platform: atServer.platform,
      authenticator: loopbackOnly(),
      storage: memory(),
      listen: this.#network.transportOf(atServer),
    })
    const { platform } = atClient
    const to = this.#network.transportOf(atClient)
    this.client = new RunningClient({ to, user: 'alice', platform, software: 'spec' })
  }

  /** Starts to send a file. */
  async add(name: string, bytes: number): Promise<Upload> {
    await this.#server
    const upload = await this.client.upload(memorySource(name, patterned(bytes)))
    upload.done.catch(() => {})
    return upload
  }

  /** Runs this phase, or until `isOver`. Calls `each` after every step. Returns the time that it took, in ms. */
  async run(
    { rate, seconds }: Phase,
    each: () => void = () => {},
    isOver: () => boolean = () => false,
  ): Promise<number> {
    const network = this.#network
    const fromMs = this.#time.now()
    network.down = rate === 0
    if (network.down) network.cut(() => true)
    else network.faults = { ...network.faults, bytesPerMs: rate / 1_000 }
    do {
      await turn()
      each()
    } while (!isOver() && this.#time.step(fromMs + seconds * 1_000))
    return this.#time.now() - fromMs
  }

  /** The bytes that the client has sent and the server has not received. */
  get bytesUnderWay(): number {
    return Math.max(0, ...[...this.#network.links].map(({ client }) => client.bytesUnderWay))
  }

  async end(): Promise<void> {
    for (const each of this.#processes) each.kill()
    this.client.close().catch(() => {})
    void (await this.#server).close().catch(() => {})
  }
}

/** Sends a file over the links of these phases. Returns the acknowledged bytes at the end of each. */
async function acknowledged(phases: readonly Phase[], bytes = 16_000 * KB): Promise<readonly number[]> {
  const world = new World()
  const upload = await world.add('a', bytes)
  const standing: number[] = []
  for (const phase of phases) {
    await world.run(phase)
    standing.push(upload.progress.acknowledged)
  }
  await world.end()
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
        .fill(cycle(20 * KB, 60, 35))
        .flat(),
    ])
    const later = gains(standing).filter((_, at) => at === 3 || at === 5)
    for (const gain of later) assert.ok(gain > 100 * KB, `${standing}`)
  })
})

spec('the bytes of uploads on a slow link', (it) => {
  it('are about a third of a second of the link, also of several uploads at once, and follow its rate', async () => {
    const world = new World(20)
    const uploads = await Promise.all(['a', 'b', 'c', 'd'].map((name) => world.add(name, 16_000 * KB)))
    for (const rate of [200 * KB, 40 * KB, 400 * KB]) {
      // The rate is measured in this time.
      await world.run({ rate, seconds: 10 })
      const before = uploads.map(({ progress }) => progress.acknowledged)
      let most = 0
      await world.run({ rate, seconds: 30 }, () => {
        most = Math.max(most, world.bytesUnderWay)
      })
      const after = uploads.map(({ progress }) => progress.acknowledged)
      const gained = after.map((bytes, at) => bytes - (before[at] ?? 0))
      assert.ok(most <= rate * 0.5, `${most} bytes at ${rate}`)
      const sum = gained.reduce((all, bytes) => all + bytes, 0)
      // The simulated socket is empty while the bytes after the bottleneck arrive.
      assert.ok(sum >= 30 * rate * 0.85, `${gained} at ${rate}`)
      for (const bytes of gained) assert.ok(bytes >= sum / 8, `${gained} at ${rate}`)
    }
    await world.end()
  })

  it('do not delay a pause by more than about a third of a second', async () => {
    const world = new World(20)
    await world.add('a', 16_000 * KB)
    const rate = 200 * KB
    await world.run({ rate, seconds: 10 })
    let isPaused = false
    void world.client.uploads.pause().then(() => {
      isPaused = true
    })
    const ms = await world.run({ rate, seconds: 10 }, undefined, () => isPaused)
    // The request and its reply take up to 20 ms each.
    assert.ok(isPaused && ms <= 500, `${ms} ms`)
    await world.end()
  })
})
