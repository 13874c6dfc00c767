import { type Limits, limitsWith } from '../limits.ts'
import type { Digests } from '../ports/platform.ts'
import { Chaos } from './chaos.ts'
import { ClientActor } from './clientActor.ts'
import { SimulatedDisk } from './disk.ts'
import { drawFaults, drawLimits } from './drawn.ts'
import { drawBytes, SimulatedFile } from './files.ts'
import { Invariants } from './invariants.ts'
import { SimulatedNetwork } from './network.ts'
import type { Machine } from './process.ts'
import { SeededRandom } from './random.ts'
import { ServerActor } from './serverActor.ts'
import { VirtualTime } from './time.ts'

/** How a run has ended. */
export interface RunReport {
  readonly seed: number
  readonly steps: number
  readonly virtualMs: number
  /** Files that were published. */
  readonly published: number
  /** Everything that was told, one line each, with its virtual time. */
  readonly trace: readonly string[]
  /** What did not hold; the run ends at the first. */
  readonly failure: string | undefined
}

/** How many things happen, and how long all may take to come to its end once nothing more does. */
const happenings = 80
const settlingMs = 1_800_000
const mostSteps = 400_000

/** A server, some clients, a network and a disk, all drawn from a seed, and everything that happens to them. */
export class World {
  readonly machine: Machine
  readonly network: SimulatedNetwork
  readonly disk: SimulatedDisk
  readonly limits: Limits
  readonly invariants: Invariants
  readonly server: ServerActor
  readonly clients: readonly ClientActor[]
  readonly files: readonly SimulatedFile[]
  readonly #seed: number
  readonly #chaos: Chaos
  readonly #trace: string[] = []
  #failure: string | undefined
  #steps = 0

  constructor(seed: number, digests: Digests) {
    const random = new SeededRandom(seed)
    this.#seed = seed
    this.machine = { time: new VirtualTime(), random, digests }
    this.network = new SimulatedNetwork(this.machine, drawFaults(random))
    this.disk = new SimulatedDisk(random.pick([1, 4, 40], 'time of the disk'))
    this.#chaos = new Chaos(random)
    const chosen = drawLimits(random)
    this.limits = limitsWith(chosen)
    this.invariants = new Invariants(this, this.limits)
    this.server = new ServerActor(this, chosen)
    const users = ['alice', 'bob'].slice(0, random.pick([1, 1, 2], 'users'))
    const heedless = random.chance(0.3, 'clients heed no bound')
    this.clients = Array.from({ length: random.integer(2, 4, 'clients') }, (_, at) => {
      const user = users[at] ?? random.pick(users, 'user of a client')
      return new ClientActor(this, `client-${at + 1}`, user, heedless)
    })
    this.files = users.flatMap((user) =>
      Array.from({ length: random.integer(1, 6, 'files of a user') }, (_, at) => {
        const algorithm = random.pick(['sha256', 'md5'] as const, 'digest of a file')
        return new SimulatedFile(user, `${user}-${at + 1}`, algorithm, drawBytes(random, chosen.chunkBytes))
      }),
    )
  }

  /** Writes a line of the trace. */
  tell(line: string): void {
    this.#trace.push(`${this.machine.time.now().toFixed(3).padStart(11)} ${line}`)
  }

  /** Something that must hold does not. */
  fail(what: string): void {
    this.tell(`FAULT: ${what}`)
    this.#failure ??= what
  }

  async run(): Promise<RunReport> {
    this.server.start()
    for (const client of this.clients) {
      client.start()
      for (const file of this.files) if (file.user === client.user) client.send(file)
    }
    const gapMs = this.machine.random.pick([20, 100, 200, 2_000], 'time between two happenings')
    const endMs = this.#schedule(gapMs)
    await this.#until(endMs, () => false)
    if (!this.#failure) await this.#settle()
    const { time } = this.machine
    const report = {
      seed: this.#seed,
      steps: this.#steps,
      virtualMs: time.now(),
      published: this.disk.publications,
      trace: [...this.#trace],
      failure: this.#failure,
    }
    for (const client of this.clients) client.letGo()
    await microtasks()
    return report
  }

  /** Returns when the last thing happens. */
  #schedule(gapMs: number): number {
    const { time, random } = this.machine
    let atMs = 0
    for (let n = 0; n < happenings; n++) {
      atMs += random.fraction('time until something happens') * 2 * gapMs
      time.alarm(atMs, () => this.#chaos.happen(this))
    }
    return atMs
  }

  /** Everything is mended and started; then all must come to its end. */
  async #settle(): Promise<void> {
    this.tell('everything heals')
    this.network.down = false
    this.network.faults = { ...this.network.faults, loss: 0, duplication: 0, straying: 0 }
    this.server.start()
    for (const client of this.clients) {
      client.start()
      client.resume()
    }
    await this.#until(this.machine.time.now() + settlingMs, () => this.clients.every(({ wanted }) => wanted.size === 0))
    if (!this.#failure) this.invariants.settled()
  }

  async #until(endMs: number, done: () => boolean): Promise<void> {
    while (!this.#failure && !done() && this.machine.time.step(endMs)) {
      await microtasks()
      this.invariants.check()
      if (++this.#steps > mostSteps) this.fail(`it takes more than ${mostSteps} steps`)
    }
  }
}

/** Resolves when every promise that can be settled has been. */
const microtasks = () => new Promise<void>((resolve) => setImmediate(resolve))
