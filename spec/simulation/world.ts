import type { Client } from '../../lib/client/client.ts'
import type { Limits } from '../../lib/limits.ts'
import { limitsWith } from '../../lib/limitsWith.ts'
import type { DigestName, Digests } from '../../lib/ports/platform.ts'
import { SeededRandom } from '../../lib/testing/random.ts'
import { digestNumbers } from '../../lib/wire/protocol.ts'
import { Bounds } from './bounds.ts'
import { Chaos } from './chaos.ts'
import type { ClientActor } from './clientActor.ts'
import { SimulatedDisk } from './disk.ts'
import { drawFaults, drawLimits, drawQueueLimits, drawSenders } from './drawn.ts'
import { Ending } from './ending.ts'
import type { SimulatedFile } from './files.ts'
import { Invariants } from './invariants.ts'
import type { OwnLayers } from './layers.ts'
import { drawMailLimits, Mail } from './mail.ts'
import { SimulatedNetwork } from './network.ts'
import { PlaceWatch, platformOf } from './placeWatch.ts'
import { drawPress } from './presser.ts'
import type { Machine, SimulatedProcess } from './process.ts'
import { Queues, type Running } from './queues.ts'
import { ServerActor } from './serverActor.ts'
import { VirtualTime } from './time.ts'
import { Tokens } from './tokens.ts'
import { type Part, Troubles, whole } from './troubles.ts'
import { UploadWatch } from './uploadWatch.ts'
import { Watches } from './watches.ts'

/** What a world is about: sending files, messages, or both at once. */
export type WorldKind = 'files' | 'messages' | 'both'

/** A user's program. It starts, is killed, and starts again. */
export interface Program {
  readonly name: string
  readonly running: boolean
  start(): void
  kill(): void
  freeze(ms: number): void
  /** It closes what it has and ends, unless it does not run. */
  end(): void
  /** The world is at its end: what it has left to do is forgotten. */
  letGo(): void
}

/** Somebody who comes once, and goes. */
export interface Visitor {
  readonly process: SimulatedProcess
  readonly client: Pick<Client, 'close'>
  /** What holds something there, where anything does. */
  readonly running?: Running | undefined
  /** It keeps to no bound of the protocol. */
  readonly unruly?: boolean
  readonly gone: boolean
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
  /** Numbers of what has happened, and the names that could be left out. */
  readonly happenings: readonly number[]
  readonly names: readonly string[]
}

/** How many things happen. */
const happenings = 80
const mostSteps = 400_000

/** A server, some clients, a network and a disk, all drawn from a seed, and everything that happens to them. */
export class World {
  readonly machine: Machine
  readonly troubles: Troubles
  readonly network: SimulatedNetwork
  readonly disk: SimulatedDisk
  /** What stands in the stead of the disk, on which nothing lies then. */
  readonly place: PlaceWatch | undefined
  readonly limits: Limits
  readonly tokens: Tokens
  readonly invariants: Invariants
  readonly bounds: Bounds
  readonly queues: Queues
  readonly uploads: UploadWatch
  readonly server: ServerActor
  readonly clients: readonly ClientActor[]
  readonly files: readonly SimulatedFile[]
  readonly mail: Mail
  /** Processes that come and go beside the programs. */
  readonly visitors = new Set<Visitor>()
  /** Randomness of what happens at present: to leave a happening out changes nothing about what the others are. */
  dice: SeededRandom
  /** Nothing is done to it any more. */
  healed = false
  /** Whether the storage counts files and folders, so that the server bounds their number. */
  countsFiles = true
  readonly #seed: number
  readonly #part: Part
  readonly #watches: Watches
  /** What waits or is remembered has narrow bounds, and somebody presses against them. */
  readonly #isNarrow: boolean
  readonly #chaos: Chaos
  readonly #trace: string[] = []
  readonly #happened: number[] = []
  #failure: string | undefined
  #steps = 0

  constructor(seed: number, digests: Digests, kind: WorldKind, part: Part = whole, own: OwnLayers = {}) {
    const random = new SeededRandom(seed)
    const sendsFiles = kind !== 'messages'
    const sendsMessages = kind !== 'files'
    this.#seed = seed
    this.#part = part
    this.dice = random
    this.machine = { time: new VirtualTime(), random, digests }
    this.troubles = new Troubles(random, part.without)
    this.#isNarrow = this.troubles.comes('narrow queues', 0.25)
    this.network = new SimulatedNetwork(this.machine, drawFaults(random, this.troubles))
    const operationMs = random.pick([1, 4, 40], 'time of the disk')
    const segmentBytes = sendsMessages ? random.pick([100, 500, 3_000], 'segments of the journal') : undefined
    this.disk = new SimulatedDisk(random, operationMs, segmentBytes)
    this.network.layers = own
    this.disk.layers = own
    this.place = own.place && new PlaceWatch(this, own.place(platformOf(this.machine)))
    this.#chaos = new Chaos(random, kind, this.troubles, !this.place)
    this.tokens = new Tokens(this.machine.time, random.pick([0, 40], 'time to know users'))
    const forFiles = sendsFiles ? drawLimits(random, this.troubles) : { chunkBytes: 1_024, windowBytes: 1_024 }
    this.mail = new Mail(this, sendsMessages)
    const forMail = sendsMessages ? drawMailLimits(random, this.mail, sendsFiles) : {}
    const chosen = { ...forFiles, ...forMail, ...(this.#isNarrow ? drawQueueLimits(random) : {}) }
    if (this.#isNarrow && sendsMessages) this.mail.poison += random.fork('poison').pick([0, 4], 'more poison')
    this.limits = limitsWith(chosen)
    this.invariants = new Invariants(this, this.limits)
    this.bounds = new Bounds(this)
    this.queues = new Queues(this)
    this.uploads = new UploadWatch(this)
    this.#watches = new Watches(this)
    this.network.opened = (link) => this.#watches.watch(link)
    this.server = new ServerActor(this, chosen)
    const { clients, files } = drawSenders(this, sendsFiles, forFiles.chunkBytes, sendsMessages)
    this.clients = clients
    this.files = files
  }

  get programs(): readonly Program[] {
    return [...this.clients, ...this.mail.programs]
  }

  get users(): readonly string[] {
    return [...new Set([...this.clients, ...this.mail.programs].map(({ user }) => user))]
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

  get failed(): boolean {
    return this.#failure !== undefined
  }

  async run(): Promise<RunReport> {
    // Loading takes real time, in which virtual time would pass.
    for (const name of Object.keys(digestNumbers) as DigestName[]) await this.machine.digests.load(name)
    this.server.start()
    for (const client of this.clients) {
      client.start()
      for (const file of this.files) if (file.user === client.user) client.send(file)
    }
    for (const program of this.mail.programs) program.start()
    const gapMs = this.machine.random.pick([20, 100, 200, 2_000], 'time between two happenings')
    const endMs = this.#schedule(gapMs)
    if (this.#isNarrow) drawPress(this, endMs)
    await this.until(endMs, () => false)
    if (!this.failed) await new Ending(this).run()
    const { time } = this.machine
    const report = {
      seed: this.#seed,
      steps: this.#steps,
      virtualMs: time.now(),
      published: (this.place ?? this.disk).publications,
      delivered: this.mail.invariants.delivered,
      trace: [...this.#trace],
      failure: this.#failure,
      happenings: this.#happened,
      names: [
        ...this.troubles.lasting,
        ...this.programs.map(({ name }) => name),
        ...this.files.map(({ path }) => path),
      ],
    }
    for (const { process, client } of this.visitors) {
      process.kill()
      client.close().catch(() => {})
    }
    for (const program of this.programs) program.letGo()
    await microtasks()
    return report
  }

  /** Lets time pass until `done`, but not beyond `endMs`, or something does not hold. */
  async until(endMs: number, done: () => boolean): Promise<void> {
    while (!this.failed && !done() && this.machine.time.step(endMs)) {
      await microtasks()
      this.#watches.check()
      if (++this.#steps > mostSteps) this.fail(`it takes more than ${mostSteps} steps`)
    }
  }

  /** Returns when the last thing happens. */
  #schedule(gapMs: number): number {
    const { time, random } = this.machine
    const { happenings: chosen } = this.#part
    let atMs = 0
    for (let number = 1; number <= happenings; number++) {
      const dice = random.fork(`happening ${number}`)
      atMs += dice.fraction('time until something happens') * 2 * gapMs
      if (chosen?.includes(number) ?? true) time.alarm(atMs, () => this.#happen(number, dice))
    }
    return atMs
  }

  /** What is told meanwhile stands below a line that says what it is. */
  #happen(number: number, dice: SeededRandom): void {
    this.dice = dice
    const at = this.#trace.length
    const name = this.#chaos.happen(this)
    if (name === undefined) return
    this.#happened.push(number)
    const told = this.#trace.splice(at)
    this.tell(`${number}: ${name}`)
    this.#trace.push(...told)
  }
}

/** Resolves when every promise that can be settled has been: ticks come after all that is queued of them. */
const microtasks = () => new Promise<void>((resolve) => process.nextTick(resolve))
