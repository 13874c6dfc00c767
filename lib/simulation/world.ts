import { type Limits, limitsWith } from '../limits.ts'
import type { Digests } from '../ports/platform.ts'
import { Chaos } from './chaos.ts'
import type { ClientActor } from './clientActor.ts'
import { SimulatedDisk } from './disk.ts'
import { drawFaults, drawLimits, drawSenders } from './drawn.ts'
import type { SimulatedFile } from './files.ts'
import { Invariants } from './invariants.ts'
import type { OwnLayers } from './layers.ts'
import { drawMailLimits, Mail } from './mail.ts'
import { SimulatedNetwork } from './network.ts'
import type { Machine } from './process.ts'
import { SeededRandom } from './random.ts'
import { ServerActor } from './serverActor.ts'
import { VirtualTime } from './time.ts'

/** What a world is about: sending files, messages, or both at once. */
export type WorldKind = 'files' | 'messages' | 'both'

/** A user's program. It starts, is killed, and starts again. */
export interface Program {
  readonly running: boolean
  start(): void
  kill(): void
  /** The world is at its end: what it has left to do is forgotten. */
  letGo(): void
}

/** How a run has ended. */
export interface RunReport {
  readonly seed: number
  readonly steps: number
  readonly virtualMs: number
  /** Files that were published. */
  readonly published: number
  /** Messages that have reached a recipient. */
  readonly delivered: number
  /** Everything that was told, one line each, with its virtual time. */
  readonly trace: readonly string[]
  /** What did not hold; the run ends at the first. */
  readonly failure: string | undefined
}

/** How many things happen, and how long all may take to come to its end once nothing more does. */
const happenings = 80
const settlingMs = 1_800_000
const waningMs = 20_000
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
  readonly mail: Mail
  readonly #seed: number
  readonly #chaos: Chaos
  readonly #trace: string[] = []
  #failure: string | undefined
  #steps = 0

  constructor(seed: number, digests: Digests, kind: WorldKind, own: OwnLayers = {}) {
    const random = new SeededRandom(seed)
    const sendsFiles = kind !== 'messages'
    const sendsMessages = kind !== 'files'
    this.#seed = seed
    this.machine = { time: new VirtualTime(), random, digests }
    this.network = new SimulatedNetwork(this.machine, drawFaults(random))
    const operationMs = random.pick([1, 4, 40], 'time of the disk')
    const segmentBytes = sendsMessages ? random.pick([100, 500, 3_000], 'segments of the journal') : undefined
    this.disk = new SimulatedDisk(operationMs, segmentBytes)
    this.network.layers = own
    this.disk.layers = own
    this.#chaos = new Chaos(random, kind)
    const forFiles = sendsFiles ? drawLimits(random) : { chunkBytes: 1_024, windowBytes: 1_024 }
    this.mail = new Mail(this, sendsMessages)
    const chosen = { ...forFiles, ...(sendsMessages ? drawMailLimits(random, this.mail, sendsFiles) : {}) }
    this.limits = limitsWith(chosen)
    this.invariants = new Invariants(this, this.limits)
    this.server = new ServerActor(this, chosen)
    const { clients, files } = drawSenders(this, sendsFiles, forFiles.chunkBytes, sendsMessages)
    this.clients = clients
    this.files = files
  }

  get programs(): readonly Program[] {
    return [...this.clients, ...this.mail.programs]
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
    for (const program of this.mail.programs) program.start()
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
      delivered: this.mail.invariants.delivered,
      trace: [...this.#trace],
      failure: this.#failure,
    }
    for (const program of this.programs) program.letGo()
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
    this.disk.empty()
    this.server.heal()
    for (const client of this.clients) {
      client.start()
      client.resume()
    }
    if (this.mail.users.length > 0) this.mail.heal()
    const { time } = this.machine
    const sent = () => this.clients.every(({ wanted }) => wanted.size === 0)
    await this.#until(time.now() + settlingMs, () => sent() && this.mail.isSettled)
    if (this.mail.users.length > 0) await this.#wane()
    if (!this.#failure) this.invariants.settled()
    if (!this.#failure && this.mail.users.length > 0) await this.mail.settled()
  }

  /** What is answered is not all done yet, and what comes too much comes late, if only when all begin anew. */
  async #wane(): Promise<void> {
    await this.#calm()
    if (this.#failure || !this.mail.isSettled) return
    this.mail.shake()
    await this.#calm()
  }

  /** A while passes, and all has come to its end again: an end that did not know of a broken link may have looked settled. */
  async #calm(): Promise<void> {
    const { time } = this.machine
    await this.#until(time.now() + waningMs, () => false)
    await this.#until(time.now() + settlingMs, () => this.mail.isSettled)
  }

  async #until(endMs: number, done: () => boolean): Promise<void> {
    while (!this.#failure && !done() && this.machine.time.step(endMs)) {
      await microtasks()
      this.invariants.check()
      this.mail.invariants.check()
      this.mail.watch.check()
      if (++this.#steps > mostSteps) this.fail(`it takes more than ${mostSteps} steps`)
    }
  }
}

/** Resolves when every promise that can be settled has been: ticks come after all that is queued of them. */
const microtasks = () => new Promise<void>((resolve) => process.nextTick(resolve))
